use strict;
use warnings;

use lib 't/lib';
use LogTest;
use POSIX ();
use Test::More;

BEGIN {
    eval { require IO::Pty; 1 } or plan skip_all => 'IO::Pty is not installed';
}
use ToolTest;

use Data::Log::Shared;

$ENV{TERM} = 'xterm';
my $path = scratch('terminal.log');
my $log  = Data::Log::Shared->new( $path, 1000 );
$log->append($_) for 'plain', "\e[2Jclears\tthe screen", "a match here", "c1 \x{9b}31m", "c1 \x{9b}31m \x{263a}", "two\nlines";

# What a program prints on a terminal of its own, and how it ends.
sub on_terminal {
    my ( $code, @arguments ) = @_;
    my $pty = IO::Pty->new;
    my $pid = fork // die "fork: $!";
    if ( !$pid ) {
        $pty->make_slave_controlling_terminal;
        my $slave = $pty->slave;
        $slave->set_raw;
        open $_->[0], $_->[1], $slave or die $! for [ \*STDIN, '<&' ], [ \*STDOUT, '>&' ], [ \*STDERR, '>&' ];
        alarm 0;
        exec tool_command(), @arguments or die $!;
    }
    $pty->close_slave;
    my $text = '';
    while ( sysread $pty, $text, 4096, length $text ) {
        $code->( $pty, $text ) if $code;
    }
    waitpid $pid, 0;
    return ( $?, $text );
}

my $nothing = sub { };
my ( $status, $text ) = on_terminal( undef, 'cat', $path );
is( $status, 0, 'cat runs on a terminal' );
is( $text, "plain\n\\x1b[2Jclears\tthe screen\na match here\nc1 \\x9b31m\nc1 \\xc2\\x9b31m \xe2\x98\xba\ntwo\nlines\n",
    '... where entries cannot drive it' );
is( ( on_terminal( undef, qw(cat --raw), $path ) )[1] =~ /\e\[2J/, 1, '... unless they are wanted raw' );

( $status, $text ) = on_terminal( undef, qw(cat -g match), $path );
is( $text, "a \e[31mmatch\e[0m here\n", 'a match is coloured' );
my $other = scratch('other.log');
Data::Log::Shared->new( $other, 1000 )->append('a matter');
is( ( on_terminal( undef, qw(cat -g), '(t)c\\1|(.)\\2', $other ) )[1], "a ma\e[31mtt\e[0mer\n", '... by groups of its own' );
{
    local $ENV{NO_COLOR} = 1;
    is( ( on_terminal( undef, qw(cat -g match), $path ) )[1], "a match here\n", '... unless NO_COLOR is set' );
}
is( ( on_terminal( undef, qw(cat --color=never -g match), $path ) )[1], "a match here\n", '... or told not to' );
unlike( ( tool( qw(cat -g match), $path ) )[1], qr/\e/, '... and not in a pipe' );
like( ( tool( qw(cat --color=always -g match), $path ) )[1], qr/\e/, '... unless told to' );

like( ( on_terminal( undef, 'stat', $path ) )[1], qr/\e\[32m#*\.*\e\[0m\]/, 'the bar of stat has a colour' );
unlike( ( tool( 'stat', $path ) )[1], qr/\e/, '... only there' );

my $sent;
( $status, $text ) = on_terminal(
    sub {
        my ( $pty, $so_far ) = @_;
        if ( !$sent && $so_far =~ /lines\n/ ) {
            $log->append('followed');
            $sent = 1;
        }
        if ( $so_far =~ /followed\n/ && $sent++ == 1 ) {
            kill INT => -POSIX::tcgetpgrp( fileno $pty );
        }
    },
    qw(tail -f),
    $path
);
is( $status & 127, 2, 'tail -f is interrupted' );
like( $text, qr/lines\nfollowed\n\z/, '... after what it printed, and without a word' );

done_testing;
