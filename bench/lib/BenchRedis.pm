package BenchRedis;

# As much of a client of Redis as the comparison needs, and a server of its own on a Unix socket.

use strict;
use warnings;

use IO::Socket::UNIX;
use POSIX       ();
use Socket      qw(SOCK_STREAM);
use Time::HiRes qw(sleep);

sub start_server {
    my ( $class, $directory ) = @_;
    my $path = "$directory/redis.sock";
    my $pid  = fork // die "fork: $!\n";
    if ( !$pid ) {
        open STDOUT, '>', '/dev/null';
        exec 'redis-server', '--port', 0, '--unixsocket', $path, '--dir', $directory, '--save', '', '--appendonly', 'no'
          or POSIX::_exit(1);
    }
    for ( 1 .. 100 ) {
        sleep 0.05;
        return ( $pid, $path ) if eval { $class->connect($path) };
    }
    die "redis-server does not answer\n";
}

sub connect {
    my ( $class, $path ) = @_;
    my $socket = IO::Socket::UNIX->new( Type => SOCK_STREAM, Peer => $path ) or die "$path: $@\n";
    return bless { socket => $socket }, $class;
}

# Sends commands, each an array reference, in one go; their replies.
sub commands {
    my ( $self, @commands ) = @_;
    my $request = join '', map {
        ( '*' . @$_ . "\r\n", map { '$' . length($_) . "\r\n$_\r\n" } @$_ )
    } @commands;
    while ( length $request ) {
        my $sent = syswrite $self->{socket}, $request;
        defined $sent or die "redis: $!\n";
        substr $request, 0, $sent, '';
    }
    return map { $self->_reply } @commands;
}

sub _reply {
    my ($self) = @_;
    my $line = readline $self->{socket} // die "redis: the server is gone\n";
    my ( $kind, $value ) = $line =~ /\A(.)(.*)\r\n\z/s or die "redis: odd reply\n";
    return $value                                if $kind eq '+' || $kind eq ':';
    die "redis: $value\n"                        if $kind eq '-';
    return undef                                 if $value < 0;
    return [ map { $self->_reply } 1 .. $value ] if $kind eq '*';
    read( $self->{socket}, my $bytes, $value + 2 ) == $value + 2 or die "redis: the server is gone\n";
    return substr $bytes, 0, $value;
}

1;
