use strict;
use warnings;

use lib 't/lib';
use JSON::PP ();
use LogTest;
use POSIX ();
use Test::More;
use ToolTest;

use Data::Log::Shared;

my $path = scratch('read.log');
my $log  = Data::Log::Shared->new( $path, 100_000 );
my @texts = ( ( map { "line $_" } 1 .. 20 ), "caf\xe9 \x{263a}", "\xff\xfe", qq(quote " back \\ tab \t), "two\nlines" );
my @offsets = map { $log->append($_) } @texts;
my @bytes   = map { my $text = $_; utf8::encode($text) if utf8::is_utf8($text); $text } @texts;

sub reachable {
    return as_nobody( sub { readpipe tool_words('--version') } ) ne '';
}

sub lines { return join '', map { "$_\n" } @_ }

is_deeply( [ tool( 'cat', $path ) ], [ 0, lines(@bytes), '' ], 'cat prints every entry' );
is_deeply(
    [ tool( 'cat', '--offsets', $path ) ],
    [ 0, join( '', map { "$offsets[$_]\t$bytes[$_]\n" } 0 .. $#texts ), '' ],
    '... with offsets'
);
is_deeply( [ tool( qw(cat --print0), $path ) ], [ 0, join( '', map { "$_\0" } @bytes ), '' ], '... ended by NUL' );
is_deeply( [ tool( qw(cat -n 2), $path ) ],     [ 0, lines( @bytes[ 0, 1 ] ), '' ],           '... some of them' );
is_deeply( [ tool( qw(cat -n 0), $path ) ],     [ 0, '', '' ],                                '... none' );
is_deeply(
    [ tool( 'cat', "--from=$offsets[3]", "--to=$offsets[5]", $path ) ],
    [ 0, lines( @bytes[ 3, 4 ] ), '' ],
    '... from an offset to another'
);
is_deeply( [ tool( qw(cat -g), '^line 1\d$', $path ) ],   [ 0, lines( @bytes[ 9 .. 18 ] ), '' ], '... that match' );
is_deeply( [ tool( qw(cat -vg), '^line', $path ) ],        [ 0, lines( @bytes[ 20 .. 23 ] ), '' ], '... that do not' );
is_deeply( [ tool( qw(cat -ig), 'LINE 20', $path ) ],     [ 0, "line 20\n", '' ], '... whatever their case' );
is_deeply( [ tool( qw(cat -g), "^caf.", $path ) ],        [ 0, "$bytes[20]\n", '' ], '... as characters' );
is_deeply(
    [ tool( qw(cat -n 2 --format), '%o-%n %l%% %d\t\\\\\n', $path ) ],
    [ 0, "0-$offsets[1] 6% line 1\t\\\n$offsets[1]-$offsets[2] 6% line 2\t\\\n", '' ],
    '... in a format'
);
is_deeply( [ tool( 'cat', $path, $path ) ], [ 0, lines( @bytes, @bytes ), '' ], '... of several logs' );
{
    my ( $status, $out, $err ) = tool( 'cat', "$path.not", $path );
    is_deeply( [ $status, $out ], [ 1, lines(@bytes) ], '... of the others, if one cannot be read' );
    like( $err, qr/\Alog-shared cat: \Q$path\E\.not: [^\n]*No such file[^\n]*\n\z/, '... with a word' );
    ( $status, $out, $err ) = tool( 'cat', '--from=4', $path );
    is( $err, "log-shared cat: $path: the entry at 4 is unfinished, or --from is not the offset of one\n", '... from inside an entry' );
}

subtest 'JSON' => sub {
    my ( $status, $out, $err ) = tool( qw(cat --json), $path );
    is( $status, 0, 'the status' );
    my @objects = map { JSON::PP::decode_json($_) } split /\n/, $out;
    is_deeply( [ map { $_->{offset} } @objects ], \@offsets, 'each entry has its offset' );
    my ($encoded) = splice @objects, 21, 1;
    is_deeply(
        [ map { $_->{data} } @objects ],
        [ @texts[ 0 .. 20, 22, 23 ] ],
        '... and its data, as characters'
    );
    is_deeply( $encoded, { offset => $offsets[21], data => '//4=', encoding => 'base64' }, 'what is not UTF-8 is marked' );
    is( ( grep { $_->{encoding} } @objects ), 0, '... and nothing else' );
};

subtest 'tail' => sub {
    is_deeply( [ tool( 'tail', $path ) ], [ 0, lines( @bytes[ -10 .. -1 ] ), '' ], 'the last ten' );
    for my $n ( 0, 1, 3, 24, 100 ) {
        my $first = $n < @bytes ? @bytes - $n : 0;
        is_deeply( [ tool( qw(tail -n), $n, $path ) ], [ 0, lines( @bytes[ $first .. $#bytes ] ), '' ], "the last $n" );
    }
    for my $n ( 0, 1, 2, 24, 25, 100 ) {
        my $first = $n ? $n - 1 : 0;
        is_deeply( [ tool( qw(tail -n), "+$n", $path ) ], [ 0, lines( @bytes[ $first .. $#bytes ] ), '' ], "from number $n on" );
    }
    my $empty = scratch('empty.log');
    Data::Log::Shared->new( $empty, 1000 );
    is_deeply( [ tool( 'tail', $empty ) ], [ 0, '', '' ], 'of an empty log' );
};

subtest 'what is hidden is not printed' => sub {
    my $hidden = scratch('hidden.log');
    my $log    = Data::Log::Shared->new( $hidden, 1000 );
    my @at     = map { $log->append("entry $_") } 1 .. 5;
    $log->truncate( $at[3] );
    is_deeply( [ tool( 'cat',  $hidden ) ],          [ 0, lines( 'entry 4', 'entry 5' ), '' ], 'by cat' );
    is_deeply( [ tool( 'tail', $hidden ) ],          [ 0, lines( 'entry 4', 'entry 5' ), '' ], '... nor tail' );
    is_deeply( [ tool( qw(cat --from=0), $hidden ) ], [ 0, lines( 'entry 4', 'entry 5' ), '' ], '... from anywhere' );
};

subtest 'reading needs no permission to write, and changes nothing' => sub {
    my $theirs = scratch('theirs.log');
    my $log    = Data::Log::Shared->new( $theirs, 1000, 0444 );
    $log->append('for all to read');
    chmod 0755, scratch();
    my $before = slurp($theirs);
    for my $command (qw(cat tail stat verify)) {
        my $said = as_nobody( sub { readpipe tool_words( $command, $theirs ) } );
    SKIP: {
            skip 'an ordinary user cannot run the tool here', 1 if $said eq '' && $> == 0 && !reachable();
            like( $said, $command =~ /cat|tail/ ? qr/^for all to read$/ : qr/\b1 \D*entr|entries\s+1\b/, $command );
        }
    }
    is( slurp($theirs), $before, 'not a byte is changed' );
};

subtest 'an unfinished entry' => sub {
    my $broken = scratch('unfinished.log');
    my $log    = Data::Log::Shared->new( $broken, 1000 );
    my @at     = map { $log->append("entry $_") } 1 .. 3;
    patch( $broken, 4096 + $at[1], pack 'LL', 1 << 30 | ( $at[2] - $at[1] ) / 4, 0 );
    my $bytes  = slurp($broken);

    # tail stopped there without a word, also where it could have passed it.
    for my $command (qw(cat tail)) {
        spew( $broken, $bytes );
        my ( $status, $out, $err ) = tool( $command, $broken );
        is( $status, 1,           "$command: is an error" );
        is( $out,    "entry 1\n", '... behind which nothing is printed' );
        like( $err, qr/^log-shared $command: \Q$broken\E: the entry at $at[1] is unfinished;.*--close-holes.*\n\z/,
            '... and said so' );
        is_deeply(
            [ tool( $command, '--close-holes', $broken ) ],
            [ 0, "entry 1\nentry 3\n", '' ],
            'what may write passes it'
        );
    }
    for my $lines ( '1', '+2' ) {
        spew( $broken, $bytes );
        is_deeply( [ tool( qw(tail --close-holes -n), $lines, $broken ) ], [ 0, "entry 3\n", '' ], "... and counts on, -n $lines" );
    }
    spew( $broken, $bytes );
    tool( qw(truncate --keep 1), $broken );
    is( $log->truncation, $at[2], 'truncate counts what is behind it' );
    spew( $broken, $bytes );
    tool( qw(cat --close-holes), $broken );
    is_deeply( [ tool( 'cat', $broken ) ], [ 0, "entry 1\nentry 3\n", '' ], '... for everyone' );
};

subtest 'mistakes' => sub {
    my %wrong = (
        'no command'      => [ [],                          2, qr/command is missing/ ],
        'another command' => [ ['frob'],                    2, qr/unknown command "frob"/ ],
        'no log'          => [ ['cat'],                     2, qr/argument is missing/ ],
        'two logs'        => [ [ 'tail', $path, 'b' ],      2, qr/extra argument "b"/ ],
        'an option'       => [ [ 'cat', '--frob', $path ],  2, qr/unknown option: frob/ ],
        'a regex'         => [ [ 'cat', '-g(', $path ],     2, qr/Unmatched \(/ ],
        'a format'        => [ [ 'cat', '--format=%q', $path ], 2, qr/unknown "%q"/ ],
        'an offset'       => [ [ 'cat', '--from=3', $path ], 2, qr/"3" is not the offset of an entry/ ],
        'a number'        => [ [ 'cat', '-n', 'x', $path ], 2, qr/"x" is not a whole number/ ],
        'no such log'     => [ [ 'cat', "$path.not" ],      1, qr/^log-shared cat: \Q$path.not\E: .*No such file/ ],
        'a folder'        => [ [ 'cat', scratch() ],        1, qr/regular file/ ],
        'a text'          => [ [ 'cat', $0 ],               1, qr/magic/ ],
    );
    for my $what ( sort keys %wrong ) {
        my ( $arguments, $expected, $pattern ) = @{ $wrong{$what} };
        my ( $status, $out, $err ) = tool(@$arguments);
        is( $status, $expected, "$what: the status" );
        is( $out,    '',        '... nothing on standard output' );
        like( $err, qr/\Alog-shared[^\n]*\n\z/, '... one line on standard error' );
        like( $err, $pattern,                   '... that says what is wrong' );
        unlike( $err, qr/ line \d+\.$/, '... and nothing about the program' );
    }
};

subtest 'help and version' => sub {
    for my $arguments ( ['--help'], ['help'], ['-h'] ) {
        my ( $status, $out, $err ) = tool(@$arguments);
        is_deeply( [ $status, $err ], [ 0, '' ], "@$arguments" );
        like( $out, qr/log-shared cat .*log-shared tail/s, '... lists the commands' );
    }
    for my $command (qw(cat tail append stat verify truncate recover upgrade bench completion)) {
        my ( $status, $out, $err ) = tool( $command, '--help' );
        is_deeply( [ $status, $err ], [ 0, '' ], "$command --help" );
        like( $out, qr/log-shared $command\b/, '... shows how it is used' );
        is_deeply( [ tool( 'help', $command ) ], [ 0, $out, '' ], '... as does help' );
    }
    is_deeply( [ tool('--version') ], [ 0, "log-shared (Data::Log::Shared) $Data::Log::Shared::VERSION\n", '' ], 'version' );
};

subtest 'a reader that goes away' => sub {
    my $long = scratch('long.log');
    my $log  = Data::Log::Shared->new( $long, 4_000_000 );
    $log->append( "entry $_ " . 'x' x 100 ) for 1 .. 20_000;
    my ( $status, $out, $err ) = shell("log-shared cat '$long' | head -n 1; echo \${PIPESTATUS[0]}");
    is( $out, 'entry 1 ' . 'x' x 100 . "\n141\n", 'ends it by SIGPIPE' );
    is( $err, '',                                 '... without a word' );
    ( $status, $out, $err ) = shell("log-shared cat '$path' > /dev/full");
    is( $status, 1, 'a full disk is an error' );
    like( $err, qr/\Alog-shared cat: standard output: No space.*\n\z/, '... and said so' );
    ( $status, $out, $err ) = shell("log-shared cat '$long' > /dev/full");
    like( $err, qr/\Alog-shared cat: standard output: No space.*\n\z/, '... once' );
    ( $status, $out, $err ) = shell("PERL_UNICODE=SDA log-shared cat -g caf '$path'");
    is( $out, "$bytes[20]\n", 'what Perl is told by its environment changes no bytes' );
};

done_testing;
