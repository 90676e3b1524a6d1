use strict;
use warnings;

use Config ();
use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

my $INF = 9**9**9;

sub log_of {
    my $log     = Data::Log::Shared->new( undef, 100_000 );
    my @offsets = map { $log->append($_) } @_;
    return ( $log, @offsets );
}

# A place that a killed writer left and somebody closed: made in the memory of
# the log, which only this process uses.
sub closed_place {
    my ( $log, $length ) = @_;
    my $offset = $log->append( 'x' x $length );
    open my $memory, '+<&', $log->memfd or die $!;
    sysseek $memory, 4096 + $offset, 0 or die $!;
    syswrite $memory, pack 'L', 1 << 30 | ( $log->tail_offset - $offset ) / 4;
    $log->append('behind');
    $log->read_entry( $offset, 0 );
    return $offset;
}

sub croaks_too {
    my ( $code, $method, $pattern, $name ) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok( !eval { $code->(); 1 }, $name );
    return like(
        $@,
        qr/^Data::Log::Shared::Cursor->$method: .*$pattern.* at \Q${\__FILE__}\E line \d+/s,
        '... is refused'
    );
}

my @abc = qw(alpha beta gamma);

subtest 'one entry after the other, then undef' => sub {
    my ( $log, @offsets ) = log_of(@abc);
    my $cursor = $log->cursor;
    is( $cursor->offset,   undef,             'no entry was returned yet' );
    is( $cursor->position, 0,                 'it begins at the beginning' );
    is( $cursor->lag,      $log->tail_offset, 'all is still to come' );
    for my $n ( 0 .. 2 ) {
        is( $cursor->next,   $abc[$n],     "entry $n" );
        is( $cursor->offset, $offsets[$n], '... has its offset' );
        my $next = $offsets[ $n + 1 ] // $log->tail_offset;
        is( $cursor->position, $next,                     '... and the position behind it' );
        is( $cursor->lag,      $log->tail_offset - $next, '... as far from the tail as it is' );
    }
    for ( 1, 2 ) {
        is_deeply( [ $cursor->next ], [undef], 'undef at the end, also in list context' );
        is( $cursor->offset,   $offsets[2],       '... which is no entry' );
        is( $cursor->position, $log->tail_offset, '... and moves nothing' );
    }
    $log->append('delta');
    is( $cursor->next,   'delta', 'it goes on with what comes later' );
    is( $cursor->missed, 0,       'nothing was missed' );
};

subtest 'any entry as it was' => sub {
    my @entries = ( "caf\xe9", "\x{2603}", "\0", 'x' x 1250, 'y' x 1251, 'z' x 50_000, 0, 'end' );
    my ($log) = log_of(@entries);
    my @next;
    my $cursor = $log->cursor;
    while ( defined( my $data = $cursor->next ) ) { push @next, $data }
    for my $got ( \@next, [ $log->cursor->next_multi(100) ] ) {
        is_deeply( $got,                                        \@entries,         'the same strings' );
        is_deeply( [ map { utf8::is_utf8($_) ? 1 : 0 } @$got ], [ 0, 1, (0) x 6 ], '... with their UTF-8 flags' );
    }
    $cursor->seek(0);
    my @kept = map { \$cursor->next } @entries;
    $$_ .= '!' for @kept;
    is_deeply( [ map { $$_ } @kept ], [ map { "$_!" } @entries ], 'results are independent of each other' );
    is_deeply( [ replay($log) ],      \@entries,                  '... and of the log' );
};

subtest 'a beginning of its own' => sub {
    my ( $log, @offsets ) = log_of(@abc);
    is( $log->cursor( $offsets[1] )->next,          'beta',  'at an offset' );
    is( $log->cursor(undef)->next,                  'alpha', 'at the oldest, with undef' );
    is( $log->cursor( $log->tail_offset )->next,    undef,   'at the tail' );
    is( $log->cursor( 4 * $log->tail_offset )->lag, 0,       'behind the tail, where it has no lag' );
    my $one = $log->cursor;
    my $two = $log->cursor;
    $one->next;
    is( $two->next, 'alpha', 'cursors do not move each other' );
    $log->truncate( $offsets[1] );
    is( $log->cursor->next,     'beta',      'the oldest is the truncation' );
    is( $log->cursor->position, $offsets[1], '... from the first' );
    is( $log->cursor(0)->next,  'beta',      'one before it is moved there' );
    croaks( sub { $log->cursor($_) }, 'cursor', qr/position/, "no position: $_" ) for -1, 0.5, 1e30, $INF;
    croaks( sub { $log->cursor('abc') }, 'cursor', qr/position "abc" is not a number/, 'no number' );
};

