use strict;
use warnings;

use IO::Select  ();
use Time::HiRes ();
use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

my $INF = 9**9**9;

sub log_of {
    my ($n) = @_;
    my $log = Data::Log::Shared->new( undef, 10_000 );
    $log->append("entry $_") for 1 .. $n;
    return $log;
}

# Signals the parent until it says through the returned handle that it has had
# enough, so that the signals do come while it waits; then runs the code.
sub pester {
    my ($then) = @_;
    pipe my $heard, my $enough or die $!;
    my $parent = $$;
    my $pid    = in_child(
        sub {
            close $enough;
            my $select = IO::Select->new($heard);
            kill USR1 => $parent until $select->can_read(0.03);
            $then->() if $then;
        }
    );
    close $heard;
    return ( $enough, $pid );
}

subtest 'polling' => sub {
    my $log = log_of(0);
    is( $log->wait_for( 0, 0 ), 0, 'nothing new in an empty log' );
    $log->append('one');
    is( $log->wait_for( 0, 0 ), 1, 'an entry more than expected' );
    is( $log->wait_for( 1, 0 ), 0, 'as many as expected' );
    is( $log->wait_for( 2, 0 ), 1, 'an entry less than expected' );
    is_deeply( [ $log->wait_for( 1, 0 ), $log->wait_for( 0, 0 ) ], [ 0, 1 ], 'one value in list context' );
};

subtest 'no waiting where the count differs already' => sub {
    my $log = log_of(3);
    is( $log->wait_for(2), 1, 'without a time' );
    is( $log->wait_for( 2, undef ), 1, 'with undef' );
    is( $log->wait_for( 2, $_ ), 1, "for $_ seconds" ) for 0, 0.001, 5, 1e9, 1e300, $INF, -1, -0.5, -$INF;
    for my $count ( -1, -1e30, 1e30, 2**63, 2**64, 1.5, $INF, -$INF ) {
        is( $log->wait_for( $count, 60 ), 1, "no log can have $count entries" );
    }
};

subtest 'a time-out' => sub {
    my $log = log_of(2);
    for my $seconds ( 0.001, 0.05, 0.3 ) {
        my $begin = Time::HiRes::clock_gettime( Time::HiRes::CLOCK_MONOTONIC() );
        is( $log->wait_for( 2, $seconds ), 0, "after $seconds seconds" );
        my $took = Time::HiRes::clock_gettime( Time::HiRes::CLOCK_MONOTONIC() ) - $begin;
        cmp_ok( $took, '>=', $seconds * 0.99, '... and not before' );
    }
    is( $log->wait_for( 2, 1e-12 ), 0, 'a very short one' );
    croaks( sub { $log->wait_for( 2, $INF - $INF ) }, 'wait_for', qr/nan|number/i, 'NaN is no time' );
};

for my $case (
    ['for ever, no argument'],
    [ 'for ever, undef',     undef ],
    [ 'for ever, negative',  -1 ],
    [ 'for ever, -inf',      -$INF ],
    [ 'an hour',             3600 ],
    [ 'a fractional hour',   3599.5 ],
    [ 'a huge time',         1e300 ],
    [ 'just beyond 64 bits', 2**63 ],
    [ 'infinity',            $INF ]
) {
    my ( $name, @seconds ) = @$case;
    my $log = log_of(1);
    my $pid = in_child(
        sub {
            wait_until( sub { $log->stats->{waiters} } );
            $log->append('from the child');
        }
    );
    is( $log->wait_for( 1, @seconds ), 1, "waiting: $name: woken by a child's append" );
    is( $log->entry_count,             2, '... which can be read' );
    reap($pid);
}

subtest 'an append through another handle wakes' => sub {
    my $path = scratch('woken');
    my $log  = Data::Log::Shared->new( $path, 1000 );
    my $pid  = in_child(
        sub {
            my $own = Data::Log::Shared->new( $path, 1000 );
            wait_until( sub { $own->stats->{waiters} } );
            $own->append('hello');
        }
    );
    is( $log->wait_for(0), 1, 'of the same file' );
    reap($pid);

    my $memfd = Data::Log::Shared->new_memfd( 'woken', 1000 );
    $pid = in_child(
        sub {
            my $own = Data::Log::Shared->new_from_fd( $memfd->memfd );
            wait_until( sub { $own->stats->{waiters} } );
            $own->append('hello');
        }
    );
    is( $memfd->wait_for(0), 1, 'of the same memfd' );
    reap($pid);
};

