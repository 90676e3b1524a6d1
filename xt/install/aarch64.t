use 5.026;
use strict;
use warnings;

# The module is cross-built on this machine for 64-bit ARM, and passes its tests in a Debian for that, run
# by qemu. Needs the package qemu-user-static, and binfmt_misc mounted; takes minutes.
#
# What qemu cannot show: the processor's weak ordering of memory (an emulated program has the ordering of
# the machine under it; the model in the tests of rust/ is there for that), the time anything takes, and
# what a kernel with larger pages does, for it is this machine's kernel.

use FindBin qw($Bin);
use Test::More;
use lib "$Bin/lib";
use InstallTest;

my $folder = scratch('aarch64');
mkdir $folder or die "$folder: $!";
output( "cp '" . tarball() . "' '$folder/dist.tar.gz'" );
my $runner = "$Bin/debian";

# Standard output carries what was built.
my $packages = 'perl make cargo gcc-aarch64-linux-gnu libc6-dev:arm64 libperl-dev:arm64 libstd-rust-dev:arm64';
my $said     = output(<<"SH");
    cd '$folder'
    '$runner' bookworm '$packages' '
        exec 3>&1 >&2
        cd /tmp; tar -xzf /tmp/in/dist.tar.gz; cd Data-Log-Shared-*
        export PERL5LIB=\$(echo /usr/lib/aarch64-linux-gnu/perl/cross-config-5.*.*)
        perl Makefile.PL
        make
        cd ..; tar -cf - --exclude=target --exclude=vendor Data-Log-Shared-* >&3' >built.tar || { code=\$?; head -c 999 built.tar; exit \$code; }
    rm dist.tar.gz
    tar -xf built.tar
SH
plan skip_all => $said if $? >> 8 == 77;
ok( $? == 0, 'it is cross-built' ) or diag $said;
my ($object) = glob "$folder/*/blib/arch/auto/Data/Log/Shared/Shared.so";
like( output("od -A n -t x1 -j 18 -N 2 '$object'"), qr/b7 00/, 'the shared object is for 64-bit ARM' );
cmp_ok( -s $object, '<=', 600_000, 'and small' );
note -s $object, ' bytes';

my $tests = output(<<"SH");
    cd '$folder'
    '$runner' bookworm/arm64 'perl make' '
        uname -m; cp -a /tmp/in/Data-Log-Shared-* /tmp/dist; cd /tmp/dist
        LOG_TEST_WATCHDOG=1800 prove -b --timer t'
SH
SKIP: {
    skip $tests, 1 if $? >> 8 == 77;
    ok( $? == 0, 'it passes its tests' ) or diag $tests;
    note join ' ', grep { /^aarch64|^Files=|^Result/ } split /\n/, $tests;
}

done_testing;
