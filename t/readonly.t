use strict;
use warnings;

use IO::Select ();
use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

my $path = scratch('log');
my @abc  = qw(alpha beta gamma);

sub fresh {
    Data::Log::Shared->unlink($path);
    my $log     = Data::Log::Shared->new( $path, 10_000 );
    my @offsets = map { $log->append($_) } @_;
    return ( $log, @offsets );
}

sub read_only { return Data::Log::Shared->new_readonly($path) }

subtest 'all that reads works' => sub {
    my ( $log, @offsets ) = fresh(@abc);
    my $reader = read_only();
    isa_ok( $reader, 'Data::Log::Shared' );
    is_deeply( [ replay($reader) ], \@abc, 'read_entry' );
    my @seen;
    is( $reader->each_entry( sub { push @seen, $_[0] } ), $log->tail_offset, 'each_entry' );
    is_deeply( \@seen,                             \@abc, '... each' );
    is_deeply( [ $reader->cursor->next_multi(5) ], \@abc, 'a cursor' );
    is( $reader->$_, $log->$_, $_ ) for qw(tail_offset entry_count data_size available truncation path);
    is_deeply( $reader->verify, $log->verify, 'verify' );
    my ( $mine, $theirs ) = map { $_->stats } $reader, $log;
    is_deeply( $mine, $theirs, 'stats' );
    is( $reader->wait_for(2), 1, 'wait_for' );
    ok( $reader->eventfd >= 0 && $reader->notify && $reader->eventfd_consume, 'an eventfd' );
    $log->append('delta');
    is( $reader->entry_count, 4, 'what is appended later is seen' );
    $log->truncate( $offsets[1] );
    is( $reader->truncation, $offsets[1], '... and what is truncated' );
    $log->reset;
    is( $reader->entry_count, 0, '... and a reset' );
};

subtest 'all that writes is refused' => sub {
    my ($log)  = fresh(@abc);
    my $reader = read_only();
    my $before = slurp($path);
    my %call   = (
        append       => sub { $reader->append('x') },
        append_multi => sub { $reader->append_multi( 'x', 'y' ) },
        truncate     => sub { $reader->truncate(16) },
        reset        => sub { $reader->reset },
        sync         => sub { $reader->sync },
    );
    for my $method ( sort keys %call ) {
        croaks( $call{$method}, $method, qr/\Q$path\E: .*read-only/, $method );
        local $! = 0;
        eval { $call{$method}->() };
        ok( $!{EBADF}, '... with an error number' );
    }
    croaks( sub { $reader->append( 'x' x 1e6 ) }, 'append', qr/read-only/, 'also what would not fit' );
    is( slurp($path), $before, 'the file is as it was' );
};

subtest 'it writes nothing at all' => sub {
    my ($log)  = fresh(@abc);
    my $before = slurp($path);
    my $reader = read_only();
    $reader->wait_for( 3, 0.01 );
    $reader->cursor->next(0.01) for 1 .. 4;
    $reader->each_entry( sub { } );
    replay( $reader, 0, 0 );
    $reader->verify;
    $reader->stats;
    undef $reader;
    is( slurp($path), $before, 'neither reading nor waiting' );
};

subtest 'waiting' => sub {
    my ($log) = fresh(@abc);
    my $reader = read_only();
    is( $reader->wait_for( 3, 0 ),    0, 'a poll' );
    is( $reader->wait_for( 3, 0.01 ), 0, 'a time-out' );

    # It does not register as a waiter, so that a signal has to tell that it waits.
    pipe my $waits, my $told or die $!;
    my ( $parent, $heard ) = ( $$, 0 );
    local $SIG{USR1} = sub { close $told if ++$heard == 3 };
    my $child = in_child(
        sub {
            close $told;
            my $select = IO::Select->new($waits);
            kill USR1 => $parent until $select->can_read(0.03);
            $log->append('delta');
        }
    );
    is( $reader->wait_for(3), 1, 'another process appends' );
    is( $reader->entry_count, 4, '... which is there' );
    ok( reap($child), '... undisturbed' );
    my $cursor = $reader->cursor( $log->tail_offset );
    $child = in_child( sub { $log->append('epsilon') } );
    is( $cursor->next(3600), 'epsilon', 'a cursor' );
    reap($child);
};

