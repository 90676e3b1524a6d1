use strict;
use warnings;

# Processes that use a log which others scribble over, some of them under valgrind. The long form is
# rust/trials/target/release/scribble --seconds 600

use Data::Log::Shared;
use FindBin qw($Bin);
use Test::More;
use lib "$Bin/../t/lib";
use LogTest;

my $root = "$Bin/..";
system('cargo --version >/dev/null 2>&1') == 0 or plan skip_all => 'there is no cargo';
-d "$root/blib"                                or plan skip_all => 'nothing is built';
my $valgrind = `valgrind --version 2>/dev/null`;

is( system( qw(cargo build --quiet --release --bin scribble --manifest-path), "$root/rust/trials/Cargo.toml" ),
    0, 'the trial is built' )
    or BAIL_OUT('no trial');

# What an operator has to do is in the trial's --help.
my $operator = spew( scratch('operate.pl'), <<'PERL' );
use strict;
use warnings;
use Data::Log::Shared;
use Time::HiRes qw(time);

my ( $fd, $seconds, $seed ) = @ARGV;
srand $seed;
$| = 1;
my $log    = Data::Log::Shared->new_from_fd($fd);
my $cursor = $log->cursor;
my %do     = (
    a => sub { defined $log->append( 'a' x ( 1 + rand 500 ) ) },
    b => sub { () = $log->append_multi( map { 'b' x $_ } 1 .. 1 + rand 20 ) },
    c => sub { $log->entry_count },
    e => sub { $log->watch; $log->unwatch; 1 },
    g => sub { () = $log->read_entry( int( rand 2 ) * 4 * int rand 1000, rand 100 ) },
    h => sub { $log = Data::Log::Shared->new_from_fd($fd); $cursor = $log->cursor; 1 },
    i => sub {
        my $bytes = 0;
        $log->each_entry( sub { $bytes += length $_[0] }, 0, int( rand 2 ) * 1000 );
        $bytes;
    },
    n => sub { $cursor->seek( int rand 1000 ) if rand() < 0.1; $cursor->lag; defined $cursor->next(0.01) },
    s => sub { $log->stats->{tail} },
    t => sub { $log->truncate( int rand 60_000 ) },
    v => sub { $log->verify->{entries} },
    w => sub { $log->wait_for( $log->entry_count, rand 0.02 ) },
    y => sub { $log->sync },
    z => sub { $log->reset },
);
my @letters = sort keys %do;
print 'R';
my $end = time + $seconds;
while ( time < $end ) {
    my $letter = $letters[ rand @letters ];
    print $letter;
    print uc $letter if eval { $do{$letter}->() };
    die $@ if $@ && $@ !~ /^Data::Log::Shared->\w+: /;
}
PERL

my $under = 'valgrind --quiet --error-exitcode=99 --leak-check=no --vgdb=no';
my $perl  = "$^X -Mblib=$root/blib $operator";

sub trial {
    my ( $name, @options ) = @_;
    my $output = scratch('output');
    my $pid    = in_child(
        sub {
            open STDOUT, '>',  $output  or die "$output: $!";
            open STDERR, '>&', \*STDOUT or die "$output: $!";
            exec "$root/rust/trials/target/release/scribble", @options or die "exec: $!";
        }
    );
    waitpid $pid, 0;
    my $status = $?;
    my $said   = slurp($output);
    ok( $status == 0 && $said !~ /panicked/, $name ) ? note $said : diag $said;
    return;
}

# Meanwhile others wait for what looks like the place of a writer that deserves the patience of hours.
my @patient = map {
    my $method = $_;
    in_child(
        sub {
            my $path = scratch("patient-$method");
            my $log  = Data::Log::Shared->new( $path, 10_000_000 );
            my $size = 1_000_000;
            patch( $path, 128, pack 'Q', $size << 28 | $size );
            patch( $path, 4096, pack 'LL', 1 << 30 | $size, 16 );
            alarm 120;
            eval { $method eq 'sync' ? $log->sync : $log->truncate(12) };
            $@ =~ /->$method: \Q$path\E: .*not settled/ or die "$method: $@";
        }
    );
} qw(sync truncate);

trial( 'processes that use the core', qw(--seconds 5 --operators 4 --scribblers 2 --file), scratch('log') );
trial( 'perl processes',              qw(--seconds 5 --operators 3 --operator),            $perl );
SKIP: {
    skip 'valgrind is not installed', 2 if !$valgrind;
    trial( 'processes that use the core under valgrind',
        qw(--seconds 6 --operators 2 --stuck 60 --size 16384 --under), $under );
    trial(
        'perl processes under valgrind',
        qw(--seconds 6 --operators 2 --stuck 60 --size 16384 --under),
        $under, '--operator', $perl
    );
}
ok( reap(@patient), 'sync and truncate end, too' );

done_testing;
