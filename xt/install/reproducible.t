use 5.026;
use strict;
use warnings;

# Two tarballs of one commit are identical, and so are two builds of the shared object, made elsewhere and
# by somebody with another umask, time zone, language and HOME.

use Digest::SHA ();
use FindBin     qw($Bin);
use Test::More;
use lib "$Bin/lib";
use InstallTest;

needs(qw(git cargo make nm));

sub digest { return Digest::SHA->new(256)->addfile( $_[0] )->hexdigest }

my @ways = (
    [ 'one',               'umask 022; export TZ=UTC LC_ALL=C' ],
    [ "an\x{f6}ther place/deeper", 'umask 077; export TZ=Pacific/Auckland LC_ALL=C.UTF-8 MAKEFLAGS=-j3' ],
);
my ( @tarballs, @objects );
for my $way (@ways) {
    my ( $name, $setting ) = @$way;
    utf8::encode( my $folder = scratch($name) );
    my $said = output(<<"SH");
        $setting
        mkdir -p '$folder'
        git clone --quiet . '$folder'
        cd '$folder'
        $^X Makefile.PL
        make dist
        tar -xzf Data-Log-Shared-*.tar.gz
        cd Data-Log-Shared-*/
        $^X Makefile.PL
        make
SH
    $? == 0 or BAIL_OUT($said);
    push @tarballs, glob "'$folder'/*.tar.gz";
    push @objects,  glob "'$folder'/*/blib/arch/auto/Data/Log/Shared/Shared.so";
}

is( digest( $tarballs[1] ), digest( $tarballs[0] ), 'the tarballs are identical' );
is( digest( $objects[1] ),  digest( $objects[0] ),  'the shared objects are identical' );
note -s $tarballs[0], " bytes of tarball, ", -s $objects[0], " bytes of shared object";
cmp_ok( -s $objects[0], '<=', 600_000, 'the shared object is small' );
is( output("nm -D --defined-only '$objects[0]' | cut -d ' ' -f 3"), "boot_Data__Log__Shared\n", 'it exports one symbol' );

# rust/cargo.pl maps these away.
my $bytes = output("cat '$objects[0]'");
is( scalar( () = $bytes =~ /\Q@{[scratch()]}\E|\/\.cargo\//g ), 0, 'it has no path of this machine in it' );

done_testing;
