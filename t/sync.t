use strict;
use warnings;

use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

my $path = scratch('synced');

subtest 'a file' => sub {
    my $log = Data::Log::Shared->new( $path, 10_000 );
    ok( $log->sync, 'an empty log' );
    is( $log->stats->{synced}, 0, '... has nothing to sync' );
    my @texts = map { "entry $_ of this log" } 1 .. 50;
    $log->append($_) for @texts;
    ok( $log->sync, 'a used one' );
    is( $log->stats->{synced},      $log->tail_offset, 'is synced to its tail' );
    is( $log->stats->{sync_failed}, 0,                 'without a failure' );
    my $bytes = slurp($path);
    is_deeply( [ grep { index( $bytes, $_ ) < 0 } @texts ], [], 'the file has the entries' );
    ok( $log->sync, 'once more' );
    $log->append('later');
    cmp_ok( $log->stats->{synced}, '<', $log->tail_offset, 'what is appended later is not synced yet' );
    ok( $log->sync, '... but can be' );
    is( $log->stats->{synced}, $log->tail_offset, '... and then is' );
    undef $log;

    my $again = Data::Log::Shared->new( $path, 10_000 );
    is_deeply( [ replay($again) ], [ @texts, 'later' ], 'reopened, it has what was synced' );
    is( $again->entry_count, 51, '... and the count' );
    undef $again;
    my $copy = spew( scratch('copy'), slurp($path) );
    is_deeply( [ replay( Data::Log::Shared->new( $copy, 1 ) ) ], [ @texts, 'later' ],
        'so has a copy of the file' );
};

subtest 'by others' => sub {
    my $log = Data::Log::Shared->new( $path, 10_000 );
    $log->append('by the parent');
    is( from_child( sub { $log->sync && 'synced' } ), 'synced',          'a child syncs what the parent wrote' );
    is( $log->stats->{synced},                        $log->tail_offset, '... and the parent sees it' );
    $log->append('more');
    ok( Data::Log::Shared->new( $path, 1 )->sync, 'another handle' );
    is( $log->stats->{synced}, $log->tail_offset, '... does the same' );
    $log->unlink;
    $log->append('in the dark');
    ok( $log->sync, 'a file without a name' );
};

subtest 'a copy of a file that was never synced has all that was written' => sub {
    my $log = Data::Log::Shared->new( scratch('unsynced'), 10_000 );
    $log->append("entry $_") for 1 .. 30;
    undef $log;
    my $copy = spew( scratch('unsynced-copy'), slurp( scratch('unsynced') ) );
    $log = Data::Log::Shared->new( $copy, 1 );
    is_deeply( [ replay($log) ], [ map { "entry $_" } 1 .. 30 ], 'every entry' );
    ok( defined $log->append('more'), 'and goes on' );
};

# The mark was set where the tail had been, in the middle of an entry, which recovery then took for
# damaged.
subtest 'a handler that empties the log' => sub {
    my $path = scratch('emptied');
    my $log  = Data::Log::Shared->new( $path, 10_000 );
    $log->append( 'x' x 100 ) for 1 .. 10;

    # As left by a writer that died; it takes much patience.
    patch( $path, 128, pack 'Q', $log->tail_offset / 4 << 28 | 100 );
    patch( $path, 4096 + $log->tail_offset - 396, pack 'L', 11 );
    my @entries = map { "entry $_ " . 'y' x 70 } 1 .. 60;
    local $SIG{USR1} = sub {
        $log->reset;
        $log->append($_) for @entries;
    };
    my $child = in_child( sub { select undef, undef, undef, 0.1; kill USR1 => getppid } );
    ok( $log->sync,   'sync returns' );
    ok( reap($child), '... and' );
    is( $log->entry_count, @entries, '... the handler has run' );
    undef $log;
    my $copy = Data::Log::Shared->new( spew( scratch('emptied-copy'), slurp($path) ), 1 );
    is( $copy->verify->{damaged}, 0, 'a copy has nothing damaged' );
    is_deeply( [ replay($copy) ], \@entries, '... and all that there is' );
};

subtest 'memory' => sub {
    for my $log ( Data::Log::Shared->new( undef, 1000 ), Data::Log::Shared->new_memfd( 'x', 1000 ) ) {
        $log->append('entry');
        ok( $log->sync, 'has no disk, which is fine' );
        is_deeply( [ replay($log) ], ['entry'], '... and changes nothing' );
    }
};

done_testing;
