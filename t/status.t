use strict;
use warnings;

use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

subtest 'sizes and counts follow what is appended' => sub {
    my $log = Data::Log::Shared->new( undef, 1000 );
    is( $log->data_size,   1000, 'the size asked for' );
    is( $log->tail_offset, 0,    'nothing used' );
    is( $log->available,   1000, 'all free' );
    is( $log->entry_count, 0,    'no entries' );
    for my $n ( 1 .. 20 ) {
        my $offset = $log->append( 'x' x $n );
        my ( undef, $next ) = $log->read_entry($offset);
        is_deeply(
            [ $log->tail_offset, $log->available, $log->entry_count, $log->data_size ],
            [ $next,             1000 - $next,    $n,                1000 ],
            "after $n entries"
        );
        cmp_ok( $next - $offset, '<=', 8 + $n + 3, '... of which the last takes no more than it may' );
    }
    is( Data::Log::Shared->new( undef, $_ )->data_size, $_, "a size of $_" )
        for 1, 19, 4095, 4096, 4097, 1_000_001;
};

my @documented = qw(data_size tail count available waiters appends waits timeouts mmap_size);

subtest 'stats agrees with the methods' => sub {
    my $path = scratch('stats.log');
    for my $log (
        Data::Log::Shared->new( undef, 10_000 ),
        Data::Log::Shared->new_memfd( undef, 10_000 ),
        Data::Log::Shared->new( $path, 10_000 )
    ) {
        $log->append("entry $_") for 1 .. 7;
        my $stats = $log->stats;
        is( ref $stats, 'HASH', 'a hash' );
        is_deeply( [ grep { ( $stats->{$_} // '' ) !~ /^\d+$/ } @documented ],
            [], 'all documented values are integers' );
        is_deeply( [ grep { $stats->{$_} !~ /^-?\d+$/ } keys %$stats ], [], '... and so are the others' );
        is( $stats->{data_size}, $log->data_size,   'data_size' );
        is( $stats->{tail},      $log->tail_offset, 'tail' );
        is( $stats->{count},     $log->entry_count, 'count' );
        is( $stats->{available}, $log->available,   'available' );
        is( $stats->{mmap_size}, 4096 + 10_000,     'mmap_size: a header page and the data' );
        is( $stats->{appends},   7,                 'appends' );
        is( $stats->{waiters},   0,                 'nobody waits' );
        is( $stats->{$_},        0,                 $_ ) for qw(sealed truncation sync_failed damaged);
        $stats->{tail} = 'changed';
        is( $log->stats->{tail}, $log->tail_offset, 'each call gives a hash of its own' );
    }
};

subtest 'waits and time-outs are counted' => sub {
    my $log = Data::Log::Shared->new( undef, 1000 );
    is( $log->stats->{waits},    0, 'no waits at first' );
    is( $log->stats->{timeouts}, 0, 'no time-outs either' );
    $log->wait_for( 0, 0.01 ) for 1 .. 3;
    is( $log->stats->{waits},    3, 'three waits' );
    is( $log->stats->{timeouts}, 3, '... that nothing ended' );
};

subtest 'a waiter is counted while it waits' => sub {
    my $log = Data::Log::Shared->new( undef, 1000 );
    my $pid = in_child( sub { $log->wait_for(0) or die 'not woken' } );
    ok( wait_until( sub { $log->stats->{waiters} == 1 } ), 'one waits' );
    $log->append('wake up');
    ok( reap($pid),                                        'it was woken' );
    ok( wait_until( sub { $log->stats->{waiters} == 0 } ), 'none waits' );
};

subtest 'appends of all processes are counted, refused ones are not' => sub {
    my $log      = Data::Log::Shared->new( undef, 20 * 10 );
    my @children = map {
        in_child( sub { $log->append('twelve bytes') for 1 .. 4 } )
    } 1 .. 2;
    ok( reap(@children), 'two writers' );
    is( $log->stats->{appends}, 8, 'eight appends' );
    $log->append('twelve bytes') for 1 .. 5;
    is( $log->stats->{appends}, 10, 'only those that fit' );
    is( $log->entry_count,      10, 'as many as there are entries' );
};

done_testing;
