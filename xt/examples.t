use strict;
use warnings;

use File::Spec;
use FindBin qw($Bin);
use Test::More;
use lib "$Bin/../t/lib";
use LogTest;

# Another folder and a TMPDIR of its own: an example must not depend on where
# it is started, and must take away what it made.
my $root     = File::Spec->rel2abs("$Bin/..");
my @examples = sort glob "$root/eg/*.pl";
my @perl     = ( $^X, -d "$root/blib" ? "-Mblib=$root" : () );
my $folder   = scratch('folder');
mkdir $folder or die "$folder: $!";

for my $example (@examples) {
    my ($name) = $example =~ m{([^/]+)\z};
    my ( $out, $err ) = map { scratch($_) } qw(out err);
    my $pid = in_child(
        sub {
            delete $ENV{ACCESS_LOG};
            $ENV{TMPDIR} = $folder;
            chdir $folder or die "$folder: $!";
            open STDOUT, '>', $out or die "$out: $!";
            open STDERR, '>', $err or die "$err: $!";
            exec @perl, $example or die "exec: $!";
        }
    );
    waitpid $pid, 0;
    is( $?,          0,  "$name runs to its end" );
    is( slurp($err), '', "$name has nothing to complain about" );
    isnt( slurp($out), '', "$name tells what it did" );
    opendir my $dir, $folder or die "$folder: $!";
    is_deeply( [ grep { !/^\.\.?\z/ } readdir $dir ], [], "$name leaves nothing behind" );
}

done_testing;
