use strict;
use warnings;

use lib 't/lib';
use JSON::PP ();
use LogTest;
use Test::More;
use ToolTest;

use Data::Log::Shared;

my $n = 0;
sub fresh { return scratch( 'repair-' . $n++ ) }

my @texts = map { "entry number $_ " . 'x' x $_ } 1 .. 30;

# A copy of a log with these entries, and their offsets.
sub copy_of_log {
    my ( $options, @entries ) = @_;
    my $path = fresh();
    my $log  = Data::Log::Shared->new( $path, 4000, 0640, %$options );
    my @at   = map { $log->append($_) } @entries ? @entries : @texts;
    return ( spew( fresh(), slurp($path) ), @at, $log->tail_offset );
}

sub entries_of { return [ replay( Data::Log::Shared->new( $_[0], 1 ) ) ] }

subtest 'verify' => sub {
    my $path = fresh();
    my $log  = Data::Log::Shared->new( $path, 4000 );
    my @at   = map { $log->append($_) } @texts;
    is_deeply( [ ( tool( 'verify', $path ) )[ 0, 2 ] ], [ 0, '' ], 'a sound log' );
    like( ( tool( 'verify', $path ) )[1], qr/\A\Q$path\E: in order, 30 entries of /, '... is in order' );
    is_deeply( [ tool( qw(verify -q), $path ) ], [ 0, '', '' ], '... also quietly' );
    patch( $path, 4096 + $at[3] + 12, '!' );
    my ( $status, $out, $err ) = tool( 'verify', $path );
    is( $status, 1, 'a damaged one' );
    my $size = $at[4] - $at[3];
    like( $out, qr/\A\Q$path\E: damaged at $at[3], $size bytes\n\Q$path\E: damaged, 29 entries .* 1 damaged\n\z/, '... says where' );
    my @objects = map { JSON::PP::decode_json($_) } split /\n/, ( tool( qw(verify --json), $path ) )[1];
    is_deeply( $objects[0], { path => $path, kind => 'damaged', offset => $at[3], size => $size }, '... in JSON' );
    is( $objects[1]{damaged}, 1, '... with the counts' );
    is( ( tool( qw(verify -q), $path, "$path.not" ) )[0], 1, 'damage weighs more than what cannot be told' );

    my $head = spew( fresh(), slurp($path) );
    patch( $head, 41, "\xff" );
    is( ( tool( 'verify', $head ) )[0], 1, 'a damaged header is damage' );
    is( ( tool( 'verify', $0 ) )[0],    2, 'another file tells nothing' );
    my ($copy) = copy_of_log( {} );
    ( $status, $out, $err ) = tool( 'verify', $copy );
    is( $status, 2, 'a log that needs recovery' );
    like( $err, qr/needs recovery/, '... says so' );

    patch( $path, 4096 + $at[5], pack 'LL', 1 << 30 | ( $at[6] - $at[5] ) / 4, 0 );
    ( $status, $out ) = tool( 'verify', $path );
    like( $out, qr/unfinished at $at[5],/, 'an unfinished entry is shown' );
};

subtest 'recover' => sub {
    my ( $path, @at ) = copy_of_log( {} );
    patch( $path, 4096 + $at[20] + 12, '!' );
    my $before = slurp($path);
    my ( $status, $out, $err ) = tool( 'recover', $path );
    is_deeply( [ $status, $err ], [ 0, '' ], 'a log that was cut' );
    like( $out, qr/recovered, 20 entries are whole, \d+ bytes at the end were not\n/, '... says what is left' );
    is_deeply( entries_of($path), [ @texts[ 0 .. 19 ] ], '... which is the beginning' );
    is( slurp("$path.bak"), $before, '... and has a backup' );
    is_deeply( [ tool( 'recover', $path ) ], [ 0, "$path: in order, nothing to do\n", '' ], 'again there is nothing to do' );
    ok( !-e "$path.bak.1", '... and no backup' );

    my ($used) = copy_of_log( {} );
    my $log = Data::Log::Shared->new( $used, 1 );
    patch( $used, 4096 + $at[20] + 12, '!' );
    ( $status, $out, $err ) = tool( qw(recover --salvage), $used );
    is( $status, 1, 'a log in use' );
    like( $err, qr/\Alog-shared recover: \Q$used\E: is in use\n\z/, '... is refused' );
    ok( !-e "$used.bak", '... and left alone' );
};

