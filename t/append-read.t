use strict;
use warnings;
use utf8;

use B ();
use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

binmode Test::More->builder->$_, ':encoding(UTF-8)' for qw(output failure_output);

subtest 'offsets lead from entry to entry' => sub {
    my $log     = Data::Log::Shared->new( undef, 10_000 );
    my @data    = map { join ',', 1 .. $_ } 1 .. 40;
    my @offsets = map { $log->append($_) } @data;

    is( $offsets[0],                  0, 'the first entry is at 0' );
    is( ( grep { $_ % 4 } @offsets ), 0, 'offsets are multiples of 4' );
    my ( @got, @next );
    for my $offset (@offsets) {
        my ( $data, $next ) = $log->read_entry($offset);
        push @got,  $data;
        push @next, $next;
    }
    is_deeply( \@got,  \@data,                                            'each offset reads its entry' );
    is_deeply( \@next, [ @offsets[ 1 .. $#offsets ], $log->tail_offset ], 'each entry leads to the next' );
    is_deeply( [ replay($log) ],                          \@data,         'a replay gives them all in order' );
    is_deeply( [ $log->read_entry( $log->tail_offset ) ], [],             'nothing is at the tail' );
};

subtest 'bytes come back as they were' => sub {
    my $log  = Data::Log::Shared->new( undef, 100_000 );
    my @data = (
        ( map { chr } 0 .. 255 ), join( '', map { chr } 0 .. 255 ),
        ( map { "\0" x $_ } 1 .. 20 ), ( map { substr 'abcdefghijklmnopqrstuvwxyz' x 3, 0, $_ } 1 .. 70 ),
        0,            '00',
        '0 but true', ' ',
        "\n",         "a\nb\n",
        "\xff\xfe",   -1,
        1.5,          'x' x 5000,
    );
    $log->append($_) for @data;
    my @got = replay($log);
    is_deeply( \@got, \@data, 'every byte, every small length' );
    is( ( grep { utf8::is_utf8($_) } @got ), 0, 'none has become a character string' );
};

subtest 'characters come back as characters' => sub {
    my $log = Data::Log::Shared->new( undef, 10_000 );
    utf8::upgrade( my $latin  = "caf\xe9" );
    utf8::upgrade( my $ascii  = 'plain' );
    utf8::encode( my $encoded = 'naïve ☃' );
    my @data = ( '☃', "caf\xe9", $latin, $ascii, 'plain', $encoded, "\x{1F600}" x 50, "\0☃\0" );
    my @flag = map { utf8::is_utf8($_) ? 1 : 0 } @data;
    $log->append($_) for @data;

    my @got = replay($log);
    is_deeply( \@got, \@data, 'the same strings' );
    is_deeply( [ map { utf8::is_utf8($_) ? 1 : 0 } @got ],  \@flag, 'with their UTF-8 flags' );
    is_deeply( [ map { utf8::is_utf8($_) ? 1 : 0 } @data ], \@flag, q{the caller's strings kept theirs} );
};

subtest 'the scalar that was appended is not modified' => sub {
    my $log   = Data::Log::Shared->new( undef, 10_000 );
    my $flags = sub { B::svref_2object( $_[0] )->FLAGS & ( B::SVf_IOK | B::SVf_NOK | B::SVf_POK | B::SVf_ROK ) };
    my ( $integer, $float, $negative, $string, $ref ) = ( 42, 1.25, -7, 'text', [] );
    for ( \$integer, \$float, \$negative, \$string, \$ref ) {
        my $before = $flags->($_);
        my $value  = $$_;
        $log->append($$_);
        is( $flags->($_), $before, "$value is still what it was" );
        is( $$_,          $value,  '... with its value' );
    }
    is_deeply( [ replay($log) ], [ 42, 1.25, -7, 'text', "$ref" ], 'all were stored as text' );

    my %hash;
    eval { $log->append( $hash{nothing} ) };
    ok( !exists $hash{nothing}, 'a missing hash element stays missing' );

    'one two' =~ /(\w+) (\w+)/;
    my $text = 'abcdef';
    is( $log->append($1) < $log->append( substr $text, 2, 3 ), 1, 'captures and substrings can be appended' );
    is_deeply( [ ( replay($log) )[ -2, -1 ] ], [ 'one', 'cde' ], '... with their text' );
    is( $text, 'abcdef', '... and unharmed' );
};

subtest 'results are independent of each other and of the log' => sub {
    my $log     = Data::Log::Shared->new( undef, 10_000 );
    my @offsets = map { ${ \$log->append("entry $_") } } 1 .. 5;
    my @refs    = map { \$log->append("entry $_") } 6 .. 10;
    push @offsets, map { $$_ } @refs;
    my @kept = map { \( $log->read_entry($_) )[0] } @offsets;
    is_deeply( [ map { $$_ } @kept ], [ map { "entry $_" } 1 .. 10 ], 'ten results held at once' );
    $$_ .= ' changed' for @kept;
    for my $value ( map { $log->read_entry($_) } @offsets ) {
        $value = 'scribble';
    }
    my ( $data, $next ) = $log->read_entry(0);
    my ($again) = $log->read_entry(0);
    substr $data, 0, 1, 'E';
    is( $again, 'entry 1', 'a second reading is not touched by a change to the first' );
    is_deeply( [ replay($log) ], [ map { "entry $_" } 1 .. 10 ], 'the log is not changed through a result' );
};

subtest 'a log of 20 * n bytes holds n entries of 12 bytes' => sub {
    for my $n ( 1, 2, 7, 100 ) {
        my $log     = Data::Log::Shared->new( undef, 20 * $n );
        my @data    = map { sprintf 'entry %06d', $_ } 1 .. $n;
        my @offsets = map { $log->append($_) } @data;
        is( ( grep { defined } @offsets ), $n, "$n entries fit" );

        my $tail = $log->tail_offset;
        is_deeply( [ $log->append('entry number') ], [undef], '... one more does not: undef' );
        is( $log->append('y') // 'undef', 'undef', '... not even a small one' );
        is_deeply( [ replay($log) ], \@data, 'the full log has lost nothing' );
        is( $log->tail_offset,       $tail, 'its tail has not moved' );
        is( $log->entry_count,       $n,    'its count has not changed' );
        is( $log->wait_for( $n, 0 ), 0,     'and nothing new is announced' );
    }
};

subtest 'what does not fit is refused, what fits is taken' => sub {
    for my $size ( 64, 100, 4096, 40_000 ) {
        my $log = Data::Log::Shared->new( undef, $size );
        is( $log->append( 'x' x $size ),         undef, "an entry of $size bytes does not fit into $size bytes" );
        is( $log->append( 'x' x ( $size - 8 ) ), 0,     'one of 8 bytes less does' );
        is( $log->available,                     0,     '... and fills the log' );
        is_deeply( [ replay($log) ], [ 'x' x ( $size - 8 ) ], '... and is there' );
    }
    my $log = Data::Log::Shared->new( undef, 100 );
    ok( defined $log->append( 'a' x 40 ), 'a first entry' );
    is( $log->append( 'b' x 80 ), undef, 'one too long for the rest' );
    ok( defined $log->append( 'c' x 40 ), 'a shorter one still goes in' );
    is_deeply( [ replay($log) ], [ 'a' x 40, 'c' x 40 ], 'both are there' );
};

SKIP: {
    my ($available) = slurp('/proc/meminfo') =~ /^MemAvailable:\s+(\d+)/m;
    skip 'less than 2 GiB of memory are free', 2 if ( $available || 0 ) < 2 * 2**20;
    my $log  = Data::Log::Shared->new( undef, 1000 );
    my $data = '';
    vec( $data, 2**28 - 1, 8 ) = 1;
    croaks( sub { $log->append($data) },
        'append', qr/too large/, 'an entry of 2**28 bytes is too large for any log' );
    chop $data;
    is( $log->append($data), undef, 'one byte less just does not fit into this one' );
}

subtest 'an offset without an entry reads as nothing' => sub {
    my $log = Data::Log::Shared->new( undef, 1000 );
    is_deeply( [ $log->read_entry(0) ], [], 'the empty log at 0' );
    $log->append("number $_") for 1 .. 3;
    my $tail = $log->tail_offset;
    for my $offset ( 1, 2, 3, 5, 0.5, -1, -4, -4096, $tail, $tail + 1, $tail + 4, 996, 1000, 1004, 2**31, 2**32,
        2**40, 2**62, 2**63, 2**64, 1e30, -1e30, 9**9**9, -9**9**9 ) {
        is_deeply( [ $log->read_entry($offset) ], [], "read_entry($offset)" );
    }
    is_deeply( [ replay($log) ], [ map { "number $_" } 1 .. 3 ], 'the log is as it was' );
};

subtest 'both results of one call in the source are independent of those of its next' => sub {
    my $log  = Data::Log::Shared->new( undef, 1000 );
    my @at   = map { $log->append("entry $_") } 1 .. 3;
    my @all  = map { ( "entry $_", $at[$_] // $log->tail_offset ) } 1 .. 3;
    my $read = sub { $log->read_entry( $_[0] ) };
    my $keep = sub { \@_ };

    my @aliased;
    for my $offset (@at) { push @aliased, \$_ for $log->read_entry($offset) }
    my @in_hash;
    for my $offset (@at) { my %result; @result{qw(data next)} = $log->read_entry($offset); push @in_hash, \%result }
    my @changed;
    for my $offset (@at) { push @changed, map { $_ .= '!' } $log->read_entry($offset) }

    my $deep = sub {
        my ( $self, @offsets ) = @_;
        my $offset = shift @offsets // return;
        return ( $log->read_entry($offset), $self->( $self, @offsets ) );
    };
    is_deeply( [ map { $log->read_entry($_) } @at ],                   \@all, 'in a list' );
    is_deeply( [ map { $$_ } map { \( $log->read_entry($_) ) } @at ],  \@all, 'referred to' );
    is_deeply( [ map { @{ $keep->( $log->read_entry($_) ) } } @at ],   \@all, 'as arguments that are kept' );
    is_deeply( [ map { $read->($_) } @at ],                            \@all, 'returned by a sub' );
    is_deeply( [ map { $$_ } @aliased ],                               \@all, 'aliased by a loop' );
    is_deeply( [ map { @$_{qw(data next)} } @in_hash ],                \@all, 'in hashes' );
    is_deeply( [ $deep->( $deep, @at ) ],                              \@all, 'in a recursion' );
    is_deeply( [ map { do { $log->read_entry($_) } } @at ],            \@all, 'out of a block' );
    is_deeply( [ map { my @r = $log->read_entry($_); $_ .= '' for @r; @r } @at ], \@all, 'made strings' );
    is_deeply( \@changed, [ map { "$_!" } @all ], 'changed in place' );
    is_deeply( [ map { scalar $log->read_entry($_) } @at ], [ @all[ 1, 3, 5 ] ], 'the last one in scalar context' );
};

# Magic on what was returned made each kept result a third larger than a string is.
subtest 'results are kept as strings and integers of the usual size' => sub {
    my $log = Data::Log::Shared->new( undef, 1000 );
    $log->append($_) for qw(one two);
    my $at = 0;
    for ( 1 .. 2 ) {
        my ( $data, $next ) = $log->read_entry($at);
        my @kinds = map { ref B::svref_2object( \$_ ) } $data, $next;
        is_deeply( \@kinds, [qw(B::PV B::IV)], "the entry at $at" );
        $at = $next;
    }
};

# The position behind an entry stayed tainted for every later reading at the same place of the program.
subtest 'results are tainted by their own arguments only' => sub {
    my ( $status, $out, $err ) = perl_with_log(<<'PROGRAM');
use strict;
use warnings;
use Scalar::Util 'tainted';
use Data::Log::Shared;
exec $^X, '-T', ( map {"-I$_"} grep { !ref } @INC ), $0, 'again' if !@ARGV;
die "no taint mode\n" if !${^TAINT};
my $log = Data::Log::Shared->new( undef, 1000 );
$log->append('entry');
for my $offset ( 0, '0' . substr( $ENV{PATH}, 0, 0 ), 0 ) {
    my @results = $log->read_entry($offset);
    print map { tainted($_) ? 1 : 0 } @results;
    print ' ';
}
PROGRAM
    plan skip_all => 'this perl has no taint mode' if $err =~ /no taint mode|taint support/;
    is_deeply( [ $status, $out, $err ], [ 0, '00 11 00 ', '' ], 'tainted in between' );
};

subtest 'a patience changes nothing about what is there' => sub {
    my $log = Data::Log::Shared->new( undef, 1000 );
    $log->append('here');
    for my $patience ( 0, 1, 20_000, 1e9, 2**63 ) {
        is( ( $log->read_entry( 0, $patience ) )[0], 'here', "with a patience of $patience" );
        is_deeply( [ $log->read_entry( $log->tail_offset, $patience ) ], [], '... nothing at the end' );
    }
};

done_testing;
