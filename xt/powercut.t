use strict;
use warnings;

# Takes half a minute. The long form: rust/trials/target/release/powercut --images 1000000

use FindBin qw($Bin);
use Test::More;
use lib "$Bin/../t/lib";
use LogTest;

`cargo --version 2>/dev/null` or plan skip_all => 'cargo is not installed';

my $target = scratch('target');
$target = 'rust/trials/target' if -w 'rust/trials';
my @cargo = ( qw(cargo build --quiet --release --manifest-path rust/trials/Cargo.toml --target-dir), $target );
is( system(@cargo), 0, 'the trial builds' ) or BAIL_OUT('no trial');

my $output = qx("$target/release/powercut" --images 10000 2>&1);
is( $?, 0, 'no power cut, kill or flipped bit breaks a promise' ) or diag $output;
my %tried = $output =~ /^(.+): (\d+) tried, 0 bad$/mg;
is( keys %tried, 5, 'all parts of the trial were run' ) or diag $output;
cmp_ok( $tried{$_}, '>', 500, "$_: $tried{$_} tried" ) for sort keys %tried;

done_testing;