subtest 'the place of a dead writer' => sub {
    my ( $log, @offsets ) = fresh( @abc, 'delta' );
    patch( $path, 4096 + $offsets[2], pack 'LL', 1 << 30 | ( $offsets[3] - $offsets[2] ) / 4, 0 );
    my $reader = read_only();
    is_deeply( [ replay( $reader, 0, 0 ) ], [ 'alpha', 'beta' ], 'is not passed, with no patience either' );
    is( $reader->wait_for( 2, 0.1 ), 0, '... nor while it waits' );
    is( $reader->stats->{sealed},    0, '... nor closed' );
    is_deeply(
        [ replay( $log, 0, 0 ) ],
        [ 'alpha', 'beta', 'delta' ],
        'until somebody who may write has passed it'
    );
    is_deeply( [ replay($reader) ], [ 'alpha', 'beta', 'delta' ], 'then it is passed' );
    is( $reader->entry_count, 3, '... and counted so' );
};

subtest 'a log that needs recovery' => sub {
    my ($log) = fresh(@abc);
    $log->sync;
    patch( $path, 512, "\1" x 16 );
    my $reader = read_only();
    is_deeply( [ replay($reader) ], \@abc, 'is attached while somebody has it open' );
    undef $_ for $log, $reader;
    my $before = slurp($path);
    croaks( \&read_only, 'new_readonly', qr/\Q$path\E: .*recovery/, 'is refused when nobody has' );
    is( slurp($path), $before, '... and left as it was' );
    Data::Log::Shared->new( $path, 1 );
    is_deeply( [ replay( read_only() ) ], \@abc, 'once recovered it is attached' );
    my $copy = spew( scratch('copy'), slurp($path) );
    croaks( sub { Data::Log::Shared->new_readonly($copy) }, 'new_readonly', qr/recovery/, 'so it is with a copy' );
};

# A reader cannot finish what a killed reset began; it finds nothing, as all do.
subtest 'a half-made reset' => sub {
    my ($log) = fresh(@abc);
    my $reader = read_only();
    patch( $path, 128, "\xff" x 8 );
    is( $reader->entry_count, 0, 'is empty' );
    is( $reader->available,   0, '... and full' );
    croaks( sub { $reader->append('x') }, 'append', qr/read-only/, '... which is no way to write' );
    is( read_only()->entry_count, 0, 'a fresh one finds the same' );
    is( $log->append('new'),      0, 'a writer finishes it' );
    is_deeply( [ replay($reader) ], ['new'], '... for all' );
};

subtest 'what is no log' => sub {
    my %files = (
        'an empty file' => sub { spew( $_[0], '' ) },
        'zeros'         => sub { spew( $_[0], "\0" x 5096 ) },
        'a text'        => sub { spew( $_[0], "text\n" x 2000 ) },
        'a directory'   => sub { mkdir $_[0]          or die $! },
        'a symlink'     => sub { symlink $path, $_[0] or die $! },
        'half-made'     => sub { Data::Log::Shared->new( $_[0], 1000 ); patch( $_[0], 0, "\0" x 8 ) },
    );
    fresh(@abc);
    for my $what ( sort keys %files ) {
        my $file = scratch("no-log-$what");
        $files{$what}->($file);
        my $before = -f $file && slurp($file);
        croaks(
            sub { Data::Log::Shared->new_readonly($file) },
            'new_readonly',
            qr/\Q$file\E: \w/,
            "$what is refused"
        );
        is( -f $file && slurp($file), $before, '... and left as it was' );
    }
    local $! = 0;
    my $missing = scratch('missing');
    ok( !eval { Data::Log::Shared->new_readonly($missing); 1 }, 'what is not there' );
    ok( $!{ENOENT},                                             '... is not there' );
    ok( !-e $missing,                                           '... and is not made' );
    croaks( sub { Data::Log::Shared->new_readonly("$path\0x") },
        'new_readonly', qr/NUL/, 'a path with a NUL byte' );
};

subtest 'who may only read' => sub {
    chmod 0755, scratch() or die $!;
    my ($log) = fresh(@abc);
    chmod 0444, $path or die $!;
    my $got = as_nobody(
        sub {
            open my $in, '<', $path or return 'unreachable';
            my $own = read_only();
            return join ' ', replay($own), eval { $own->append('x') } // $@;
        }
    );
SKIP: {
        skip 'the temporary directory is closed to ordinary users', 1 if $got eq 'unreachable';
        like( $got, qr/^alpha beta gamma Data::Log::Shared->append: .*read-only/, 'reads, and no more' );
    }
};

done_testing;
