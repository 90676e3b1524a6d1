use strict;
use warnings;

use lib 't/lib';
use JSON::PP ();
use LogTest;
use Test::More;

use Data::Log::Shared;
use Data::Log::Shared::Sink;

my $TIME = qr/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z/;

sub sink {
    my ( $size, %option ) = @_;
    my $log = Data::Log::Shared->new( undef, $size );
    return ( $log, Data::Log::Shared::Sink->new( log => $log, %option ) );
}

# What the code prints on standard error.
sub complaints {
    my ($code) = @_;
    my $path = scratch('stderr');
    open my $kept, '>&', \*STDERR or die $!;
    open STDERR, '>', $path or die $!;
    $code->();
    open STDERR, '>&', $kept or die $!;
    return slurp($path);
}

subtest 'lines' => sub {
    my ( $log, $sink ) = sink(10_000);
    ok( $sink->write( 'info', 'My::Class', "something happened\n" ), 'a line is written' );
    $sink->write( 'debug', 'c', 'with fields', { b => [1], a => "\x{263a}" } );
    $sink->write( 'debug', 'c', undef, { a => 1 } );
    $sink->write( 'debug', 'c', undef );
    my @lines = replay($log);
    like( $lines[0], qr/\A$TIME $$ info My::Class: something happened\z/, '... with time, pid, level, category' );
    like( $lines[1], qr/ c: with fields \{"a":"\x{263a}","b":\[1\]\}\z/, '... and fields' );
    like( $lines[2], qr/ c:  \{"a":1\}\z/,                               '... alone' );
    like( $lines[3], qr/ c: undef\z/,                                    '... or nothing' );
};

subtest 'formats' => sub {
    my ( $log, $sink ) = sink( 10_000, format => 'json' );
    $sink->write( 'info', 'c', "text\n", { user => 'jo', level => 'not this one', object => bless {}, 'Some' } );
    my $object = JSON::PP::decode_json( ( replay($log) )[0] );
    like( delete $object->{time}, qr/\A$TIME\z/, 'an object has the time' );
    is_deeply( $object, { pid => $$, level => 'info', category => 'c', message => 'text', user => 'jo', object => undef },
        '... and the rest' );
    ( $log, $sink ) = sink( 10_000, format => 'message' );
    $sink->write( 'info', 'c', 'text' );
    is_deeply( [ replay($log) ], ['text'], 'the message alone' );
    ok( $sink->write( 'info', 'c', $_ ), '... if there is one' ) for '', undef, "\n";
    $sink->write( 'info', 'c', "a line\n" );
    is_deeply( [ replay($log), $sink->lost ], [ 'text', 'a line', 0 ], '... without its newline' );
    ( $log, $sink ) = sink( 10_000, format => sub { join '|', map { ref ? %$_ : $_ } @_[ 1 .. 5 ] } );
    $sink->write( 'info', 'c', 'text', { a => 1 } );
    is_deeply( [ replay($log) ], ["$$|info|c|text|a|1"], 'code' );
};

subtest 'a full log' => sub {
    my ( $log, $sink ) = sink(200);
    my ( $errno, $error ) = ( 7, 'as it was' );
    my $said = complaints(
        sub {
            local $SIG{__DIE__}  = sub { fail('a handler saw an exception') };
            local $SIG{__WARN__} = sub { fail('a handler saw a warning') };
            ( $!, $@ ) = ( $errno, $error );
            $sink->write( 'info', 'c', "number $_" ) for 1 .. 10;
            is_deeply( [ 0 + $!, $@ ], [ $errno, $error ], 'errors of the program are left alone' );
        }
    );
    my $there = $log->entry_count;
    is( $sink->lost, 10 - $there, 'what did not fit is counted' );
    is( $said, "Data::Log::Shared: log in memory: the log is full, entries are being lost\n", '... and said once' );
    is( complaints( sub { $sink->write( 'info', 'c', 'more' ) } ), '', '... only once' );
    my $lost = $sink->lost;
    $log->reset;
    $sink->write( 'info', 'c', 'room' );
    my @lines = replay($log);
    like( $lines[0], qr/ c: room\z/, 'when there is room it goes on' );
    like( $lines[1], qr/ warning Data::Log::Shared::Sink: $lost entries before the last one did not fit\z/,
        '... and the log says what is missing' );
    is( complaints( sub { undef $sink } ), '', '... so nothing need be said at the end' );

    ( $log, $sink ) = sink(20);
    $said = complaints( sub { $sink->write( 'info', 'c', $_ ) for 1, 2; undef $sink } );
    like( $said, qr/: 2 entries did not fit\n\z/, 'else the end says it' );
};

