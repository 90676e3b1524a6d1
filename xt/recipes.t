use strict;
use warnings;

use FindBin qw($Bin);
use Test::More;
use lib "$Bin/../t/lib";
use LogTest;
use ToolTest;

use Data::Log::Shared;

sub has { return !system "command -v $_[0] >/dev/null 2>&1" }

# The tool by its name, as in the recipes.
my $folder = scratch('bin');
mkdir $folder or die $!;
spew( "$folder/log-shared", "#!/bin/sh\nexec " . join( ' ', map { "'$_'" } tool_command() ) . ' "$@"' . "\n" );
chmod 0755, "$folder/log-shared";
$ENV{PATH} = "$folder:$ENV{PATH}";

subtest 'the unit' => sub {
    has('systemd-analyze') or plan skip_all => 'there is no systemd-analyze';
    my $unit = slurp("$Bin/../eg/log-drain\@.service");
    $unit =~ s{/usr/bin/log-shared}{$folder/log-shared} or die 'another tool';
    $unit =~ s{^User=app$}{User=root}m or die 'another user';
    my $path = spew( scratch('log-drain@events.service'), $unit );
    my ( $status, $out, $err ) = shell("systemd-analyze verify --man=no '$path'");
    is( $status, 0, 'systemd takes it' );
    unlike( $err, qr/log-drain/, '... without complaint' ) or diag $err;
};

subtest 'rotation' => sub {
    has('logrotate') or plan skip_all => 'there is no logrotate';
    my $texts = scratch('log-drain');
    mkdir $texts, 0755 or die $!;
    my $recipe = slurp("$Bin/../eg/log-drain.logrotate");
    $recipe =~ s{/var/log/log-drain}{$texts} or die 'another folder';
    my $configuration = spew( scratch('logrotate'), $recipe );
    chmod 0644, $configuration;

    my $log = Data::Log::Shared->new( scratch('rotated.log'), 1000 );
    $log->append('before');
    my $text  = "$texts/events.txt";
    my $said  = scratch('drain.err');
    my $drain = start_tool( { err => $said }, 'tail', '-F', '--save', scratch('rotated.position'), '--output', $text, $log->path );
    wait_until( sub { -s $text } );

    # What systemd does for it.
    my $asked = scratch('asked');
    spew( "$folder/systemctl", "#!/bin/sh\necho \"\$*\" >'$asked'\nexec kill -HUP $drain\n" );
    chmod 0755, "$folder/systemctl";
    my ( $status, $out, $err ) = shell( "logrotate -f -s '" . scratch('state') . "' '$configuration'" );
    is_deeply( [ $status, $out, $err ], [ 0, '', '' ], 'logrotate takes the configuration' );
    is( slurp($asked), "reload log-drain@*.service\n", '... and tells all units' );
    wait_until( sub { -e $text } );
    $log->append('after');
    wait_until( sub { -s $text } );
    kill TERM => $drain;
    waitpid $drain, 0;
    is( slurp($said), '', '... without a word' );
    is_deeply( [ slurp("$text.1"), slurp($text) ], [ "before\n", "after\n" ], '... and nothing is lost' );
};

subtest 'Redis' => sub {
    has($_) or plan skip_all => "there is no $_" for qw(redis-server redis-cli);
    my $socket = scratch('redis.socket');
    my $server = start_program( { out => '/dev/null', err => '/dev/null' },
        'redis-server', '--port', 0, '--unixsocket', $socket, '--save', '', '--dir', scratch() );
    wait_until( sub { -S $socket } );
    my $path  = scratch('redis.log');
    my $log   = Data::Log::Shared->new( $path, 10_000 );
    my $drain = "ONCE=1 '$Bin/../eg/redis-drain.sh' '$path' 'a stream' '" . scratch('position') . "' -s '$socket'";
    my $there = sub {
        my ( $status, $out ) = shell("redis-cli -s '$socket' --json XRANGE 'a stream' - +");
        require JSON::PP;
        return [ map { $_->[1][1] } @{ JSON::PP::decode_json($out) } ];
    };
    my @texts = ( 'plain', "two\r\nlines", "\x{263a}", 'x' x 1000 );
    $log->append($_) for @texts;
    is_deeply( [ shell($drain) ], [ 0, '', '' ], 'the recipe runs' );
    is_deeply( $there->(), \@texts, '... all entries are in the stream' );
    shell($drain);
    is_deeply( $there->(), \@texts, '... once' );
    $log->append('more');
    shell($drain);
    is_deeply( $there->(), [ @texts, 'more' ], '... and what comes later' );

    $log->append('while Redis is away');
    kill STOP => $server;
    kill KILL => $server;
    waitpid $server, 0;
    isnt( ( shell($drain) )[0], 0, 'without Redis it fails' );
    unlink $socket;
    $server = start_program( { out => '/dev/null', err => '/dev/null' },
        'redis-server', '--port', 0, '--unixsocket', $socket, '--save', '', '--dir', scratch() );
    wait_until( sub { -S $socket } );
    shell($drain);
    is_deeply( $there->(), ['while Redis is away'], '... and loses nothing' );
    kill TERM => $server;
    waitpid $server, 0;
};

done_testing;
