use strict;
use warnings;

use Config;

BEGIN {
    if ( !$Config{useithreads} ) {
        print "1..0 # SKIP this perl has no threads\n";
        exit 0;
    }
}

use threads;
use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

subtest 'a handle goes along into a thread' => sub {
    my $log = Data::Log::Shared->new( undef, 1000 );
    $log->append('by the parent');
    my ($seen) = threads->create( { context => 'list' },
        sub { my @seen = replay($log); $log->append('by the thread'); @seen } )->join;
    is( $seen, 'by the parent', 'it reads there' );
    is_deeply( [ replay($log) ], [ 'by the parent', 'by the thread' ], 'and writes' );
    ok( defined $log->append('afterwards'), 'its end does not end the handle of the parent' );
};

subtest 'each thread has a handle of its own' => sub {
    my $log   = Data::Log::Shared->new_memfd( 'threads', 1000 );
    my $error = threads->create(
        sub {
            $log->DESTROY;
            eval { $log->append('x') };
            $@;
        }
    )->join;
    like( $error, qr/Data::Log::Shared object/, 'destroyed in a thread it is gone there' );
    is( $log->append('still here'), 0, '... and only there' );

    my $thread = threads->create(
        sub {
            threads->yield until $log->entry_count > 1;
            $log->append('from the thread');
            return $log->entry_count;
        }
    );
    my $second = Data::Log::Shared->new_from_fd( $log->memfd );
    undef $log;
    $second->append('go on');
    is( $thread->join, 3, 'destroyed by the parent it lives on in a thread' );
    is_deeply( [ replay($second) ], [ 'still here', 'go on', 'from the thread' ], '... and works' );
};

subtest 'handles are freed once, and all of them' => sub {
    my $before = open_fds();
    my $copies = 0;
    {
        my $log = Data::Log::Shared->new_memfd( 'counted', 1000 );
        $log->eventfd;
        my @threads = map {
            threads->create(
                sub {
                    my $copy = $log;
                    $log->append('x');
                    threads->create( sub { $log->append('y') } )->join;
                }
            )
        } 1 .. 3;
        $_->join for @threads;
        is( $log->entry_count, 6, 'threads of threads' );
    }
    is( open_fds(), $before, 'nothing is left open' );
};

subtest 'threads write side by side' => sub {
    my $log     = Data::Log::Shared->new( undef, 100_000 );
    my @threads = map {
        my $n = $_;
        threads->create( sub { $log->append("$n:$_") // die 'full' for 1 .. 200; 1 } )
    } 1 .. 3;
    is( ( grep { $_->join } @threads ), 3, 'three writers' );
    my @all = replay($log);
    for my $n ( 1 .. 3 ) {
        is_deeply( [ grep { /^$n:/ } @all ], [ map { "$n:$_" } 1 .. 200 ], "all of writer $n, in its order" );
    }
    is( $log->entry_count, 600, 'and nothing else' );
};

subtest 'a thread waits' => sub {
    my $log    = Data::Log::Shared->new( undef, 1000 );
    my $thread = threads->create( sub { $log->wait_for(0) . ' ' . ( replay($log) )[0] } );
    wait_until( sub { $log->stats->{waiters} } );
    $log->append('news');
    is( $thread->join, '1 news', 'and is woken by another' );
};

subtest 'a thread has logs of its own' => sub {
    my $path = scratch('own');
    is( threads->create( sub { Data::Log::Shared->new( $path, 1000 )->append('hello') } )->join, 0, 'made there' );
    is_deeply( [ replay( Data::Log::Shared->new( $path, 1000 ) ) ], ['hello'], 'read here' );
    my $inner = threads->create( sub { Data::Log::Shared->new( undef, 1000 ) } )->join;
    ok(
        !eval { $inner->append('x'); 1 } || $inner->entry_count == 1,
        'one that is returned works or says that it does not'
    );
};

subtest 'a thread started from a callback' => sub {
    my $log = Data::Log::Shared->new( undef, 1000 );
    $log->append($_) for 1 .. 3;
    my @counts;
    $log->each_entry(
        sub {
            push @counts, threads->create( sub { $log->entry_count + $_[0] }, $_[0] )->join;
        }
    );
    is_deeply( \@counts, [ 4, 5, 6 ], 'can use the log' );
};

done_testing;
