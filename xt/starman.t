use strict;
use warnings;

# An access log that four workers write to, one of them killed half-way. The
# clients know of each request whether it was answered; ab adds load.

use Data::Log::Shared;
use File::Spec;
use FindBin qw($Bin);
use IO::Socket::INET;
use POSIX qw(WNOHANG);
use Test::More;
use lib "$Bin/../t/lib";
use LogTest;

my %program;
for my $name (qw(starman ab)) {
    ( $program{$name} ) = grep { -x } map { "$_/$name" } split /:/, $ENV{PATH};
    $program{$name} or plan skip_all => "$name is not installed";
}

my ( $workers, $clients, $requests ) = ( 4, 4, 20_000 );
my ( $load, $load_at_once ) = ( 10_000, 2 );
my $each = $requests / $clients;
my $root = File::Spec->rel2abs("$Bin/..");
my @perl = ( $^X, map { '-I' . File::Spec->rel2abs($_) } grep { !ref } @INC );
$SIG{PIPE} = 'IGNORE';

# Whatever happens, no server is left behind: the end of this program has to be
# an ordinary one.
my ( $owner, %started ) = $$;
END { kill TERM => keys %started if $owner && $owner == $$ }
$SIG{ALRM} = sub { die "stuck, given up\n" };

sub start {
    my ( $name, @command ) = @_;
    my $pid = in_child(
        sub {
            open STDOUT, '>', scratch("$name.out") or die $!;
            open STDERR, '>', scratch("$name.err") or die $!;
            exec @command or die "exec: $!";
        }
    );
    $started{$pid} = 1;
    return $pid;
}

sub stop {
    my ($pid) = @_;
    kill TERM => $pid;
    waitpid $pid, 0;
    delete $started{$pid};
    return $?;
}

sub free_port {
    my $socket = IO::Socket::INET->new( Listen => 1, LocalAddr => '127.0.0.1' ) or die "listen: $@";
    return $socket->sockport;
}

sub connected {
    my ($port) = @_;
    return IO::Socket::INET->new( PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 60 );
}

sub start_server {
    my ( $name, $port, @options ) = @_;
    my @server = ( @perl, $program{starman}, '--listen', "127.0.0.1:$port", '--max-requests', 1_000_000 );
    my $pid    = start( $name, @server, @options, "$root/eg/access_log.psgi" );
    my $gone;
    wait_until( sub { $gone = waitpid( $pid, WNOHANG ) or connected($port) } );
    die "the server does not start:\n", slurp( scratch("$name.err") ) if $gone;
    return $pid;
}

# The worker that answered and how many it had answered before; nothing when
# the connection broke instead.
sub ask {
    my ( $socket, $target ) = @_;
    defined syswrite $socket, "GET $target HTTP/1.1\r\nHost: localhost\r\n\r\n" or return;
    my $answer = '';
    until ( $answer =~ /\r\n\r\n.*\n/ ) {
        sysread( $socket, $answer, 4096, length $answer ) or return;
    }
    my ( $worker, $before, $not_logged ) = $answer =~ m{
        \A HTTP/1[.]1 [ ] 200 [ ] .* \r\n\r\n
        worker [ ] ([0-9]+) [ ] answered [ ] ([0-9]+) [ ] requests [ ] before, [ ] ([0-9]+) [ ] of [ ] them [ ] not [ ] logged \n \z
    }xs or die "an unexpected answer: $answer";
    return ( $worker, $before, $not_logged );
}

# Asks until it has its number of answers and notes each of them. A request
# that was cut off is in doubt, and is not sent again under the same id.
sub client {
    my ( $name, $port, $progress ) = @_;
    open my $notes, '>', scratch($name) or die $!;
    my ( $socket, $on_this, $answered, $id ) = ( undef, 0, 0, 0 );
    while ( $answered < $each ) {
        if ( !$socket || $on_this == 250 ) {
            $socket  = connected($port) or next;
            $on_this = 0;
        }
        $id++;
        my ( $worker, $before ) = ask( $socket, "/page/$id?id=$name-$id" );
        if ( !defined $worker ) {
            print $notes "$name-$id in doubt\n";
            undef $socket;
            next;
        }
        print $notes "$name-$id $worker ", $before + 1, "\n";
        syswrite $progress, pack 'L', $worker;
        $answered++;
        $on_this++;
    }
    close $notes or die $!;
    return;
}

