use strict;
use warnings;

use POSIX ();
use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

use constant {
    F_ADD_SEALS   => 1033,
    F_GET_SEALS   => 1034,
    F_SEAL_SEAL   => 1,
    F_SEAL_SHRINK => 2,
    F_SEAL_GROW   => 4,
    F_SEAL_WRITE  => 8,
    ALLOW_SEALING => 2,
};

sub perl_handle {
    my ($fd) = @_;
    open my $handle, '+<&', $fd or die "dup of $fd: $!";
    binmode $handle;
    return $handle;
}

subtest 'a memfd log' => sub {
    for my $name ( 'my_log', undef ) {
        my $log = Data::Log::Shared->new_memfd( $name, 1000 );
        my $fd  = $log->memfd;
        cmp_ok( $fd, '>', 2, 'has an fd' );
        is( $log->path,  undef, '... and no path' );
        is( $log->memfd, $fd,   '... always the same' );
        like( readlink "/proc/self/fd/$fd", $name ? qr/memfd:$name\b/ : qr/memfd:/, '... of its name' );
        is( $log->data_size,              1000,        'the size asked for' );
        is( $log->append('first'),        0,           'works' );
        is( ( stat perl_handle($fd) )[7], 4096 + 1000, 'as long as a header page and the data' );
    }
    croaks( sub { Data::Log::Shared->new_memfd( "a\0b", 1000 ) }, 'new_memfd', qr/NUL/, 'a name with a NUL byte' );
};

subtest 'sealed and closed on exec' => sub {
    my $log    = Data::Log::Shared->new_memfd( 'sealed', 1000 );
    my $handle = perl_handle( $log->memfd );
    my $seals  = fcntl $handle, F_GET_SEALS, 0;
    is( $seals & 7, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW, 'against shrinking, growing and further seals' );
    $log->append('kept');
    for my $length ( 0, 100, 4096, 1_000_000 ) {
        ok( !truncate( $handle, $length ), "it cannot be made $length bytes long" );
        ok( $!{EPERM},                     '... not permitted' );
    }
    ok( !fcntl( $handle, F_ADD_SEALS, F_SEAL_WRITE ), 'nor sealed further' );
    is_deeply( [ replay($log) ], ['kept'], 'its entry is there' );

    ok( closes_on_exec( $log->memfd ), 'its fd is closed on exec' );
};

subtest 'attaching by fd' => sub {
    my $log = Data::Log::Shared->new_memfd( 'shared', 1000 );
    $log->append('one');
    my $second = Data::Log::Shared->new_from_fd( $log->memfd );
    is_deeply( [ replay($second) ], ['one'], 'sees what is there' );
    is( $second->data_size, 1000,  '... in its size' );
    is( $second->path,      undef, '... has no path' );
    ok( $second->memfd > 2 && $second->memfd != $log->memfd, '... but an fd of its own' );
    $second->append('two');
    is_deeply( [ replay($log) ], [ 'one', 'two' ], 'both write to one log' );

    is(
        from_child(
            sub {
                my $own = Data::Log::Shared->new_from_fd( $log->memfd );
                $own->append('three');
                join ' ', replay($own);
            }
        ),
        'one two three',
        'over fork'
    );

    my $fd = $log->memfd;
    undef $log;
    ok( !-e "/proc/self/fd/$fd", 'the first handle goes with its fd' );
    $second->append('four');
    is_deeply( [ replay($second) ], [qw(one two three four)], 'the second remains' );
};

subtest 'the fd of the caller stays with the caller' => sub {
    my $log    = Data::Log::Shared->new_memfd( 'duplicated', 1000 );
    my $handle = perl_handle( $log->memfd );
    my $number = fileno $handle;
    my $second = Data::Log::Shared->new_from_fd($number);
    undef $second;
    ok( -e "/proc/self/fd/$number", 'it outlives a handle made of it' );
    $second = Data::Log::Shared->new_from_fd($number);
    close $handle or die $!;
    $second->append('after the close');
    is_deeply( [ replay($log) ], ['after the close'], 'a handle outlives it' );
};

subtest 'an fd handed to another program' => sub {
    my $log = Data::Log::Shared->new_memfd( 'handed', 1000 );
    my $fd  = POSIX::dup( $log->memfd );
    my ( $status, $out, $err ) = perl_with_log( <<'PERL', $fd );
        my $log = Data::Log::Shared->new_from_fd( $ARGV[0] );
        $log->append('greetings');
        print $log->entry_count;
PERL
    POSIX::close($fd);
    is( "$status:$out:$err", '0:1:', 'is a log there' );
    is_deeply( [ replay($log) ], ['greetings'], '... the same' );
};