subtest 'salvage' => sub {
    my %damage = (
        'a payload'                 => [ sub { patch( $_[0], 4096 + $_[10] + 12, '!' ) },                     9 ],
        'a length'                  => [ sub { patch( $_[0], 4096 + $_[10], "\xff" ) },                       9 ],
        'a word'                    => [ sub { patch( $_[0], 4096 + $_[10], "\0" x 4 ) },                     9 ],
        'some entries, zeroed'      => [ sub { patch( $_[0], 4096 + $_[10], "\0" x ( $_[14] - $_[10] ) ) },   9 .. 12 ],
        'some entries, overwritten' => [ sub { patch( $_[0], 4096 + $_[10], "\xa5" x ( $_[14] - $_[10] ) ) }, 9 .. 12 ],
        'the first entry'           => [ sub { patch( $_[0], 4096, "\xff" x 20 ) },                           0 ],
        'the last entry'            => [ sub { patch( $_[0], 4096 + $_[30] + 12, '!' ) },                     29 ],
        'two of them'               => [ sub { patch( $_[0], 4096 + $_[$_] + 12, '!' ) for 10, 20 },          9, 19 ],
        'the tail'                  => [ sub { patch( $_[0], 128,  "\xff" x 7 ) } ],
        'the synced mark'           => [ sub { patch( $_[0], 400,  "\xff" x 8 ) } ],
        'the identity'              => [ sub { patch( $_[0], 40,   "\xff" x 20 ) } ],
        'the header'                => [ sub { patch( $_[0], 0,    "\0" x 4096 ) } ],
        'the header, and more'      => [ sub { patch( $_[0], 0,    "\xff" x ( 4096 + $_[3] - 4 ) ) },          0, 1 ],
        'the end of the file'       => [ sub { truncate $_[0], 4096 + $_[25] + 20 or die $! },                24 .. 29 ],
    );
    for my $what ( sort keys %damage ) {
        my ( $path, @at ) = copy_of_log( {} );
        my ( $destroy, @lost ) = @{ $damage{$what} };
        $destroy->( $path, @at );
        my $before = slurp($path);
        my ( $status, $out, $err ) = tool( qw(recover --salvage), $path );
        is_deeply( [ $status, $err ], [ 0, '' ], "$what is damaged" );
        my %lost = map { $_ => 1 } @lost;
        is_deeply( entries_of($path), [ @texts[ grep { !$lost{$_} } 0 .. 29 ] ], '... every whole entry is kept' );
        is( slurp("$path.bak"), $before, '... and there is a backup' );
    }
};

subtest 'what a salvaged log is like' => sub {
    my @entries = ( "caf\xe9 \x{263a}", "\xff\xfe", ( map { "text $_" } 1 .. 10 ) );
    my ( $path, @at ) = copy_of_log( {}, @entries );
    chmod 0640, $path;
    Data::Log::Shared->new( $path, 1 )->truncate( $at[3] );
    patch( $path, 4096 + $at[5] + 9, '!' );
    my ( $status, $out ) = tool( qw(recover --salvage --backup), "$path.kept", $path );
    is( $status,                    0,    'it is made' );
    is( ( stat $path )[2] & 07777,  0640, '... with the old mode' );
    like( $out, qr/lost at $at[5], /, '... telling what is lost' );
    ok( -e "$path.kept", '... with a backup where it was wanted' );
    my $log = Data::Log::Shared->new( $path, 1 );
    is( $log->data_size, 4000, '... with the old size' );
    is_deeply( [ replay($log) ], [ @entries[ 3, 4, 6 .. 11 ] ], '... what was hidden is hidden' );
    is_deeply( $log->verify->{damaged}, 0, '... and nothing damaged' );

    my ($characters) = copy_of_log( {}, @entries );
    patch( $characters, 4096 + $at[5] + 9, '!' );
    tool( qw(recover --salvage --no-backup), $characters );
    is_deeply( [ ( replay( Data::Log::Shared->new( $characters, 1 ) ) )[ 0, 1 ] ], [ @entries[ 0, 1 ] ], 'characters stay characters' );
    ok( !-e "$characters.bak", 'no backup if none is wanted' );
};