sub children {
    my ($parent) = @_;
    my @children;
    for my $stat ( glob '/proc/[0-9]*/stat' ) {
        my ( $pid, $ppid ) = ( eval { slurp($stat) } // '' ) =~ /^([0-9]+) \(.*\) \S ([0-9]+)/s or next;
        push @children, $pid if $ppid == $parent;
    }
    return @children;
}

subtest 'no answered request is missing from the log, also when a worker is killed' => sub {
    my $path   = $ENV{ACCESS_LOG} = scratch('access.log');
    my $port   = free_port();
    my $server = start_server( 'server', $port, '--workers', $workers, '--preload-app' );
    wait_until( sub { children($server) >= $workers } );
    my $tailer = start( 'tailer', @perl, "$root/eg/access_log.pl", $path );
    my $log    = Data::Log::Shared->new( $path, 1 );

    my $ab = start( 'ab', $program{ab}, qw(-q -r -l -k),
        '-c', $load_at_once, '-n', $load, "http://127.0.0.1:$port/load?id=ab" );
    pipe my $answers, my $progress or die "pipe: $!";
    my @clients = map {
        my $name = "client$_";
        in_child( sub { close $answers; client( $name, $port, $progress ) } );
    } 1 .. $clients;
    close $progress;
    @started{@clients} = ();

    my ( $answered, $victim, %old ) = (0);
    while ( sysread $answers, my $buffer, 4096 ) {
        my @by = unpack 'L*', $buffer;
        $answered += @by;
        next if $victim || $answered < $requests / 2;
        %old    = map { $_ => 1 } children($server);
        $victim = $by[-1];
        kill KILL => $victim;
    }
    ok( reap(@clients), 'every client had all its answers' );
    delete @started{@clients};
    is( $answered, $requests, "$requests requests were answered" );
    waitpid $ab, 0;
    delete $started{$ab};
    is( $?, 0, 'ab came to its end' );
    ok( $old{$victim}, 'what was killed at half of that was a worker' );

    # As many connections as workers, all open at once: each worker gets one.
    my @sockets = map { connected($port) } 1 .. $workers;
    my ( %serving, @notes );
    for my $n ( 1 .. $workers ) {
        my ( $worker, $before ) = ask( $sockets[ $n - 1 ], "/page/$n?id=late-$n" );
        $serving{$worker} = 1;
        push @notes, "late-$n $worker " . ( $before + 1 );
    }
    is_deeply( \%serving, { map { $_ => 1 } children($server) }, 'all workers answer afterwards' );
    is( ( grep { !$old{$_} } keys %serving ), 1, 'and one of them is new' );
    close $_ for @sockets;
    is( stop($server), 0, 'the server ended in order' );
    is( stop($tailer), 0, 'the tailer ended in order' );

    # The server is gone: nothing is still on its way.
    my ( @lines, @damaged, %line, %last, @disorder );
    $log->each_entry( sub { push @lines, $_[0] }, 0, 0 );
    for my $line (@lines) {
        my ( $target, $worker, $sequence, $id ) =
          $line =~ m{\AGET (/\S*) 200 ([0-9]+) ([0-9]+) (ab|(?:client\d|late)-\d+)\z};
        if ( !defined $id || $target ne ( $id =~ /-(\d+)/ ? "/page/$1" : '/load' ) ) {
            push @damaged, $line;
            next;
        }
        push @disorder,       $line if $sequence != ++$last{$worker};
        push @{ $line{$id} }, "$worker $sequence";
    }
    is_deeply( \@damaged,  [], 'every line is whole' );
    is_deeply( \@disorder, [], q{each worker's lines are numbered 1, 2, 3 and so on} );
    is( $log->entry_count, @lines, 'entry_count is the number of lines' );
    ok( slurp( scratch('tailer.out') ) eq join( '', map { "$_\n" } @lines ),
        'the tailer printed the very same lines' );

    push @notes, map { split /\n/, slurp( scratch("client$_") ) } 1 .. $clients;
    my ( @wrong, @doubtful );
    for my $note (@notes) {
        my ( $id, $expected ) = split / /, $note, 2;
        my @found = @{ delete $line{$id} // [] };
        if    ( $expected eq 'in doubt' ) { push @doubtful, $id if @found > 1 }
        elsif ( "@found" ne $expected )   { push @wrong,    "$note: (@found)" }
    }
    is_deeply( \@wrong,    [], 'every answered request has exactly its line' );
    is_deeply( \@doubtful, [], 'no request that was cut off has two' );
    my $by_ab = @{ delete $line{ab} // [] };
    is_deeply( [ keys %line ], [], 'there is no line of a request that nobody sent' );

    my %count = slurp( scratch('ab.out') ) =~ /^(Complete|Failed) requests:\s+([0-9]+)/mg;
    is( $count{Complete}, $load, "ab sent $load requests" );
    cmp_ok( $by_ab, '>=', $load - $count{Failed}, 'each request that ab saw answered has a line' );
    cmp_ok( $by_ab, '<=', $load + $load_at_once,  'and at most those cut off have one more' );

    unlike( slurp( scratch('server.err') ), qr/drops lines/, 'no line was dropped' );
};

subtest 'when the log is full requests are answered, and one warning tells of it' => sub {
    local @ENV{qw(ACCESS_LOG ACCESS_LOG_SIZE)} = ( scratch('full.log'), 100 );
    my $port   = free_port();
    my $server = start_server( 'full', $port, '--workers', 1 );
    my $socket = connected($port);
    my ( $answered, $not_logged ) = ( 0, 0 );
    for my $n ( 1 .. 20 ) {
        ( my $worker, my $before, $not_logged ) = ask( $socket, "/?id=$n" ) or last;
        $answered++;
    }
    close $socket;
    stop($server);
    is( $answered, 20, 'every request was answered' );
    my $log = Data::Log::Shared->new( $ENV{ACCESS_LOG}, 1 );
    cmp_ok( $log->entry_count, '>', 0, 'what fitted is in the log' );
    is( $log->entry_count + $not_logged + 1, 20, 'and what did not was counted' );
    my @warnings = slurp( scratch('full.err') ) =~ /drops lines of the access log: (.*)/g;
    is_deeply( \@warnings, ['it is full'], 'one warning' );
};

done_testing;