subtest 'other ways when it is full' => sub {
    my ( $log, $sink ) = sink( 20, on_full => 'die' );
    eval { $sink->write( 'info', 'c', 'text' ) };
    like( $@, qr/the log is full at \Q$0\E/, 'die' );
    complaints( sub { undef $sink } );
    ( $log, $sink ) = sink( 20, on_full => 'warn' );
    is( complaints( sub { $sink->write( 'info', 'c', $_ ) for 1, 2 } ),
        join( '', map { "Data::Log::Shared: log in memory: the log is full, lost: $_\n" } 1, 2 ), 'warn' );
    complaints( sub { undef $sink } );
    my @calls;
    ( $log, $sink ) = sink( 20, on_full => sub { push @calls, [@_] } );
    $sink->write( 'info', 'c', 'text' );
    is_deeply( \@calls, [ [ 'info', 'c', 'text', 'the log is full' ] ], 'code' );
    complaints( sub { undef $sink } );
};

subtest 'what can go wrong with an entry' => sub {
    my $log  = Data::Log::Shared->new( undef, 1000 );
    my $sink = Data::Log::Shared::Sink->new( log => $log, format => sub { die "no format\n" } );
    my $said = complaints( sub { ok( !$sink->write( 'info', 'c', 'text' ), 'an exception is no exception' ); undef $sink } );
    like( $said, qr/no format/, '... but said' );
    is( $log->entry_count, 0, '... nothing is written' );
};

# A warning that the sink caused went to a handler, which may log in turn.
subtest 'what it says is no warning' => sub {
    my $warned = '';
    local $SIG{__WARN__} = sub { $warned .= "@_" };
    my ( $log, $sink ) = sink( 20, on_full => 'warn' );
    my $said = complaints( sub { $sink->write( 'info', 'c', $_ ) for "wide \x{263a}", undef } );
    like( $said, qr/lost: wide \xe2\x98\xba\n.*lost: undef\n\z/s, 'an entry that was lost is shown' );
    complaints( sub { close STDERR; $sink->write( 'info', 'c', 'text' ); local $! = 7; undef $sink; is( 0 + $!, 7, 'the end leaves errno alone' ) } );
    ( $log, $sink ) = sink(1000);
    $sink->write( undef, undef, 'text' );
    like( ( replay($log) )[0], qr/  : text\z/, 'without level and category' );
    is( $warned, '', 'no warnings' );
};

# A program whose STDERR goes into the log, too, died of deep recursion.
subtest 'a STDERR that is tied to the sink' => sub {
    my ( $log, $sink ) = sink( 20, on_full => 'warn' );
    my $calls = 0;
    no warnings 'once';
    local *Tied::TIEHANDLE = sub { return bless [ $_[1] ], $_[0] };
    local *Tied::PRINT     = sub { $calls++ < 50 or die "recursion\n"; $_[0][0]->write( 'error', 'stderr', $_[1] ) };
    tie *STDERR, 'Tied', $sink;
    my $lived = eval { $sink->write( 'info', 'c', $_ ) for 1, 2; 1 };
    untie *STDERR;
    ok( $lived, 'it lives' );
    is( $calls, 2, '... and says each loss once' );
    complaints( sub { undef $sink } );
};

subtest 'processes' => sub {
    my ( $log, $sink ) = sink(20);
    complaints( sub { $sink->write( 'info', 'c', 'text' ) } );
    is( from_child( sub { $sink->lost } ), 0, 'a child counts its own' );
    is( $sink->lost, 1, '... and the parent, too' );
    complaints( sub { undef $sink } );
};

subtest 'making' => sub {
    my $path = scratch('sink.log');
    my $sink = Data::Log::Shared::Sink->new( path => $path, size => 1000, mode => 0640 );
    is_deeply( [ -s $path, ( stat _ )[2] & 07777 ], [ 5096, 0640 ], 'by path' );
    is( $sink->log->path, $path, '... it has a log' );
    my %same = ( path => $path, on_full => 'warn' );
    my $one  = Data::Log::Shared::Sink->shared(%same);
    is( Data::Log::Shared::Sink->shared(%same), $one, 'shared: one for the same options' );
    isnt( Data::Log::Shared::Sink->shared( path => $path ), $one, '... another for others' );
    for ( [], [ path => $path, log => 1 ], [ path => $path, frob => 1 ], [ path => $path, on_full => 'x' ], [ path => $path, format => 'x' ] ) {
        ok( !eval { Data::Log::Shared::Sink->new(@$_); 1 }, "not with @$_" );
        like( $@, qr/^Data::Log::Shared::Sink->new: .* at \Q$0\E/, '... and it says why' );
    }
};

done_testing;