subtest 'salvage without checksums' => sub {
    my ( $path, @at ) = copy_of_log( { checksum => 0 } );
    patch( $path, 4096 + $at[10], "\xff\xff\xff\xff" );
    my ( $status, $out, $err ) = tool( qw(recover --salvage), $path );
    is( $status, 0, 'goes by the structure' );
    is_deeply( entries_of($path), [ @texts[ grep { $_ != 10 } 0 .. 29 ] ], '... and finds the others' );
};

subtest 'a dead writer and a salvage' => sub {
    my ( $path, @at ) = copy_of_log( {} );
    patch( $path, 4096 + $at[10], pack 'LL', 1 << 30 | ( $at[11] - $at[10] ) / 4, 0 );
    patch( $path, 400, "\xff" x 8 );
    is( ( tool( qw(recover --salvage), $path ) )[0], 0, 'an unfinished entry' );
    is_deeply( entries_of($path), [ @texts[ grep { $_ != 10 } 0 .. 29 ] ], '... is passed' );
};

subtest 'batches and a salvage' => sub {
    my $path = fresh();
    my $log  = Data::Log::Shared->new( $path, 4000 );
    my @at   = $log->append_multi( @texts[ 0 .. 9 ] );
    $log->append_multi( @texts[ 10 .. 19 ] );
    undef $log;
    for my $header ( 0, 1 ) {
        my $copy = spew( fresh(), slurp($path) );
        patch( $copy, 4096 + $at[4] + 12, '!' );
        patch( $copy, 0, "\0" x 4096 ) if $header;
        tool( qw(recover --salvage), $copy );
        is_deeply( entries_of($copy), [ @texts[ grep { $_ != 4 } 0 .. 19 ] ], 'of a batch all that is whole is kept' );

        # The first member was never committed, and nothing tells where it ends.
        $copy = spew( fresh(), slurp($path) );
        patch( $copy, 4096, "\0" x 8 );
        patch( $copy, 0, "\0" x 4096 ) if $header;
        tool( qw(recover --salvage), $copy );
        is_deeply( entries_of($copy), [ @texts[ 10 .. 19 ] ], 'one that was never finished does not appear' );
    }
};

subtest 'closed places and a salvage' => sub {
    my $used = fresh();
    my $log  = Data::Log::Shared->new( $used, 4000 );
    my @at   = map { $log->append($_) } @texts;
    patch( $used, 4096 + $at[10], pack 'LL', 1 << 30 | ( $at[11] - $at[10] ) / 4, 0 );
    Data::Log::Shared->new( $used, 1 )->each_entry( sub { }, undef, 0 );
    undef $log;
    patch( $used, 4096 + $at[20] + 12, '!' );
    my ( $status, $out ) = tool( qw(recover --salvage), $used );
    is_deeply( entries_of($used), [ @texts[ grep { $_ != 10 && $_ != 20 } 0 .. 29 ] ], 'are passed' );
    like( $out, qr/, 1 places of/, '... and are no loss' );
};

