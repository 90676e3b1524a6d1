use 5.026;
use strict;
use warnings;

# The tarball installs on fresh Debians without a network, whatever surrounds it. Takes minutes.
# Systems can be named: prove xt/install/tarball.t :: trixie

use Digest::SHA    ();
use FindBin        qw($Bin);
use JSON::PP       ();
use Test::More;
use lib "$Bin/lib";
use InstallTest;

my $packages = 'perl make cargo cpanminus';

my $size = -s tarball();
cmp_ok( $size, '<=', 600_000, 'the tarball is small' );
note "the tarball has $size bytes";

mkdir scratch('open') or die $!;
output( "tar -C '" . scratch('open') . "' -xzf '" . tarball() . "'" );
my ($open) = glob scratch('open/*');

my ( $checked, @wrong ) = 0;
for my $sums ( glob "$open/vendor/*/.cargo-checksum.json" ) {
    my ($crate) = $sums =~ m{^(.*)/};
    open my $in, '<', $sums or die "$sums: $!";
    my $wanted = JSON::PP->new->decode( do { local $/; <$in> } )->{files};
    for my $file ( sort keys %$wanted ) {
        $checked++;
        push @wrong, "$crate/$file"
            if !-e "$crate/$file" || Digest::SHA->new(256)->addfile("$crate/$file")->hexdigest ne $wanted->{$file};
    }
}
is_deeply( \@wrong, [], 'every vendored file has the checksum of its crate' );
cmp_ok( $checked, '>', 50, "$checked vendored files" );
my @listed = sort map { (split)[0] } split /\n/, output("cat '$open/MANIFEST'");
my @there  = split /\n/, output("cd '$open' && find . -type f -printf '%P\\n' | LC_ALL=C sort");
is_deeply( \@listed, \@there, 'MANIFEST lists what the tarball has' );

my $unpack = 'tar -xzf "$tarball"; cd Data-Log-Shared-*';
my $loads  = q{cd /; perl -MData::Log::Shared -e 'print Data::Log::Shared->new(undef, 99)->append("x"), "\n"'};

for my $suite ( @ARGV ? @ARGV : qw(bookworm trixie) ) {
    my $said = debian( $suite, $packages, 'cpanm installs it with the tests of perl alone, and it loads', <<"SH");
        cargo --version; rustc --version; perl -v | sed -n 2p
        cpanm -v "\$tarball" >/tmp/said 2>&1 || { cat /tmp/said; exit 1; }
        cat /tmp/said
        if grep -E '^running [0-9]+ tests?' /tmp/said; then echo "cargo's tests ran"; exit 1; fi
        object=\$(find /usr/local -path '*Data/Log*' -name Shared.so)
        wc -c \$object
        test "\$(stat -c %s \$object)" -le 600000
        $loads
SH
    note join "\n", grep { m#^(?:cargo|rustc) \d|This is perl|^\d+ /usr/local|^Files=|^Result# } split /\n/, $said;

    debian( $suite, $packages, 'nothing asks, nothing goes by the environment or the configuration', <<"SH");
        mkdir ~/.cargo
        cat >~/.cargo/config.toml <<'END'
[build]
rustc = "/bin/false"
rustc-wrapper = "/bin/false"
target = "no-such-target"
target-dir = "/nowhere"
rustflags = ["--no-such-flag"]
[source.crates-io]
replace-with = "gone"
[source.gone]
directory = "/nowhere"
[profile.release]
panic = "abort"
[net]
offline = false
this is no TOML
END
        export CARGO_TARGET_DIR=/tmp/elsewhere CARGO_BUILD_TARGET=no-such-target CARGO_BUILD_RUSTC=/bin/false
        export CARGO_PROFILE_RELEASE_PANIC=abort RUSTFLAGS='-D warnings --no-such-flag' RUSTC_WRAPPER=/bin/false
        export PERL_CPANM_HOME=~/.cpanm MAKEFLAGS=-j4 DESTDIR=
        cpanm -v "\$tarball"
        test ! -e /tmp/elsewhere
        $loads
SH

    debian( $suite, $packages, 'HOME is read-only', <<"SH");
        mount -t tmpfs -o ro tmpfs ~
        if touch ~/x 2>/dev/null; then exit 1; fi
        cpanm -v "\$tarball"
        $loads
SH

    debian( $suite, $packages, 'an ordinary user without a home', <<"SH");
        cp "\$tarball" /tmp/dist.tar.gz
        HOME=/nonexistent setpriv --reuid 65534 --regid 65534 --clear-groups sh -ec '
            mkdir /tmp/try; cd /tmp/try; tar -xzf /tmp/dist.tar.gz; cd Data-Log-Shared-*
            perl Makefile.PL INSTALL_BASE=/tmp/try/base; make; make test; make install
            cd /; perl -I/tmp/try/base/lib/perl5 -MData::Log::Shared -e1'
SH

    debian( $suite, $packages, 'a path with spaces, quotes and other letters', <<"SH");
        mkdir -p "/tmp/it's a \\"žluťoučký\\" \$HOME #1/ü"; cd "/tmp/it's a \\"žluťoučký\\" \$HOME #1/ü"
        $unpack
        perl Makefile.PL
        make -j4
        make test
SH

    debian( $suite, $packages, 'each target of make does its job', <<"SH");
        cd /tmp; $unpack
        find . | sort >/tmp/before
        perl Makefile.PL; make -j4
        find blib lib target -type f -printf '%p %T@\\n' | sort >/tmp/built
        make | tee /tmp/second
        find blib lib target -type f -printf '%p %T@\\n' | sort | diff /tmp/built -
        if grep -E 'gcc|Compiling|Finished' /tmp/second; then exit 1; fi
        make install DESTDIR=/tmp/dest
        (cd lib; find . -name '*.pm' -printf '%P 444\\n' -o -name '*.pod' -printf '%P 444\\n'
            echo auto/Data/Log/Shared/Shared.so 555) | sort >/tmp/wanted
        (cd /tmp/dest/usr/local/lib/*/perl/*
            find . -type f ! -name .packlist ! -name perllocal.pod -printf '%P %m\\n') | sort | diff /tmp/wanted -
        test -x /tmp/dest/usr/local/bin/log-shared
        if find / -xdev -name Shared.so -print | grep Data/Log; then exit 1; fi
        make disttest
        make clean; rm -f Makefile.old MYMETA.*
        rm -r Data-Log-Shared-*
        find . | sort | diff /tmp/before -
        perl Makefile.PL; make; make realclean
        find . | sort | diff /tmp/before -
SH
}

done_testing;