subtest 'one append wakes everybody' => sub {
    my $log      = log_of(0);
    my @children = map {
        in_child( sub { $log->wait_for(0) == 1 or die 'not woken' } )
    } 1 .. 4;
    wait_until( sub { $log->stats->{waiters} == 4 } );
    $log->append('breakfast');
    ok( reap(@children), 'four waiters' );
};

subtest 'a reset wakes' => sub {
    my $log = log_of(3);
    my $pid = in_child(
        sub {
            wait_until( sub { $log->stats->{waiters} } );
            $log->reset;
        }
    );
    is( $log->wait_for(3), 1, 'the count is another' );
    is( $log->entry_count, 0, '... none' );
    reap($pid);
};

subtest 'a killed waiter leaves nothing behind' => sub {
    my $log     = log_of(0);
    my @victims = map {
        in_child( sub { $log->wait_for(0) } )
    } 1 .. 3;
    wait_until( sub { $log->stats->{waiters} == 3 } );
    kill KILL => @victims;
    waitpid $_, 0 for @victims;
    $log->append('one');
    is( $log->stats->{waiters}, 0, 'it is not counted after the next append' );
    my $pid = in_child( sub { $log->wait_for(1) == 1 or die } );
    wait_until( sub { $log->stats->{waiters} } );
    $log->append('two');
    ok( reap($pid), 'others are woken as ever' );
};

subtest 'signal handlers run while it waits' => sub {
    my $log = log_of(1);
    my ( $heard, $enough, $pid ) = 0;
    local $SIG{USR1} = sub { close $enough if ++$heard == 4 };
    ( $enough, $pid ) = pester( sub { $log->append('at last') } );
    is( $log->wait_for( 1, 3600 ), 1, 'and the wait goes on until there is something' );
    cmp_ok( $heard, '>=', 4, 'they ran before that' );
    reap($pid);
};

subtest 'signals do not make a wait shorter or longer' => sub {
    my $log   = log_of(1);
    my $heard = 0;
    local $SIG{USR1} = sub { $heard++ };
    my ( $enough, $pid ) = pester();
    my $begin = Time::HiRes::clock_gettime( Time::HiRes::CLOCK_MONOTONIC() );
    is( $log->wait_for( 1, 0.4 ), 0, 'it times out' );
    cmp_ok( Time::HiRes::clock_gettime( Time::HiRes::CLOCK_MONOTONIC() ) - $begin, '>=', 0.39, '... not early' );
    close $enough;
    reap($pid);
};

subtest 'a handler that dies ends the wait' => sub {
    my $log = log_of(1);
    for my $seconds ( undef, 3600 ) {
        my ( $heard, $enough, $pid ) = 0;
        local $SIG{USR1} = sub {
            return if ++$heard < 3;
            local $SIG{USR1} = 'IGNORE';
            close $enough;
            reap($pid);
            die "out of here\n";
        };
        ( $enough, $pid ) = pester();
        ok( !eval { $log->wait_for( 1, $seconds ); 1 }, 'it does not return' );
        is( $@,                     "out of here\n", '... but throws what the handler threw' );
        is( $log->stats->{waiters}, 0,               'nobody is left waiting' );
    }
    $log->append('two');
    is( $log->wait_for( 1, 0 ), 1, 'the log is fine' );
};

for my $how ( 'the last reference', 'DESTROY' ) {
    subtest "a handler that drops the log: $how" => sub {
        my $second = Data::Log::Shared->new_memfd( 'kept', 1000 );
        my $memfd  = Data::Log::Shared->new_from_fd( $second->memfd );
        my ( $heard, $dropped, $enough, $pid ) = ( 0, 0 );
        local $SIG{USR1} = sub {
            return if ++$heard < 3 || $dropped++;
            $how eq 'DESTROY' ? $memfd->DESTROY : undef $memfd;
            close $enough;
        };
        ( $enough, $pid ) = pester( sub { $second->append('wake up') } );
        my $result = eval { $memfd->wait_for(0) };
        ok( defined $result ? $result == 1 : $@ =~ /Data::Log::Shared object/, 'ends or complains' ) or diag $@;
        is( $dropped > 0, 1, 'it was dropped' );
        reap($pid);
        is_deeply( [ replay($second) ], ['wake up'], 'another handle still works' );
    };
}

subtest 'a handler that appends' => sub {
    my $log = log_of(0);
    my ( $heard, $enough, $pid ) = 0;
    local $SIG{USR1} = sub {
        return if ++$heard != 3;
        $log->append('from the handler');
        close $enough;
    };
    ( $enough, $pid ) = pester();
    is( $log->wait_for(0), 1, 'ends the wait' );
    reap($pid);
    is_deeply( [ replay($log) ], ['from the handler'], 'once' );
};

done_testing;
