use strict;
use warnings;

use POSIX ();
use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

sub is_empty {
    my ( $log, $name ) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $called = 0;
    $log->each_entry( sub { $called++ } );
    return is_deeply(
        [
            $log->entry_count, $log->tail_offset,       $log->available,
            $log->truncation,  [ $log->read_entry(0) ], $called
        ],
        [ 0, 0, $log->data_size, 0, [], 0 ],
        $name
    );
}

my $path = scratch('reset');
my %logs = (
    'an anonymous log' => sub { Data::Log::Shared->new( undef, 1000 ) },
    'a file'           => sub { Data::Log::Shared->unlink($path); Data::Log::Shared->new( $path, 1000 ) },
    'a memfd'          => sub { Data::Log::Shared->new_memfd( 'reset', 1000 ) },
);

for my $kind ( sort keys %logs ) {
    subtest $kind => sub {
        my $log = $logs{$kind}->();
        ok( $log->reset, 'empty, it can be reset' );
        is_empty( $log, '... and stays empty' );

        $log->append( "number $_ " . 'x' x 40 ) for 1 .. 5;
        $log->truncate(60);
        my $generation = $log->stats->{generation};
        ok( $log->reset, 'used, it can be reset' );
        is_empty( $log, '... and is empty' );
        cmp_ok( $log->stats->{generation}, '>', $generation, '... in a new generation' );

        is( $log->append('short'), 0, 'offsets begin at 0 again' );
        is_deeply( [ replay($log) ], ['short'], 'what was there before does not come back' );
        is_deeply( [ $log->read_entry($_) ], [], "... nothing at $_" ) for 12, 16, 20, 60, 64;
        is( $log->entry_count, 1, 'the count begins again' );
        is( $log->wait_for( 5, 0 ), 1, 'a waiter for the old count is told' );
        is( $log->wait_for( 1, 0 ), 0, 'one for the new is not' );

        for my $turn ( 1 .. 20 ) {
            $log->reset;
            1 while defined $log->append( sprintf '%2d entry %03d', $turn, 7 );
        }
        is( $log->entry_count, 1000 / 20, 'full and reset many times it holds as much as ever' );
        is_deeply( [ grep { $_ ne '20 entry 007' } replay($log) ], [], '... of the last turn only' );
    };
}

subtest 'other handles see it' => sub {
    Data::Log::Shared->unlink($path);
    my $log   = Data::Log::Shared->new( $path, 1000 );
    my $other = Data::Log::Shared->new( $path, 1000 );
    $log->append("entry $_") for 1 .. 8;
    is( $other->entry_count, 8, 'a handle that has walked the log' );
    $log->reset;
    is_empty( $other, '... finds it empty' );
    $log->append("new $_") for 1 .. 3;
    is( $other->entry_count, 3, '... and counts from the beginning' );
    is_deeply( [ replay($other) ], [ 'new 1', 'new 2', 'new 3' ], '... and reads what is new' );

    is( from_child( sub { $log->reset && 'done' } ), 'done', 'a child resets' );
    is_empty( $_, 'the parent sees it' ) for $log, $other;
    my $old = $log->append('one');
    $other->reset;
    is( $log->append("number $_"), 16 * ( $_ - 1 ), 'a handle that did not reset appends from 0' ) for 1 .. 3;
    undef $_ for $log, $other;
    is_deeply(
        [ replay( Data::Log::Shared->new( $path, 1000 ) ) ],
        [ map { "number $_" } 1 .. 3 ],
        'the file keeps it'
    );
};

subtest 'a reset file opens empty' => sub {
    Data::Log::Shared->unlink($path);
    my $log = Data::Log::Shared->new( $path, 1000 );
    $log->append("entry $_") for 1 .. 8;
    $log->sync;
    $log->reset;
    undef $log;
    my $again = Data::Log::Shared->new( $path, 1000 );
    is_empty( $again, 'attached again' );
    unlike( slurp($path), qr/entry/, 'nothing of it is left in the file' );
    undef $again;
    my $copy = spew( scratch('copy'), slurp($path) );
    is_empty( Data::Log::Shared->new( $copy, 1000 ), 'a copy' );
};

# A tail word of all ones is what a reset leaves that was killed half-way.
sub half_reset {
    my (@entries) = @_;
    Data::Log::Shared->unlink($path);
    my $log = Data::Log::Shared->new( $path, 1000 );
    $log->append($_) for @entries;
    patch( $path, 128, "\xff" x 8 );
    return $log;
}

# An attach left a half-made reset as it was, so that a fresh handle said that nothing was available.
subtest 'a fresh attach finishes what a killed reset began' => sub {
    my %attach = (
        'new'         => sub { Data::Log::Shared->new( $path, 1 ) },
        'new_from_fd' => sub {
            open my $file, '+<', $path or die $!;
            Data::Log::Shared->new_from_fd( fileno $file );
        },
    );
    for my $how ( sort keys %attach ) {
        half_reset( map { "old $_" } 1 .. 8 );
        my $log = $attach{$how}->();
        is( $log->available,     $log->data_size, "$how: there is room again" );
        is( $log->append('new'), 0,               '... from the beginning' );
        is_deeply( [ replay($log) ], ['new'], '... and nothing of before' );
        unlike( slurp($path), qr/old/, '... not even in the file' );
    }
};

SKIP: {
    skip 'only root can give up its rights', 1 if $> != 0;

    # A process that has given up the right to open the file had no way to a lock of its own, so it could
    # neither reset nor append once another's reset was killed.
    subtest 'a handle that was opened before its process gave up its rights' => sub {
        Data::Log::Shared->unlink($path);
        my $log = Data::Log::Shared->new( $path, 1000 );
        $log->append('old');
        my $reset = as_nobody( sub { $log->append('more'); $log->reset; $log->append('new'); join ' ', replay($log) } );
        is( $reset, 'new', 'resets' );
        is_deeply( [ replay($log) ], ['new'], '... for all' );

        $log = half_reset( 'old' );
        is( as_nobody( sub { $log->append('new') . join ' ', replay($log) } ),
            '0new', 'finishes a reset that was killed' );
        is_deeply( [ replay($log) ], ['new'], '... for all' );
    };
}

done_testing;
