use strict;
use warnings;

use lib 't/lib';
use JSON::PP ();
use LogTest;
use Test::More;
use ToolTest;

use Data::Log::Shared;

my $n = 0;
sub fresh { return scratch( 'write-' . $n++ ) }

subtest 'append' => sub {
    my $path = fresh();
    is_deeply( [ tool_with_input( "one\ntwo\n", qw(append --create --size 64K --mode 0640), $path ) ],
        [ 0, '', '' ], 'makes a log' );
    is( ( stat $path )[2] & 07777, 0640,  '... of this mode' );
    is( -s $path,                  69632, '... and size' );
    is_deeply( [ tool_with_input( "three\nno newline", 'append', $path ) ], [ 0, '', '' ], 'adds to it' );
    is_deeply(
        [ tool_with_input( "nul\nwithin\0\xff\0", qw(append -0 --tee), $path, '-' ) ],
        [ 0, "nul\nwithin\0\xff\0", '' ],
        'entries that end with NUL, passed on'
    );
    is_deeply( [ replay( Data::Log::Shared->new( $path, 1 ) ) ],
        [ 'one', 'two', 'three', 'no newline', "nul\nwithin", "\xff" ], 'all are there' );

    my @files = map { spew( fresh(), "from file $_\n" ) } 1, 2;
    is_deeply( [ tool_with_input( '', qw(append --sync), $path, @files ) ], [ 0, '', '' ], 'from files' );
    my $log = Data::Log::Shared->new( $path, 1 );
    is_deeply( [ ( replay($log) )[ -2, -1 ] ], [ 'from file 1', 'from file 2' ], '... all of them' );
    is( $log->stats->{synced}, $log->tail_offset, '... and on disk' );

    is_deeply( [ tool_with_input( "\xc3\xa9\n", qw(append -u), $path ) ], [ 0, '', '' ], 'characters' );
    is( ( replay($log) )[-1], "\xe9", '... come back as such' );
    my ( $status, $out, $err ) = tool_with_input( "a\n\n\nb\n", 'append', $path );
    is( $status, 0, 'empty lines are no error' );
    like( $err, qr/\Alog-shared append: .* 2 empty lines were not appended\n\z/, '... but said' );
};

subtest 'what comes out of cat goes into append' => sub {
    my ( $from, $to ) = ( fresh(), fresh() );
    my $log = Data::Log::Shared->new( $from, 1000 );
    $log->append($_) for "two\nlines", "\xff", 'x' x 100;
    my ( $status, $out, $err ) = shell("log-shared cat -0 '$from' | log-shared append -0 -c -s 1000 '$to'");
    is_deeply( [ $status, $err ], [ 0, '' ], 'the pipe runs' );
    is_deeply( [ replay( Data::Log::Shared->new( $to, 1 ) ) ], [ replay($log) ], '... and makes a copy' );
};

subtest 'a full log' => sub {
    my $path = fresh();
    my ( $status, $out, $err ) = tool_with_input( join( '', map { "entry number $_\n" } 1 .. 50 ),
        qw(append -c -s 480 --tee), $path );
    is( $status, 1, 'is an error' );
    my @there = replay( Data::Log::Shared->new( $path, 1 ) );
    my $left  = 50 - @there;
    ok( @there > 10 && $left > 0, 'some entries fit' );
    is_deeply( \@there, [ map { "entry number $_" } 1 .. @there ], '... the first ones' );
    is( $err, "log-shared append: $path: full, $left entries were not written\n", '... the others are counted' );
    is( $out, join( '', map { "entry number $_\n" } 1 .. 50 ), '... and passed on all the same' );

    ( $status, $out, $err ) = shell("echo x; yes 1 | head -n 30 | log-shared append '$path'");
    like( $err, qr/\A.*full, nothing more is written\n.*full, 30 entries were not written\n\z/, 'a pipe is told at once' );
    my $long = 'x' x 100;
    ( $status, $out, $err ) = tool_with_input( "$long\nshort\n", qw(append -c -s 64), fresh() );
    like( $err, qr/2 entries were not written/, 'a later one that would fit is not written' );
};

# The exception of append ended the tool: its message named a line of the
# program, and not how many entries were not written.
subtest 'an entry that is refused' => sub {
    my $path = fresh();
    my $huge = fresh();
    open my $out, '>', $huge or die $!;
    print {$out} "before\n";
    seek $out, 2**28, 1 or die $!;
    print {$out} "\nafter\n";
    close $out or die $!;
    my ( $status, $said, $err ) = tool( qw(append -c -s 1000), $path, $huge );
    is( $status, 1, 'is an error' );
    like( $err, qr/\Alog-shared append: \Q$path\E: data of \d+ bytes is too large [^\n]*\), 2 entries were not written\n\z/,
        '... that counts what is not written' );
    is_deeply( [ replay( Data::Log::Shared->new( $path, 1 ) ) ], ['before'], '... what comes before it is' );
    unlink $huge;
};

# Closed, its place was taken by the file of the program, whose end was appended.
subtest 'standard input that is closed' => sub {
    my $path = fresh();
    my $log  = Data::Log::Shared->new( $path, 100_000 );
    for my $closed ( '<&-', '<&- >&-', '<&- >&- 2>&-', '>&- 2>&-' ) {
        my ( $status, $out, $err ) = shell("log-shared append --tee '$path' $closed");
        is( $status, $closed =~ /</ ? 1 : 0, "append $closed" );
        is( $log->entry_count, 0, '... writes nothing' );
        like( $err, $closed =~ /<&-(?!.*2>)/ ? qr/\A[^\n]*: -: Bad file descriptor\n\z/ : qr/\A\z/, '... and says why' );
    }
};

