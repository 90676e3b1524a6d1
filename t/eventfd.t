use strict;
use warnings;

use IO::Select ();
use POSIX      ();
use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

sub new_log { return Data::Log::Shared->new( undef, 1000 ) }

sub readable {
    my ( $fd, $seconds ) = @_;
    return IO::Select->new($fd)->can_read( $seconds // 0 ) ? 1 : 0;
}

sub is_open { return -e "/proc/self/fd/$_[0]" ? 1 : 0 }

subtest 'without an eventfd' => sub {
    my $log = new_log();
    is( $log->fileno, -1, 'there is no fd' );
    ok( !$log->notify, 'notifying says so' );
    is( $log->eventfd_consume, undef, 'there is nothing to consume' );
    is_deeply( [ $log->eventfd_consume ], [undef], '... in list context' );
    is( $log->fileno, -1, 'none has come into being' );
};

subtest 'an eventfd of the log' => sub {
    my $log = new_log();
    my $fd  = $log->eventfd;
    cmp_ok( $fd, '>', 2, 'is created' );
    is( $log->eventfd, $fd, 'once' );
    is( $log->fileno,  $fd, 'is what fileno gives' );
    like( readlink "/proc/self/fd/$fd", qr/eventfd/, 'is one' );
    is( readable($fd),         0,     'is not readable at first' );
    is( $log->eventfd_consume, undef, '... there is nothing pending' );
    ok( $log->notify, 'notify' ) for 1 .. 3;
    is( readable($fd),         1,     'makes it readable' );
    is( $log->eventfd_consume, 3,     'all notifications are consumed at once' );
    is( readable($fd),         0,     '... and then there are none' );
    is( $log->eventfd_consume, undef, '... undef' );
    is( $log->entry_count,     0,     'the log itself is not touched' );

    ok( closes_on_exec($fd), 'it is closed on exec' );
    undef $log;
    is( is_open($fd), 0, 'it goes with the log' );
};

subtest 'over fork' => sub {
    my $log = new_log();
    my $fd  = $log->eventfd;
    my $pid = in_child( sub { $log->append('news'); $log->notify or die 'not signalled' } );
    is( readable( $fd, 60 ),   1,      'a child wakes a select of the parent' );
    is( $log->eventfd_consume, 1,      'once' );
    is( ( replay($log) )[0],   'news', 'with its entry' );
    ok( reap($pid), 'the child ends well' );
};

subtest 'an eventfd of the caller' => sub {
    my $owner = new_log();
    my $fd    = POSIX::dup( $owner->eventfd );
    {
        my $log = new_log();
        $log->eventfd_set($fd);
        is( $log->fileno,  $fd, 'is used' );
        is( $log->eventfd, $fd, '... no other is created' );
        ok( $log->notify, 'is notified' );
        is( readable($fd),           1, '... and readable' );
        is( $owner->eventfd_consume, 1, '... by all who hold it' );
        $owner->notify for 1 .. 2;
        is( $log->eventfd_consume, 2, 'notifications of others are consumed' );
    }
    is( is_open($fd), 1, 'is not closed with the log' );
    {
        my $log = new_log();
        $log->eventfd_set($fd);
        $log->DESTROY;
    }
    is( is_open($fd), 1, '... nor with DESTROY' );
    {
        my $log = new_log();
        my $own = $log->eventfd;
        $log->eventfd_set($fd);
        is( $log->fileno, $fd, 'takes the place of one of the log' );
        my $other = POSIX::dup($fd);
        $log->eventfd_set($other);
        is( is_open($fd), 1, 'is not closed when another takes its place' );
        $log->eventfd_set($other);
        is( is_open($other), 1, '... or the same again' );
        POSIX::close($other);
    }
    is( is_open($fd), 1, 'is still open' );
    POSIX::close($fd);
};

subtest 'an eventfd of the log is not taken for one of the caller' => sub {
    my $log = new_log();
    my $fd  = $log->eventfd;
    $log->eventfd_set($fd);
    is( $log->fileno, $fd, 'set to its own' );
    ok( $log->notify, '... it still works' );
    is( $log->eventfd_consume, 1, '... entirely' );
};

subtest 'an fd that was closed meanwhile' => sub {
    my $log = new_log();
    my $fd  = POSIX::dup( new_log()->eventfd );
    $log->eventfd_set($fd);
    POSIX::close($fd);
    my $notified = eval { $log->notify };
    ok( !$notified, 'is not notified' );
    my $count = eval { $log->eventfd_consume };
    is( $count,                undef, 'and has nothing to consume' );
    is( $log->append('works'), 0,     'the log works' );
};

SKIP: {
    my $number = { x86_64 => 290, aarch64 => 19 }->{ ( POSIX::uname() )[4] }
        or skip 'the number of eventfd2 is not known here', 1;
    subtest 'an eventfd of the caller that blocks' => sub {
        my $fd = syscall $number, 0, 0;
        die "eventfd: $!" if $fd < 0;
        my $log = new_log();
        $log->eventfd_set($fd);
        is( $log->eventfd_consume, undef, 'is not waited for' );
        ok( $log->notify, 'is notified' );
        is( $log->eventfd_consume, 1,     '... and consumed' );
        is( $log->eventfd_consume, undef, '... and then empty' );
        undef $log;
        is( is_open($fd), 1, 'stays open' );
        POSIX::close($fd);
    };
}

done_testing;
