use strict;
use warnings;

use lib 't/lib';
use LogTest;
use Test::More;
use ToolTest;

subtest 'bench' => sub {
    my ( $status, $out, $err ) = tool(qw(bench --seconds 0.5 --processes 2));
    is_deeply( [ $status, $err ], [ 0, '' ], 'it runs' );
    my @rates = $out =~ /^(?:append|read) .*\s([12])\s+[1-9][\d,]*\s+[\d.]+$/mg;
    is_deeply( \@rates, [ ( 1, 2 ) x 6 ], '... for one and for several processes' );
    is( ( tool(qw(bench --seconds x)) )[0], 2, 'a time that is none' );
};

# Interrupted, it left its files in the folder for temporary ones.
subtest 'bench that is ended' => sub {
    local $ENV{TMPDIR} = scratch('folder');
    mkdir $ENV{TMPDIR} or die $!;
    for my $signal ( 2, 15 ) {
        my $out = scratch('bench.out');
        unlink $out;
        my $pid = start_tool( { out => $out, err => $out }, qw(bench --seconds 60 --processes 2) );
        wait_until( sub { glob("$ENV{TMPDIR}/*") && -s $out } );
        kill $signal, $pid;
        waitpid $pid, 0;
        is( $? & 127, $signal, "signal $signal ends it" );
        is_deeply( [ glob "$ENV{TMPDIR}/*" ], [], '... and nothing is left' );
    }
    my ( $status, $out ) = shell('log-shared bench --seconds 1 | head -n 1; echo ${PIPESTATUS[0]}');
    like( $out, qr/\n141\n\z/, 'a reader that goes away ends it' );
    is_deeply( [ glob "$ENV{TMPDIR}/*" ], [], '... and nothing is left' );
};

subtest 'completion' => sub {
    plan skip_all => 'there is no bash' if ( shell('true') )[0] != 0;
    my $complete = sub {
        my @words = @_;
        my $list  = join ' ', map { "'$_'" } @words;
        my ( $status, $out, $err ) = shell(
            "source <(log-shared completion) && COMP_WORDS=($list) COMP_CWORD=$#words && _log_shared"
                . ' && printf "%s\n" "${COMPREPLY[@]}"' );
        diag $err if $err ne '';
        return [ split /\n/, $out ];
    };
    is_deeply( $complete->( 'log-shared', 'ta' ), ['tail'], 'a command' );
    is_deeply( $complete->( 'log-shared', 'help', 'ver' ), ['verify'], '... after help' );
    is_deeply( $complete->( 'log-shared', 'tail', '--s' ), ['--save'], 'an option' );
    is_deeply( $complete->( 'log-shared', 'cat', '--color', 'a' ), [qw(auto always)], 'its value' );
    my $path = spew( scratch('a-file.log'), '' );
    is_deeply( $complete->( 'log-shared', 'cat', scratch('a-f') ), [$path], 'a file' );
};

done_testing;
