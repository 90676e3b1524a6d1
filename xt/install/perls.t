use 5.026;
use strict;
use warnings;

# The whole of t/ with the perls that Debian packages, and with one built here from Debian's source without
# threads and with its assertions (-DDEBUGGING), which takes minutes more and has to be named:
# prove -v xt/install/perls.t :: bookworm debugperl trixie sid unthreaded

use FindBin qw($Bin);
use Test::More;
use lib "$Bin/lib";
use InstallTest;

my $build = <<'SH';
    cd /tmp
    dpkg-source -x /usr/src/perl_*.dsc perl-source >/dev/null
    cd perl-source
    ./Configure -des -Dprefix=/opt/perl -Uusethreads -DDEBUGGING -Doptimize=-O1 -Dman1dir=none -Dman3dir=none >/dev/null 2>&1
    make -j2 >/dev/null 2>&1
    make install >/dev/null 2>&1
    export PERL_DESTRUCT_LEVEL=2
SH

my %perls = (
    bookworm   => [ 'bookworm', 'perl make cargo',                           'perl' ],
    debugperl  => [ 'bookworm', 'perl make cargo perl-debug',                'debugperl' ],
    sid        => [ 'sid',      'perl make cargo libcrypt-dev',              'perl' ],
    trixie     => [ 'trixie',   'perl make cargo',                           'perl' ],
    unthreaded => [ 'bookworm', 'perl make cargo dpkg-dev patch xz-utils src:perl', '/opt/perl/bin/perl', $build ],
);

for my $name ( @ARGV ? @ARGV : qw(bookworm debugperl trixie sid) ) {
    my ( $suite, $packages, $perl, $before ) = @{ $perls{$name} };
    my $said = debian( $suite, $packages, "$name passes its tests", ( $before // '' ) . <<"SH");
        cd /tmp; tar -xzf "\$tarball"; cd Data-Log-Shared-*
        $perl -V:version -V:usethreads
        rustc --version
        $perl -Dx -e 0 2>&1 | grep -q 'Recompile perl' && echo assertions=no || echo assertions=yes
        $perl Makefile.PL
        make
        make test
SH
    note join ' ', grep { /^(?:version|usethreads|assertions)=|^rustc|^Files=|^Result/ } split /\n/, $said;
}

done_testing;
