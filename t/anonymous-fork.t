use strict;
use warnings;

use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

subtest 'an anonymous log' => sub {
    my $log = Data::Log::Shared->new( undef, 1000 );
    is( $log->path,  undef, 'has no path' );
    is( $log->memfd, -1,    'shows no fd' );
    my $other = Data::Log::Shared->new( undef, 1000 );
    $other->append('elsewhere');
    is( $log->entry_count, 0, 'is not another anonymous log' );
};

subtest 'parent and children see the same log' => sub {
    my $log = Data::Log::Shared->new( undef, 1000 );
    $log->append('before the fork');
    is(
        from_child( sub { my ($seen) = replay($log); $log->append('from the child'); $seen } ),
        'before the fork',
        'a child reads what was there'
    );
    is(
        from_child(
            sub {
                from_child( sub { join ', ', replay($log) } );
            }
        ),
        'before the fork, from the child',
        'so does a grandchild'
    );
    is_deeply( [ replay($log) ], [ 'before the fork', 'from the child' ],
        'the parent reads what the child wrote' );
    is( from_child( sub { undef $log; 'gone' } ), 'gone', 'a child drops its handle' );
    ok( defined $log->append('after'), '... and the parent goes on' );
};

subtest 'several writers' => sub {
    my ( $writers, $each ) = ( 4, 250 );
    my $log = Data::Log::Shared->new( undef, 100_000 );

    my $reader_pid;
    pipe my $from_reader, my $to_parent or die $!;
    $reader_pid = in_child(
        sub {
            my ( $pos, @seen ) = 0;
            while ( @seen < $writers * $each ) {
                my $count = $log->entry_count;
                $pos = $log->each_entry( sub { push @seen, $_[0] }, $pos );
                $log->wait_for( $count, 0.05 ) if @seen < $writers * $each;
            }
            print {$to_parent} join "\n", @seen;
            close $to_parent;
        }
    );
    close $to_parent;
    my @pids = map {
        my $writer = $_;
        in_child(
            sub {
                my $last = -1;
                for my $n ( 1 .. $each ) {
                    my $offset = $log->append( "$writer:$n:" . 'x' x ( $n % 50 ) ) // die 'full';
                    $offset > $last or die "offset $offset after $last";
                    $last = $offset;
                }
            }
        )
    } 1 .. $writers;
    my $read_meanwhile = do { local $/; <$from_reader> };
    ok( reap( @pids, $reader_pid ), 'writers and a reader end well' );

    my @all = replay($log);
    is( @all,              $writers * $each, 'every entry is there' );
    is( $log->entry_count, scalar @all,      'the count is that of a replay' );
    for my $writer ( 1 .. $writers ) {
        is_deeply(
            [ grep { /^$writer:/ } @all ],
            [ map { "$writer:$_:" . 'x' x ( $_ % 50 ) } 1 .. $each ],
            "the entries of writer $writer, once each and in its order"
        );
    }
    is( $read_meanwhile, join( "\n", @all ), 'who read along has seen the same, in the same order' );
};

subtest 'writers that fill the log' => sub {
    my $log  = Data::Log::Shared->new( undef, 20 * 100 );
    my @pids = map {
        my $writer = $_;
        in_child( sub { my $n = 0; 1 while defined $log->append( sprintf '%d:%010d', $writer, $n++ ) } )
    } 1 .. 3;
    ok( reap(@pids), 'all of them meet the end' );
    is( scalar( () = replay($log) ), 100, 'the log is full to the last place' );
    is( $log->available,             0,   'nothing is free' );
};

done_testing;
