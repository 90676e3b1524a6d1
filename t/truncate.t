use strict;
use warnings;

use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

sub log_of {
    my $log     = Data::Log::Shared->new( undef, 10_000 );
    my @offsets = map { $log->append($_) } @_;
    return ( $log, @offsets );
}

sub walked {
    my ( $log, @from ) = @_;
    my @seen;
    $log->each_entry( sub { push @seen, $_[0] }, @from );
    return @seen;
}

my @texts = map { "entry $_ " . 'x' x ( 3 * $_ ) } 1 .. 6;

subtest 'entries before the truncation are hidden' => sub {
    my ( $log, @offsets ) = log_of(@texts);
    is( $log->truncation, 0, 'at first there is none' );
    my $available = $log->available;
    is( $log->truncate( $offsets[2] ), $offsets[2], 'the truncation now in force' );
    is( $log->truncation,              $offsets[2], '... is kept' );
    is_deeply( [ $log->read_entry($_) ], [], "nothing at $_" ) for @offsets[ 0, 1 ];
    is( ( $log->read_entry( $offsets[2] ) )[0], $texts[2], 'the entry at it can be read' );
    is_deeply( [ walked($log) ], [ @texts[ 2 .. 5 ] ], 'each_entry begins at it' );
    is_deeply( [ walked( $log, 0 ) ],           [ @texts[ 2 .. 5 ] ], '... also when it is asked for more' );
    is_deeply( [ walked( $log, $offsets[3] ) ], [ @texts[ 3 .. 5 ] ], '... but not when for less' );
    is( $log->entry_count,         6,           'hidden entries count' );
    is( $log->wait_for( 6, 0 ),    0,           '... so that nothing new is announced' );
    is( $log->available,           $available,  'no room is gained' );
    is( $log->stats->{truncation}, $offsets[2], 'the statistics know it' );
    my $more = $log->append('more');
    is( ( $log->read_entry($more) )[0], 'more', 'appending goes on' );
};

subtest 'only ever forward' => sub {
    my ( $log, @offsets ) = log_of(@texts);
    $log->truncate( $offsets[4] );
    is( $log->truncate($_), $offsets[4], "truncate($_) changes nothing" ) for 0, $offsets[1], $offsets[4];
    is_deeply( [ walked($log) ], [ @texts[ 4, 5 ] ], 'what was hidden stays hidden' );
};

subtest 'past the tail means the tail' => sub {
    for my $past ( 0, 4, 1000, 2**40, 2**63, 1e300, 9**9**9 ) {
        my ( $log, @offsets ) = log_of(@texts);
        my $tail = $log->tail_offset;
        is( $log->truncate( $tail + $past ), $tail, "by $past" );
        is_deeply( [ walked($log) ], [], '... hides all' );
        $log->append('new');
        is_deeply( [ walked($log) ], ['new'], '... but not what comes after' );
    }
    my $empty = Data::Log::Shared->new( undef, 1000 );
    is( $empty->truncate(100),   0, 'of an empty log that is 0' );
    is( $empty->append('first'), 0, '... where the first entry goes' );
    is_deeply( [ walked($empty) ], ['first'], '... to be read' );
};

subtest 'inside an entry means its end' => sub {
    my ( undef, @offsets ) = log_of(@texts);
    my ( @wrong, @seen );
    for my $at ( $offsets[1] + 1 .. $offsets[3] ) {
        my ($log)    = log_of(@texts);
        my $expected = $at <= $offsets[2] ? 2 : 3;
        my $got      = $log->truncate($at);
        push @wrong, "$at: $got"
            if $got != $offsets[$expected] || "@{[walked($log)]}" ne "@texts[ $expected .. 5 ]";
    }
    is_deeply( \@wrong, [], 'at each of its bytes' );
};

subtest 'a negative offset is refused' => sub {
    my ( $log, @offsets ) = log_of(@texts);
    croaks( sub { $log->truncate($_) }, 'truncate', qr/\Q$_\E|inf/i, "truncate($_)" ) for -1, -4, -1000, -9**9**9;
    is( $log->truncation, 0, 'and changes nothing' );
};

subtest 'others see it' => sub {
    my $path    = scratch('truncated');
    my $log     = Data::Log::Shared->new( $path, 1000 );
    my $other   = Data::Log::Shared->new( $path, 1000 );
    my @offsets = map { $log->append($_) } @texts;
    is( $other->entry_count,                                 6,           'a handle that has looked already' );
    is( from_child( sub { $log->truncate( $offsets[1] ) } ), $offsets[1], 'truncated by a child' );
    is( $_->truncation,                                      $offsets[1], 'the handles see it' ) for $log, $other;
    is_deeply( [ walked($other) ], [ @texts[ 1 .. 5 ] ], '... and read accordingly' );
    undef $_ for $log, $other;
    $log = Data::Log::Shared->new( $path, 1000 );
    is( $log->truncation, $offsets[1], 'the file keeps it' );
    is_deeply( [ walked($log) ], [ @texts[ 1 .. 5 ] ], '... with what it leaves' );
    is( $log->entry_count, 6, '... and the count of all' );
};

subtest 'truncating beside writers loses nothing that comes later' => sub {
    my $log  = Data::Log::Shared->new( undef, 100_000 );
    my @pids = map {
        my $writer = $_;
        in_child( sub { $log->append("$writer:$_") // die for 1 .. 300 } )
    } 1 .. 2;
    my ( %last, @wrong );
    my $pos  = 0;
    my $seen = 0;
    while ( $seen < 600 ) {
        my $count = $log->entry_count;
        $pos = $log->each_entry(
            sub {
                my ( $writer, $n ) = split /:/, $_[0];
                push @wrong, $_[0] if $n != ( $last{$writer} // 0 ) + 1;
                $last{$writer} = $n;
                $seen++;
            },
            $pos
        );
        $log->truncate($pos);
        $log->wait_for( $count, 0.02 ) if $seen < 600;
    }
    ok( reap(@pids), 'the writers are not disturbed' );
    is_deeply( \@wrong, [], 'the reader sees each entry once, in order' );
    is( $log->truncation, $log->tail_offset, 'all is hidden in the end' );
};

done_testing;