subtest 'an fd of a file' => sub {
    my $path = scratch('file');
    my $log  = Data::Log::Shared->new( $path, 1000 );
    $log->append('in the file');
    open my $handle, '+<', $path or die $!;
    my $second = Data::Log::Shared->new_from_fd( fileno $handle );
    is_deeply( [ replay($second) ], ['in the file'], 'of a log is attached' );
    is( $second->path, undef, '... without a path' );
    $second->append('by fd');
    is( $log->entry_count, 2, '... and writes to the file' );
    croaks( sub { $second->unlink }, 'unlink', qr//, 'it has no name to remove' );
    ok( -e $path, '... so the file stays' );

    open my $reader, '<', $path or die $!;
    my $before = slurp($path);
    croaks( sub { Data::Log::Shared->new_from_fd( fileno $reader ) },
        'new_from_fd', qr/read-only/, 'a read-only fd is refused' );
    is( slurp($path), $before, '... and the log left alone' );
};

subtest 'fds of other things' => sub {
    my %fd;
    open $fd{'a text'},        '+<', spew( scratch('text'),  "text\n" x 2000 ) or die $!;
    open $fd{'a short text'},  '+<', spew( scratch('short'), "text\n" )        or die $!;
    open $fd{'zeros'},         '+<', spew( scratch('zeros'), "\0" x 5096 )     or die $!;
    open $fd{'an empty file'}, '+<', spew( scratch('empty'), '' )              or die $!;
    open $fd{'a device'},      '+<', '/dev/null' or die $!;
    pipe $fd{'the reading end of a pipe'}, $fd{'the writing end of a pipe'} or die $!;
    socketpair $fd{'a socket'}, my $peer, 1, 1, 0 or die $!;

    for my $what ( sort keys %fd ) {
        croaks( sub { Data::Log::Shared->new_from_fd( fileno $fd{$what} ) },
            'new_from_fd', qr/\w/, "$what is refused" );
    }
    my %content = ( text => "text\n" x 2000, short => "text\n", zeros => "\0" x 5096, empty => '' );
    is( slurp( scratch($_) ), $content{$_}, "the file $_ is left as it was" ) for sort keys %content;
    opendir my $dir, scratch() or die $!;
    croaks( sub { Data::Log::Shared->new_from_fd( fileno $dir ) },
        'new_from_fd', qr/\w/, 'a directory is refused' );
};

SKIP: {
    my $number = { x86_64 => 319, aarch64 => 279 }->{ ( POSIX::uname() )[4] }
        or skip 'the number of memfd_create is not known here', 1;
    subtest 'a memfd made by hand' => sub {
        my $model = Data::Log::Shared->new_memfd( 'model', 1000 );
        $model->append("entry $_") for 1 .. 3;
        my $bytes = slurp( '/proc/self/fd/' . $model->memfd );
        for my $case (
            [ 0,                            'without a seal' ],
            [ F_SEAL_GROW,                  'with another seal' ],
            [ F_SEAL_SHRINK,                'sealed against shrinking' ],
            [ F_SEAL_SHRINK | F_SEAL_WRITE, 'sealed against writing' ]
        ) {
            my ( $seals, $what ) = @$case;
            my $name = 'by hand';
            my $fd   = syscall $number, $name, ALLOW_SEALING;
            die "memfd_create: $!" if $fd < 0;
            open my $handle, '+<&=', $fd or die $!;
            syswrite $handle, $bytes;
            fcntl $handle, F_ADD_SEALS, $seals or die "seals: $!" if $seals;
            if ( $seals == F_SEAL_SHRINK ) {
                my $log = Data::Log::Shared->new_from_fd($fd);
                is_deeply( [ replay($log) ], [ map { "entry $_" } 1 .. 3 ], "$what: attached" );
            }
            else {
                my $reason = $seals & F_SEAL_WRITE ? qr/\w/ : qr/seal/;
                croaks( sub { Data::Log::Shared->new_from_fd($fd) }, 'new_from_fd', $reason, "$what: refused" );
                is( slurp("/proc/self/fd/$fd"), $bytes, '... and left as it was' );
            }
        }
    };
}

# The CRC-32C of the header.
sub sum_of {
    my ($bytes) = @_;
    my $sum = 0xffff_ffff;
    for my $byte ( unpack 'C*', $bytes ) {
        $sum ^= $byte;
        $sum = $sum & 1 ? ( $sum >> 1 ) ^ 0x82f6_3b78 : $sum >> 1 for 1 .. 8;
    }
    return $sum ^ 0xffff_ffff;
}

# Space was reserved for one that says that it has all its space, though it costs its maker nothing to
# say so.
subtest 'one of another process takes no more memory than it has' => sub {
    my $log    = Data::Log::Shared->new_memfd( 'sparse', 64 << 20 );
    my $handle = perl_handle( $log->memfd );
    sysseek $handle, 0, 0 or die "seek: $!";
    sysread $handle, my $head, 128;
    is( unpack( 'L', substr $head, 124 ), sum_of( substr $head, 8, 116 ), 'the header has a checksum' );
    substr $head, 48,  8, pack 'Q', 0;
    substr $head, 124, 4, pack 'L', sum_of( substr $head, 8, 116 );
    sysseek $handle, 0, 0 or die "seek: $!";
    syswrite $handle, $head;
    my $attached = Data::Log::Shared->new_from_fd( $log->memfd );
    is( $attached->stats->{sparse}, 0, 'it says that it is not sparse' );
    cmp_ok( ( stat $handle )[12] * 512, '<', 1 << 20, '... and stays as small as it is' );
    $attached->append('works');
    is( $log->entry_count, 1, '... and works' );
};

done_testing;
