use strict;
use warnings;

use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

subtest 'writers killed at any moment' => sub {
    my ( $rounds, $per_round, $length ) = ( 30, 5, 2**20 );
    my $log = Data::Log::Shared->new( undef, $rounds * $per_round * ( $length + 100 ) + 1_000_000 );

    my $content = sub {
        my ( $round, $n ) = @_;
        my $stamp = sprintf 'big %d %d ', $round, $n;
        return $stamp . chr( 65 + ( $round * 7 + $n ) % 26 ) x ( $length - length $stamp );
    };

    pipe my $stopped,    my $stop      or die $!;
    pipe my $live_count, my $live_done or die $!;
    my $live = in_child(
        sub {
            close $stop;
            my ( $n, $bits ) = ( 0, '' );
            do {
                $log->append("live $n") // die 'full';
                $n++;
                vec( $bits = '', fileno $stopped, 1 ) = 1;
            } until $n >= 20_000 || select $bits, undef, undef, 0.001;
            print {$live_done} $n;
            close $live_done;
        }
    );
    close $live_done;

    my @acknowledged;
    for my $round ( 1 .. $rounds ) {
        pipe my $reader, my $writer or die $!;
        my $pid = in_child(
            sub {
                my @data = map { $content->( $round, $_ ) } 1 .. $per_round;
                syswrite $writer, '!';
                for my $data (@data) {
                    $log->append($data) // die 'full';
                    syswrite $writer, '.';
                }
                sleep 3600;
            }
        );
        close $writer;
        my $heard = '';
        sysread $reader, $heard, 1, length $heard for 0 .. $round % 3;
        select undef, undef, undef, rand 0.002;
        kill KILL => $pid;
        waitpid $pid, 0;
        1 while sysread $reader, $heard, 100, length $heard;
        push @acknowledged, map { "big $round $_" } 1 .. $heard =~ tr/.//;
    }
    close $stop;
    my $live_entries = do { local $/; <$live_count> };
    ok( reap($live), 'a writer beside them is not disturbed' );

    $log->append('the end');
    my ( @live,  @broken, %seen );
    my ( $count, $pos,    $end ) = ( 0, 0 );
    wait_until(
        sub {
            while ( !$end and my ( $data, $next ) = $log->read_entry( $pos, 0 ) ) {
                if    ( $data eq 'the end' )                                              { $end = 1 }
                elsif ( $data =~ /^live (\d+)\z/ )                                        { push @live, $1 }
                elsif ( $data =~ /^(big (\d+) (\d+)) / && $data eq $content->( $2, $3 ) ) { $seen{$1}++ }
                else { push @broken, substr $data, 0, 20 }
                $count++;
                $pos = $next;
            }
            return $end;
        }
    );
    is_deeply( \@broken,                              [], 'every entry read is whole' );
    is_deeply( [ grep { !$seen{$_} } @acknowledged ], [], 'everything acknowledged is there' );
    is_deeply( [ grep { $seen{$_} > 1 } keys %seen ], [], 'nothing is there twice' );
    is_deeply( \@live, [ 0 .. $live_entries - 1 ],        'so is all that the live writer wrote, in its order' );
    is( $log->entry_count,           $count, 'the count is that of the replay' );
    is( $log->wait_for( $count, 0 ), 0,      'nothing more is announced' );
    is( $log->stats->{appends},      $count, 'the statistics agree' );
    note( $log->stats->{sealed} . ' places were closed' );

    is( $log->append('after all that'), $pos,             'the next append goes behind all' );
    is( ( $log->read_entry($pos) )[0],  'after all that', '... is readable' );
    is( $log->entry_count,              $count + 1,       '... and counted' );
    my $again = 0;
    $log->each_entry( sub { $again++ } );
    is( $again, $count + 1, '... and walked to' );
};

# A place left by a writer that died in a chosen state is written into the file
# with no handle open. The words of a slot are documented; whether the state is
# in the upper or the lower bits is seen from an entry of known length.
my $path  = scratch('holes');
my @texts = map { sprintf 'entry number %d', $_ } 1 .. 3;
my $units = 2 + int( ( length( $texts[0] ) + 3 ) / 4 );

sub fresh_file {
    Data::Log::Shared->unlink($path);
    my $log     = Data::Log::Shared->new( $path, 1000 );
    my @offsets = map { $log->append($_) } @texts;
    return @offsets;
}