# The bytes of a foreign log.
sub foreign {
    my ( $magic, $data, $truncation, $size, $mode ) = @_;
    my $head = pack 'L x4 Q x48 Q x40 Q Q', $magic, $size // 4000, length $data, $truncation // 0, 0;
    return spew( fresh(), $head . $data . "\0" x ( ( $size // 4000 ) - length $data ) );
}

sub padded { my ($bytes) = @_; return $bytes . "\0" x ( -length($bytes) % 4 ) }

my @old = ( 'one', 'three', "\xff\xfe", 'x' x 100, 'last' );
my ( $LOG1, $LOG2 ) = ( 0x4c4f4731, 0x4c4f4732 );

subtest 'upgrade' => sub {
    my %log1 = (
        'LOG1, padded'   => join( '', map { padded( pack 'L/a', $_ ) } @old ),
        'LOG1, unpadded' => join( '', map { pack 'L/a', $_ } @old ),
    );
    my %log2 = (
        'LOG2, whole sizes' => join( '', map { pack( 'LL', 8 + length padded($_), length ) . padded($_) } @old ),
        'LOG2, inner sizes' => join( '', map { pack( 'LL', length padded($_), length ) . padded($_) } @old ),
    );
    for my $what ( sort keys %log1, keys %log2 ) {
        my $file = foreign( $log1{$what} ? $LOG1 : $LOG2, $log1{$what} // $log2{$what} );
        my ( $before, $new ) = ( slurp($file), fresh() );
        my ( $status, $out, $err ) = tool( 'upgrade', $file, $new );
        is_deeply( [ $status, $err ], [ 0, '' ], $what );
        like( $out, qr/5 entries of .* had format LOG[12]/, '... says what it did' );
        is_deeply( entries_of($new), \@old, '... has all entries' );
        is( slurp($file), $before, '... and leaves the old log alone' );
    }
    my ( $first, $characters ) = ( 'one', "\xe2\x98\xba" );
    my $data = pack( 'LL', 12, 3 ) . padded($first) . pack( 'LL', 12, 0 ) . "\0" x 4
        . pack( 'LL', 12, 3 | 1 << 31 ) . padded($characters);
    my $new = fresh();
    is( ( tool( 'upgrade', foreign( $LOG2, $data, 24 ), $new ) )[0], 0, 'LOG2 with an unfinished entry' );
    my $log = Data::Log::Shared->new( $new, 1 );
    is( $log->entry_count, 2, '... has the others' );
    is_deeply( [ replay($log) ], ["\x{263a}"], '... characters, and what was hidden is hidden' );

    $new = fresh();
    my $tight = foreign( $LOG1, join( '', map { pack 'L/a', $_ } ('a') x 10 ), 0, 50 );
    is( ( tool( 'upgrade', $tight, $new ) )[0], 0, 'entries that take more room now' );
    is( scalar @{ entries_of($new) }, 10, '... get it' );
    my ( $status, $out, $err ) = tool( qw(upgrade --size 60), $tight, fresh() );
    is( $status, 1, '... but for a size that is too small' );
    is( ( tool( qw(upgrade --size 1M --mode 0644), $tight, my $large = fresh() ) )[0], 0, 'another size and mode' );
    is_deeply( [ -s $large, ( stat $large )[2] & 07777 ], [ 4096 + 2**20, 0644 ], '... are used' );
};

subtest 'upgrade of what it cannot read' => sub {
    my $hole = foreign( $LOG1, padded( pack 'L/a', 'one' ) . "\0" x 12 . padded( pack 'L/a', 'behind' ) );
    my $new  = fresh();
    my ( $status, $out, $err ) = tool( 'upgrade', $hole, $new );
    is( $status, 1, 'an unfinished entry of LOG1' );
    like( $err, qr/the entry at 8 was never finished.*--partial/, '... is an error' );
    ok( !-e $new, '... and nothing is made' );
    ( $status, $out, $err ) = tool( qw(upgrade --partial), $hole, $new );
    is( $status, 0, '... unless a part will do' );
    is_deeply( entries_of($new), ['one'], '... which is what is before it' );

    ( $status, $out, $err ) = tool( 'upgrade', $hole, $new );
    like( $err, qr/is there already/, 'nothing is overwritten' );
    my $own = fresh();
    Data::Log::Shared->new( $own, 1000 );
    my $lying = foreign( $LOG2, '', 0 );
    patch( $lying, 64, pack 'Q', 1 << 40 );
    for ( [ $own, 'of neither format' ], [ $lying, 'contradict' ], [ "$own.not", 'No such file' ] ) {
        my ( $file, $pattern ) = @$_;
        my $never = fresh();
        ( $status, $out, $err ) = tool( 'upgrade', $file, $never );
        is( $status, 1, $pattern );
        like( $err, qr/\Alog-shared upgrade: [^\n]*$pattern[^\n]*\n\z/, '... is said' );
        ok( !-e $never, '... and nothing is made' );
    }
};

done_testing;