subtest 'mistakes' => sub {
    my $path  = fresh();
    my %wrong = (
        'no log there'      => [ [ 'append', $path ],                       1, qr/No such file/ ],
        'size alone'        => [ [ qw(append --size 1M), $path ],           2, qr/--size goes with --create/ ],
        'no size'           => [ [ qw(append -c --size big), $path ],       2, qr/"big" is not a size/ ],
        'no mode'           => [ [ qw(append -c --mode 888), $path ],       2, qr/"888" is not an octal number/ ],
        'no such input'     => [ [ qw(append -c -s 1000), "$path.x", "$path.not" ], 1, qr/\.not: No such file/ ],
        'a folder as input' => [ [ qw(append -c -s 1000), "$path.x", scratch() ],   1, qr/directory/i ],
        'no offset'         => [ [ 'truncate', "$path.x" ],                 2, qr/one of OFFSET, --keep and --all/ ],
        'two ways'          => [ [ qw(truncate --all), "$path.x", 8 ],      2, qr/one of OFFSET, --keep and --all/ ],
        'a bad offset'      => [ [ 'truncate', "$path.x", 'x' ],            2, qr/"x" is not a whole number/ ],
    );
    for my $what ( sort keys %wrong ) {
        my ( $arguments, $expected, $pattern ) = @{ $wrong{$what} };
        my ( $status, $out, $err ) = tool(@$arguments);
        is( $status, $expected, "$what: the status" );
        like( $err, qr/\Alog-shared \w+: [^\n]*\n\z/, '... one line on standard error' );
        like( $err, $pattern,                         '... that says what is wrong' );
    }
    ok( !-e $path, 'nothing was made' );
};

subtest 'truncate' => sub {
    my $path = fresh();
    my $log  = Data::Log::Shared->new( $path, 1000 );
    my @at   = map { $log->append("entry $_") } 1 .. 6;
    is( ( tool( 'truncate', $path, $at[1] ) )[0], 0, 'at an offset' );
    is_deeply( [ replay($log) ], [ map { "entry $_" } 2 .. 6 ], '... hides what is before' );
    is( ( tool( qw(truncate --keep 2), $path ) )[0], 0, 'all but some' );
    is_deeply( [ replay($log) ], [ 'entry 5', 'entry 6' ], '... keeps the last' );
    is( ( tool( qw(truncate --keep 5), $path ) )[0], 0, 'all but more than there are' );
    is_deeply( [ replay($log) ], [ 'entry 5', 'entry 6' ], '... hides no more' );
    is( ( tool( qw(truncate --all), $path ) )[0], 0, 'all' );
    is_deeply( [ replay($log) ], [], '... leaves none' );
};

subtest 'stat' => sub {
    my $path = fresh();
    my $log  = Data::Log::Shared->new( $path, 1000, 0600 );
    $log->append('x' x 80) for 1 .. 6;
    my ( $status, $out, $err ) = tool( qw(stat --json), $path );
    is_deeply( [ $status, $err ], [ 0, '' ], 'as JSON' );
    my $is = JSON::PP::decode_json($out);
    is( $is->{$_}, $log->stats->{$_}, "... $_" ) for qw(count tail data_size available truncation waits appends);
    is( $is->{bytes}, 480, '... bytes' );
    is_deeply( [ map { ref } @{$is}{qw(checksum sparse this_boot)} ], [ ('JSON::PP::Boolean') x 3 ], '... truth' );
    ok( $is->{this_boot} && $is->{checksum} && !$is->{sparse}, '... is told' );
    like( $is->{boot_id}, qr/\A[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\z/, '... boot' );

    ( $status, $out, $err ) = tool( 'stat', $path );
    is_deeply( [ $status, $err ], [ 0, '' ], 'for people' );
    like( $out, qr/^used\s+528 bytes \[#{21}\.{19}\] 52\.8%$/m, '... with a bar' );
    like( $out, qr/^entries\s+6 of 480 bytes together$/m,      '... and what it counts' );

    pipe my $reader, my $writer or die $!;
    my $pid = start_tool( { out => "/proc/self/fd/" . fileno $writer, err => undef }, qw(stat --json --watch=0.05), $path );
    close $writer;
    my $first = JSON::PP::decode_json( scalar <$reader> );
    $log->append('y');
    my $next;
    do { $next = JSON::PP::decode_json( scalar <$reader> ) } until $next->{count} == 7;
    ok( $next->{entries_per_second} > 0, 'watched, it tells a rate' );
    kill INT => $pid;
    waitpid $pid, 0;
    is( $? & 127, 2, '... until it is interrupted' );

    # It told the salt of the new file and the counts of the old one.
    my ( $shown, $said ) = ( fresh(), fresh() );
    $pid = start_tool( { out => $shown, err => $said }, qw(stat --json --watch=0.05), $path );
    wait_until( sub { -s $shown } );
    Data::Log::Shared->new( "$path.new", 1000 );
    rename "$path.new", $path or die $!;
    is( ends($pid), 1 << 8, 'a log that is replaced ends it' );
    like( slurp($said), qr/\Alog-shared stat: \Q$path\E: has been replaced\n\z/, '... with a word' );
};

done_testing;