subtest 'next_multi' => sub {
    my ( $log, @offsets ) = log_of( 1 .. 10 );
    my $cursor = $log->cursor;
    is_deeply( [ $cursor->next_multi(3) ], [ 1 .. 3 ], 'as many as asked for' );
    is( $cursor->offset, $offsets[2], 'the offset is that of the last' );
    is_deeply( [ $cursor->next_multi(0) ],     [],          'none' );
    is_deeply( [ $cursor->next_multi(2.9) ],   [ 4, 5 ],    'a fraction is cut off' );
    is_deeply( [ $cursor->next_multi(1e300) ], [ 6 .. 10 ], 'no more than there are' );
    is_deeply( [ $cursor->next_multi(5) ],     [],          'nothing at the end' );
    is( $cursor->offset, $offsets[9], '... which moves nothing' );
    $cursor->seek(0);
    is_deeply( [ $cursor->next_multi($INF) ], [ 1 .. 10 ], 'all' );

    # A negative number was taken for a large one.
    croaks_too( sub { $cursor->next_multi($_) }, 'next_multi', qr/negative/, "$_" ) for -1, -0.5, -1e30, -$INF;
    no warnings 'uninitialized';
    croaks_too( sub { $cursor->next_multi($_) }, 'next_multi', qr/not a number/, $_ // 'undef' )
        for 'abc', undef, $INF - $INF;
    my ($many) = log_of( 1 .. 3000 );
    is( scalar( my @all = $many->cursor->next_multi(5000) ), 3000, 'a great many' );
};

subtest 'position and seek' => sub {
    my ( $log, @offsets ) = log_of(@abc);
    my $cursor = $log->cursor;
    $cursor->next;
    my $position = $cursor->position;
    is( $log->cursor($position)->next,      'beta', 'a position begins another cursor' );
    is( ( $log->read_entry($position) )[0], 'beta', '... is an offset to read' );
    $cursor->next_multi(2);
    ok( $cursor->seek($position), 'is one to go back to' );
    is( $cursor->offset,   undef,     '... where none was returned yet' );
    is( $cursor->position, $position, '... which is the position' );
    is( $cursor->next,     'beta',    '... and the next entry' );
    is( $cursor->missed,   0,         'seeking misses nothing' );
    $cursor->seek( 4 * $log->tail_offset );
    is( $cursor->next, undef, 'there is nothing behind the tail' );
    $cursor->seek(2);
    is( $cursor->next, undef, 'nor between entries' );
    croaks_too( sub { $cursor->seek($_) }, 'seek', qr/position/, "no position: $_" ) for -4, 1.5, 1e30, 'abc';
    is( $cursor->position, 2, 'which moves nothing' );
};

subtest 'what is missed' => sub {
    my ( $log, @offsets ) = log_of( map { $_ x 100 } @abc );
    my $cursor = $log->cursor;
    $log->truncate( $offsets[2] );
    is( $cursor->next,   'gamma' x 100, 'what was truncated is passed over' );
    is( $cursor->missed, $offsets[2],   '... and counted in bytes' );
    $log->append('delta');
    $log->truncate( $log->tail_offset );
    is( $cursor->lag,    0,                'nothing is left' );
    is( $cursor->missed, $offsets[2] + 16, '... which is counted as well' );

    my $memfd = Data::Log::Shared->new_memfd( 'x', 10_000 );
    $memfd->append('before');
    my $reader = $memfd->cursor;
    my $closed = closed_place( $memfd, 100 );
    is_deeply( [ $reader->next_multi(9) ], [ 'before', 'behind' ], 'closed places are passed over' );
    is( $reader->missed, 108,           '... and counted' );
    is( $reader->offset, $closed + 108, '... the offset is that of the entry' );
    $reader->seek($closed);
    is( $reader->next, 'behind', 'a closed place is one to begin at' );
};

subtest 'before an entry in flight' => sub {
    my $memfd  = Data::Log::Shared->new_memfd( 'x', 10_000 );
    my $cursor = $memfd->cursor;
    my $offset = $memfd->append('in flight');
    open my $memory, '+<&', $memfd->memfd or die $!;
    sysseek $memory, 4096 + $offset, 0 or die $!;
    sysread $memory, my $committed, 4;
    my $word = sub { sysseek $memory, 4096 + $offset, 0 or die $!; syswrite $memory, $_[0] };
    $word->( pack 'L', 1 << 30 | 5 );
    $memfd->append('behind');
    is( $cursor->next, undef, 'it stops' );
    is_deeply( [ $cursor->next_multi(5) ], [], '... with as many as asked for' );
    $word->($committed);
    is_deeply( [ $cursor->next_multi(5) ], [ 'in flight', 'behind' ], '... until it is complete' );
    $memfd->reset;
    $memfd->append('in flight');
    $word->( pack 'L', 1 << 30 | 5 );
    $memfd->append('behind');
    is( $cursor->next(3600), 'behind', 'or until its writer had its time' );
};

subtest 'next with a time waits' => sub {
    my ($log) = log_of('first');
    my $cursor = $log->cursor;
    is( $cursor->next($_), 'first', 'not where there is something: ' . ( $_ // 'undef' ) ), $cursor->seek(0)
        for 0, 5, undef, -1, $INF;
    $cursor->next;
    is( $cursor->next(0),     undef, 'a poll' );
    is( $cursor->next(0.001), undef, 'a time-out' );
    for my $seconds ( undef, -1, 3600, 1e300, $INF ) {
        my $child = in_child(
            sub {
                wait_until( sub { $log->stats->{waiters} } );
                $log->append('from the child');
            }
        );
        is( $cursor->next($seconds), 'from the child', 'until something comes: ' . ( $seconds // 'undef' ) );
        ok( reap($child), '... from another process' );
    }
    no warnings 'uninitialized';
    croaks_too( sub { $cursor->next($_) }, 'next', qr/timeout .*not a number/, $_ ) for 'abc', $INF - $INF;

    local $SIG{USR1} = sub { $log->append('by the handler') };
    my $parent = $$;
    my $child  = in_child(
        sub {
            wait_until( sub { $log->stats->{waiters} } );
            kill USR1 => $parent;
        }
    );
    is( $cursor->next(-1), 'by the handler', 'signal handlers run while it waits' );
    reap($child);
    local $SIG{USR2} = sub { die "out of here\n" };
    $child = in_child(
        sub {
            wait_until( sub { $log->stats->{waiters} } );
            kill USR2 => $parent;
        }
    );
    ok( !eval { $cursor->next(-1); 1 }, '... and may end it' );
    is( $@, "out of here\n", '... by what they throw' );
    reap($child);
    is( $log->stats->{waiters}, 0, '... nobody is left waiting' );
    local $SIG{HUP} = sub { $cursor->DESTROY };
    $child = in_child(
        sub {
            wait_until( sub { $log->stats->{waiters} } );
            kill HUP => $parent;
        }
    );
    croaks_too( sub { $cursor->next(-1) }, 'next', qr/Data::Log::Shared object/, 'one that destroys the cursor' );
    reap($child);
};

subtest 'a reset sends it to the beginning' => sub {
    my ($log) = log_of(@abc);
    my $cursor = $log->cursor;
    $cursor->next_multi(2);
    $log->reset;
    is( $cursor->lag,      0,     'nothing is to come' );
    is( $cursor->position, 0,     'the position is the beginning' );
    is( $cursor->next,     undef, 'there is nothing' );
    $log->append('new');
    is( $cursor->next, 'new', 'it reads what comes then' );
};

subtest 'it needs no handle' => sub {
    my ($log) = log_of(@abc);
    my $cursor = $log->cursor;
    $log->DESTROY;
    undef $log;
    is( $cursor->next, 'alpha', 'after the end of the one that it came from' );
    my $other = $cursor;
    undef $cursor;
    is( $other->next,                       'beta',  'a second reference' );
    is( from_child( sub { $other->next } ), 'gamma', 'in a child' );
    is( $other->next,                       'gamma', '... which has a position of its own' );
    my $before = open_fds();
    Data::Log::Shared->new_memfd( 'x', 1000 )->cursor for 1 .. 5;
    is( open_fds(), $before, 'nothing of it is left' );
SKIP: {
        skip 'this perl has no threads', 2 if !$Config::Config{useithreads};
        require threads;
        my ($shared) = log_of(@abc);
        my $outer = $shared->cursor;
        $outer->next;
        is( threads->create( sub { $outer->next } )->join, 'beta', 'in a thread' );
        is( $outer->next,                                  'beta', '... which has a position of its own' );
    }
};

subtest 'what is no live cursor' => sub {
    my ($log) = log_of(@abc);
    my $dead = $log->cursor;
    ok( $dead->DESTROY || 1,        'DESTROY' );
    ok( eval { $dead->DESTROY; 1 }, '... twice' );
    my %arguments = ( next_multi => [1], seek => [0], map { $_ => [] } qw(next offset position lag missed) );
    my @wrong;
    for my $junk ( $dead, $log, undef, 'text', bless( {}, 'Data::Log::Shared::Cursor' ),
        'Data::Log::Shared::Cursor' )
    {
        for my $method ( sort keys %arguments ) {
            my $function = Data::Log::Shared::Cursor->can($method);
            push @wrong, "$method lived" if eval { $function->( $junk, @{ $arguments{$method} } ); 1 };
            push @wrong, $@ if $@ !~ /^Data::Log::Shared::Cursor->$method: .*Data::Log::Shared object/;
        }
    }
    is_deeply( \@wrong, [], 'every method croaks' );
    ok( !eval { Data::Log::Shared::append( $log->cursor, 'x' ); 1 }, 'nor is a cursor a log' );
    is( $log->entry_count, 3, '... which is as it was' );
};

done_testing;
