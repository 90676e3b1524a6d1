use strict;
use warnings;

use POSIX qw(_exit setsid);
use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

# What the other side of a pipe says in one line, or nothing at its end.
sub told { my $line = readline $_[0]; chomp $line if defined $line; return $line }

sub say_to {
    my ( $pipe, $what ) = @_;
    syswrite $pipe, "$what\n";
    return;
}

# A child that does one thing after the other, each when it is told to.
sub talking_child {
    my (@steps) = @_;
    pipe my $from_parent, my $to_child  or die "pipe: $!";
    pipe my $from_child,  my $to_parent or die "pipe: $!";
    my $pid = in_child(
        sub {
            close $_ for $to_child, $from_child;
            for my $step (@steps) {
                told($from_parent);
                say_to( $to_parent, $step->() );
            }
        }
    );
    close $_ for $from_parent, $to_parent;
    return ( $pid, sub { say_to( $to_child, 'go' ); told($from_child) } );
}

sub logs     { return ( anonymous => Data::Log::Shared->new( undef, 10_000 ), file => new_file(shift) ) }
sub new_file { return Data::Log::Shared->new( scratch(shift), 10_000 ) }

subtest 'what a handle knew before the fork it looks at again' => sub {
    my %log = logs('known');
    for my $kind ( sort keys %log ) {
        my $log = $log{$kind};
        $log->append('oldest');
        $log->reset;
        $log->append("old $_") for 1 .. 5;
        is( $log->entry_count, 5, "$kind: counted before the fork" );
        my $cursor = $log->cursor;
        $cursor->next;
        my ( $pid, $go_on ) = talking_child(
            sub { $log->reset; $log->append('new'); $log->entry_count },
            sub { $cursor->next // 'nothing' },
            sub { join ' ', $log->entry_count, $log->truncation > 0 ? 'truncated' : 'whole', replay($log) },
            sub { $log->verify->{damaged} },
        );
        is( $go_on->(),        1,     'a child empties the log' );
        is( $log->entry_count, 1,     '... and the parent counts anew' );
        is( $cursor->next,     'new', '... and its cursor goes back to the beginning' );
        is( $go_on->(),        'new', '... as does the one in the child' );
        $log->append('late');
        $log->truncate( $cursor->position );
        is( $go_on->(),              '2 truncated late', 'the parent truncates, and the child sees it' );
        is( $go_on->(),              0,                  'both take checksums from the same generation' );
        is( $log->verify->{damaged}, 0,                  '... in the parent, too' );
        ok( reap($pid), 'the child ends well' );
    }
    is( new_file('known')->verify->{damaged}, 0, 'and it is that of the log' );
};

subtest 'a position that the parent has reached is no position of the child' => sub {
    my $log = Data::Log::Shared->new( undef, 10_000 );
    $log->append('one');
    my $cursor = $log->cursor;
    my ( $pid, $go_on ) = talking_child( sub { $cursor->next }, sub { $cursor->next } );
    is( $cursor->next, 'one', 'a cursor goes on in the parent' );
    is( $go_on->(),    'one', '... and from where it was in the child' );
    $log->append('two');
    is( $cursor->next, 'two', 'so does' );
    is( $go_on->(),    'two', '... each' );
    reap($pid);
};

subtest 'both sides of a fork empty the log at the same time' => sub {
    my %log = logs('emptied');
    for my $kind ( sort keys %log ) {
        my $log  = $log{$kind};
        my @pids = map {
            in_child( sub { $log->reset for 1 .. 50 } )
        } 1 .. 3;
        $log->reset for 1 .. 50;
        ok( reap(@pids), "$kind: nobody waits for himself" );
        is( $log->stats->{generation}, 200, '... one after the other' );
        is( $log->append('afterwards'), 0, '... and the log is empty' );
    }
};

my %end = (
    'returns'                 => sub {1},
    'calls exit'              => sub { exit 0 },
    'calls POSIX::_exit'      => sub { _exit(0) },
    'dies'                    => sub { close STDERR; die "on purpose\n" },
    'becomes another program' => sub { exec $^X, '-e', '1' },
    'is terminated'           => sub { kill TERM => $$; sleep 60 },
    'is killed'               => sub { kill KILL => $$; sleep 60 },
    'destroys its handles'    => sub { $_->DESTROY for @_; _exit(0) },
    'exits in a callback'     => sub {
        my ($log) = @_;
        $log->each_entry( sub { exit 0 } );
    },
);

subtest 'however a child ends, it frees nothing of the parent' => sub {
    my $path   = scratch('ends');
    my $file   = Data::Log::Shared->new( $path, 10_000 );
    my $memfd  = Data::Log::Shared->new_memfd( 'ends', 10_000 );
    my @logs   = ( $file, $memfd, Data::Log::Shared->new( undef, 10_000 ) );
    my $fd     = $file->eventfd;
    my $cursor = $file->cursor;
    my $watch  = $memfd->watch;
    my $open   = open_fds();
    my $n      = 0;

    for my $how ( sort keys %end ) {
        my $pid = fork // die "fork: $!";
        if ( !$pid ) {
            LogTest::watchdog();
            $_->append("the child $how") // _exit(9) for @logs;
            $file->notify;
            $end{$how}->(@logs);

            # As a program's end, with all that is then destroyed.
            exit 0;
        }
        waitpid $pid, 0;
        $n++;
        is_deeply( [ map { ( replay($_) )[-1] } @logs ], [ ("the child $how") x 3 ], "a child that $how" )
            or diag "status $?";
        is( $file->eventfd_consume, 1, '... has signalled' );
        $_->append('the parent') for @logs;
        is( $_->entry_count, 2 * $n, '... and the parent goes on' ) for @logs;
        is( $cursor->next, "the child $how", '... with its cursor' );
        $cursor->next;
        is( open_fds(), $open, '... its descriptors' );
    }
    is( $memfd->watch, $watch, 'it still watches' );
    $memfd->unwatch;

    # As after a reboot: recovery is due unless somebody has the log open.
    patch( $path, 512, 'x' x 16 );
    my $read = sub {
        from_child( sub { Data::Log::Shared->new_readonly($path)->entry_count } );
    };
    is( $read->(), 2 * $n, 'the lock that tells of its handle is still held' );
    undef $_ for $cursor, $file, @logs;
    like( $read->(), qr/recover/, '... until the handle goes' );
};

subtest 'a daemon' => sub {
    my $folder = scratch('daemon');
    mkdir $folder       or die $!;
    mkdir "$folder/run" or die $!;
    pipe my $reader, my $writer or die "pipe: $!";
    my $memfd = Data::Log::Shared->new_memfd( 'daemon', 10_000 );
    is( from_child(
            sub {
                chdir "$folder/run" or die $!;
                my $log = Data::Log::Shared->new( '../relative.log', 10_000 );
                $log->append('before');
                my $pid = fork // die $!;
                return waitpid( $pid, 0 ) && $? if $pid;
                setsid();
                $pid = fork // die $!;
                _exit(0) if $pid;
                chdir '/';
                close $reader;
                POSIX::close($_) for 0 .. 2;
                my $lived = eval {
                    my $own = Data::Log::Shared->new( "$folder/own.log", 10_000 );
                    for my $each ( $log, $own, $memfd ) {
                        $each->append("from the daemon") // die 'full';
                        $each->sync;
                    }
                    my @low = grep { -e "/proc/self/fd/$_" } 0 .. 2;
                    die "descriptor @low is a log's" if @low;
                    $log->unlink;
                    1;
                };
                say_to( $writer, $lived ? 'done' : $@ );
                _exit(0);
            }
        ),
        0,
        'leaves'
    );
    close $writer;
    is( told($reader), 'done', '... goes on with the logs, and makes more' );
    is( told($reader), undef,  '... and ends' );
    ok( !-e "$folder/relative.log", 'it found the file by its relative name' );
    is_deeply( [ replay( Data::Log::Shared->new( "$folder/own.log", 1 ) ) ], ['from the daemon'], 'its own log' );
    is_deeply( [ replay($memfd) ],                                           ['from the daemon'], 'a log from before' );
};

subtest 'a child made at any time has all that was there' => sub {
    my $log = Data::Log::Shared->new( undef, 100_000 );
    my @pids;
    for my $n ( 1 .. 10 ) {
        $log->append("parent $n");
        push @pids, in_child(
            sub {
                ( grep { $_ eq "parent $n" } replay($log) ) == 1 or die 'not all is there';
                $log->append("child $n: $_") // die 'full' for 1 .. 5;
            }
        );
    }
    ok( reap(@pids), 'ten children' );
    my @all = replay($log);
    is_deeply( [ grep {/^parent/} @all ], [ map {"parent $_"} 1 .. 10 ], 'the entries of the parent' );
    for my $n ( 1 .. 10 ) {
        is_deeply( [ grep {/^child $n:/} @all ], [ map {"child $n: $_"} 1 .. 5 ], "those of child $n" );
    }
};

subtest 'a hundred logs in one process' => sub {
    my $before = open_fds();
    my @make   = (
        sub { Data::Log::Shared->new( undef, 1000 ) },
        sub { Data::Log::Shared->new_memfd( "log $_[0]", 1000 ) },
        sub { Data::Log::Shared->new( scratch("log-$_[0]"), 1000 ) },
    );
    my @logs = map { $make[ $_ % 3 ]->($_) } 0 .. 99;
    $logs[$_]->append("log $_") for 0 .. 99;
    is( from_child(
            sub {
                $logs[$_]->append("child of $_") for 0 .. 99;
                @logs = ();
                'done';
            }
        ),
        'done',
        'a child uses them all and drops them'
    );
    my @wrong = grep { join( '|', replay( $logs[$_] ) ) ne "log $_|child of $_" } 0 .. 99;
    is_deeply( \@wrong, [], 'each has its own' );
    undef $logs[$_] for grep { $_ % 7 } 0 .. 99;
    @wrong = grep { !defined $logs[$_]->append('last') } grep { $_ % 7 == 0 } 0 .. 99;
    is_deeply( \@wrong, [], 'those that are left work when the others are gone' );
    @logs = ();
    is( open_fds(), $before, 'nothing is left open' );
};

done_testing;