fresh_file();
my ($word) = unpack 'L', substr slurp($path), 4096, 4;
my $reserved =
      $word >> 30 == 2   && ( $word & 0x0fffffff ) == length $texts[0] ? 1 << 30 | $units
    : ( $word & 3 ) == 2 && $word >> 4 == length $texts[0]             ? 1 | $units << 4
    :                                                                    undef;
ok( defined $reserved, 'a slot begins with its state and length' );

my %state = (
    'the last writer died before it wrote its size' => [ 2, '' ],
    'the last writer died before it copied'         => [ 2, pack 'L',    $reserved // 0 ],
    'the last writer died while it copied'          => [ 2, pack 'LLa4', $reserved // 0, 0, 'entr' ],
    'a writer in the middle died before it copied'  => [ 1, pack 'L',    $reserved // 0 ],
    'the first writer died while it copied'         => [ 0, pack 'LLa4', $reserved // 0, 0, 'entr' ],
);

for my $name ( sort keys %state ) {
    my ( $victim, $bytes ) = @{ $state{$name} };
    my @left = @texts[ grep { $_ != $victim } 0 .. 2 ];
    subtest $name => sub {
        my $break = sub {
            my @offsets = fresh_file();
            patch( $path, 4096 + $offsets[$victim], pack 'a' . 4 * $units, $bytes );
            return Data::Log::Shared->new( $path, 1000 );
        };

        my $log = $break->();
        is_deeply( [ replay( $log, 0, 0 ) ], \@left, 'who has no patience passes at once' );
        is( $log->entry_count,      2, 'the count agrees' );
        is( $log->wait_for( 2, 0 ), 0, 'nothing more is announced' );
        is( $log->stats->{sealed},  1, 'one place was closed' );

        $log = $break->();
        my @seen = replay($log);
        is_deeply( \@seen, [ @left[ 0 .. $#seen ] ], 'who has some reads what is before it' );
        ok( wait_until( sub { @seen = replay($log); $log->stats->{sealed} } ), '... and passes in time' );
        $log->append('behind');
        my $second = Data::Log::Shared->new( $path, 1000 );
        wait_until( sub { replay($second) == 3 } );
        is_deeply( [ replay($second) ], [ @left, 'behind' ], 'another handle too, with what was appended since' );
        is( $second->entry_count, 3, '... and counts it' );

        $log = $break->();
        my $count = $log->entry_count;
        cmp_ok( $count, '<=', 2, 'a count of what can be read' );
        is( $log->wait_for( $count, -1 ), 1, 'a waiter is not stuck at the place' ) if $count < 2;
        $log->append('behind');
        wait_until( sub { $log->entry_count == 3 } );
        is_deeply( [ replay($log) ], [ @left, 'behind' ], 'counting alone gets past it' );

        $log = $break->();
        $log->append('behind');
        my @walked;
        $log->each_entry( sub { push @walked, $_[0] }, 0, 0 );
        is_deeply( \@walked, [ @left, 'behind' ], 'each_entry passes it' );

        $log = $break->();
        is( $log->truncate( $log->tail_offset ), $log->tail_offset, 'truncate passes it' );
        is_deeply( [ replay($log) ], [], '... and hides all' );

        $log = $break->();
        ok( $log->sync, 'sync is not stuck at it' );
        is( $log->verify->{entries}, 2, 'two entries are there' );

        $log = $break->();
        $log->reset;
        is( $log->append('new'), 0, 'reset does away with it' );
    };
}

subtest 'no patience means none, also for a huge place' => sub {
    Data::Log::Shared->unlink($path);
    my $length = 2**22;
    my $log    = Data::Log::Shared->new( $path, 2 * $length, 0600, sparse => 1 );
    my $offset = $log->append( 'x' x $length );
    $log->append('behind');
    undef $log;
    my $size = 2 + $length / 4;
    patch( $path, 4096 + $offset, pack 'L', $reserved & ( 1 << 30 ) ? 1 << 30 | $size : 1 | $size << 4 );
    $log = Data::Log::Shared->new( $path, 1 );
    is_deeply( [ $log->read_entry($offset) ], [], 'by default it is waited for' );
    is( ( $log->read_entry( $offset, 0 ) )[0], 'behind', 'a patience of 0 passes at once' );
    is( $log->entry_count,                     1,        '... for everybody' );
};

done_testing;
