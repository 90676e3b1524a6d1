use strict;
use warnings;

use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

sub threads_here { my @tasks = glob "/proc/$$/task/*"; return scalar @tasks }

sub readable {
    my ( $fd, $seconds ) = @_;
    my $bits = '';
    vec( $bits, $fd, 1 ) = 1;
    return scalar select $bits, undef, undef, $seconds;
}

my $path = scratch('log');
my $log  = Data::Log::Shared->new( $path, 100_000 );
$log->append('before');

# One, but for an emulator's.
my $threads = threads_here();

subtest 'writers that attached by path are heard' => sub {
    my $fd = $log->watch;
    is( $fd,                $log->fileno, 'it is the eventfd of the handle' );
    is( $log->watch,        $fd,          'and stays so' );
    is( readable( $fd, 0 ), 0,            'nothing has come yet' );
    for my $n ( 1 .. 3 ) {
        my $child = in_child( sub { Data::Log::Shared->new( $path, 1 )->append("entry $n") } );
        is( readable( $fd, 60 ), 1, "entry $n makes it readable" );
        ok( $log->eventfd_consume, '... with something to consume' );
        is( $log->entry_count, 1 + $n, '... and there to be read' );
        ok( reap($child), '... while its writer goes away' );
    }
};

# It counted, and as many as before were taken for the same.
subtest 'entries are heard after a reset, however many' => sub {
    my $fd = $log->fileno;
    my $n  = $log->entry_count;
    for ( 1 .. 5 ) {
        $log->append('one more');
        is( readable( $fd, 60 ), 1, 'heard' );
        $log->eventfd_consume;
        $log->reset;
        $log->append_multi( ('again') x ++$n );
        is( readable( $fd, 60 ), 1, "... and so are $n after a reset" );
        select undef, undef, undef, 0.01;
        $log->eventfd_consume;
    }
};

subtest 'no other thread takes the signals' => sub {
    my $caught = 0;
    local $SIG{USR1} = sub { $caught++ };
    my $child = in_child( sub { kill USR1 => getppid } );
    ok( reap($child), 'sent' );
    wait_until( sub { $caught } );
    is( $caught, 1, 'and handled here' );
};

subtest 'a child watches for itself' => sub {
    my $heard = from_child(
        sub {
            my $before = threads_here();
            my $fd     = $log->watch;
            $log->append('by the child');
            return readable( $fd, 60 ) . ' ' . ( threads_here() - $before );
        }
    );
    is( $heard, '1 1', 'it hears of its entry, by a thread of its own' );
    is( readable( $log->fileno, 60 ), 1, 'so does the parent, by an eventfd of its own' );
    is( $log->eventfd_consume > 0, 1, '... that the child has not emptied' );
};

subtest 'a child signals none but itself' => sub {
    $log->unwatch;
    $log->eventfd_consume;
    my $heard = from_child( sub { $log->watch; $log->notify; readable( $log->fileno, 60 ) } );
    is( $heard,                     1, 'it hears what it notifies itself of' );
    is( readable( $log->fileno, 0 ), 0, '... and the parent does not' );
    $log->watch;
};

subtest 'the thread ends' => sub {
    ok( $log->unwatch, 'by unwatch' );
    is( threads_here(), $threads, '... at once' );
    ok( $log->unwatch, 'which may be said twice' );
    $log->append('unheard');
    is( readable( $log->fileno, 0.1 ), 0, '... and then signals no more' );
    my $other = Data::Log::Shared->new( $path, 1 );
    $other->watch;
    is( threads_here(), $threads + 1, 'another one is begun' );
    undef $other;
    is( threads_here(), $threads, '... and ends with its handle' );
};

# Where a process could not open the file again, its threads did not exclude one another: one that woke
# up during the reset finished it, once more, over what was appended next.
subtest 'it leaves a reset of its process alone' => sub {
    my $lost = as_nobody(
        sub {
            my $folder = File::Temp::tempdir( TMPDIR => 1, CLEANUP => 1 );
            my @logs   = map { Data::Log::Shared->new( "$folder/log", 64 << 20 ) } 1 .. 8;
            chmod 0, "$folder/log" or die $!;
            $_->watch for @logs;
            my $large = 'x' x ( 60 << 20 );
            my $lost  = 0;
            for ( 1 .. 10 ) {
                $logs[0]->append($large) // die 'full';
                $logs[0]->reset;
                $logs[0]->append("entry $_") for 1 .. 5;
                select undef, undef, undef, 0.02;
                $lost++ if $logs[0]->entry_count != 5;
                $logs[0]->reset;
            }
            undef @logs;
            unlink "$folder/log";
            rmdir $folder;
            return $lost;
        }
    );
    is( $lost, 0, 'and what is appended behind it' );
};

done_testing;
