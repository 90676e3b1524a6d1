use strict;
use warnings;

# A minute of fuzzing. The long form:
#   cd rust && RUSTC_BOOTSTRAP=1 cargo fuzz run --no-trace-compares core -- -runs=100000000 -max_len=512 -entropic=0

use FindBin qw($Bin);
use Test::More;

BEGIN { $ENV{LOG_TEST_WATCHDOG} = 1800 }
use lib "$Bin/../t/lib";
use LogTest;

# cargo-fuzz's flags are for unstable compilers; a stable one takes them when told so.
$ENV{RUSTC_BOOTSTRAP} = 1;
$ENV{ASAN_OPTIONS}    = 'detect_stack_use_after_return=0';
$ENV{PATH} .= ':' . ( $ENV{CARGO_HOME} // ( $ENV{HOME} // '' ) . '/.cargo' ) . '/bin';
system('cargo fuzz --version >/dev/null 2>&1') == 0 or plan skip_all => 'cargo-fuzz is not installed';
chomp( my $libraries = `rustc --print target-libdir` );
() = glob "$libraries/librustc-*_rt.asan.a" or plan skip_all => 'this compiler has no AddressSanitizer';

my $folder  = "$Bin/../rust/fuzz";
my %seconds = ( core => 40, attach => 20 );
for my $target ( sort keys %seconds ) {
    my ( $corpus, $output ) = ( scratch("corpus-$target"), scratch('output') );
    mkdir $corpus or die "$corpus: $!";
    my @fuzz = ( qw(cargo fuzz run --fuzz-dir), $folder, qw(--no-trace-compares), $target, $corpus,
        "$folder/seeds/$target" );
    my @limit = ( "-max_total_time=$seconds{$target}", qw(-max_len=512 -timeout=20 -print_final_stats=1) );
    my $pid   = in_child(
        sub {
            open STDOUT, '>',  $output  or die "$output: $!";
            open STDERR, '>&', \*STDOUT or die "$output: $!";
            exec @fuzz, '--', @limit or die "exec: $!";
        }
    );
    waitpid $pid, 0;
    my ( $status, $said ) = ( $?, slurp($output) );
    is( $status, 0, "$target: nothing crashes, nothing takes for ever" ) or diag substr $said, -5000;
    my ($runs) = $said =~ /number_of_executed_units: ([0-9]+)/;
    cmp_ok( $runs // 0, '>', 1000, "$target: it ran" );
    note "$target: $runs executions" if $runs;
}

done_testing;
