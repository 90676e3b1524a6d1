package Data::Log::Shared::Tool::Format;

# Logs as bytes of a file, read without mapping them: the header, and all that
# is whole in a damaged one. "FILE FORMAT" in Data::Log::Shared explains it; the
# places are kept here alone.

use 5.026;
use strict;
use warnings;

use Data::Log::Shared::Tool qw(fail);
use Fcntl                   qw(O_RDONLY);

use constant {
    MAGIC       => "\x7fDLShm\r\n",
    HEADER_SIZE => 4096,
    ORDER_MARK  => 0x01020304,
    UNIT        => 4,
    EMPTY       => 0,
    RESERVED    => 1,
    COMMITTED   => 2,
    SEALED      => 3,
    UTF8        => 1 << 29,
    MORE        => 1 << 28,
    LATER       => unpack( 'N', 'more' ),
    VALUE       => ( 1 << 28 ) - 1,
    WINDOW      => 1 << 20,
};

my %PLACE = (
    order_mark   => [ 8,   'L' ],
    word_bits    => [ 12,  'L' ],
    version      => [ 16,  'L' ],
    incompatible => [ 32,  'Q' ],
    data_size    => [ 40,  'Q' ],
    flags        => [ 48,  'Q' ],
    salt         => [ 56,  'Q' ],
    checksum     => [ 124, 'L' ],
    tail         => [ 128, 'Q' ],
    truncation   => [ 384, 'Q' ],
    generation   => [ 392, 'Q' ],
    hole         => [ 416, 'Q' ],
    boot_high    => [ 512, 'Q' ],
    boot_low     => [ 520, 'Q' ],
    device       => [ 528, 'Q' ],
    inode        => [ 536, 'Q' ],
    born         => [ 544, 'Q' ],
);

# The lower bits of the fields that check themselves.
use constant CHECKED_VALUE => ( 1 << 37 ) - 1;

my @TABLE = map {
    my $value = $_;
    $value = $value & 1 ? $value >> 1 ^ 0x82f63b78 : $value >> 1 for 1 .. 8;
    $value;
} 0 .. 255;
my @FROM_TOP;
$FROM_TOP[ $TABLE[$_] >> 24 ] = $_ for 0 .. 255;

# CRC-32C of what $crc is that of, followed by the bytes.
sub crc32c {
    my ( $crc, $bytes ) = @_;
    $crc ^= 0xffffffff;
    $crc = $TABLE[ ( $crc ^ $_ ) & 0xff ] ^ $crc >> 8 for unpack 'C*', $bytes;
    return $crc ^ 0xffffffff;
}

# The other way: of what comes before the bytes, if all together have $crc.
sub crc32c_before {
    my ( $crc, $bytes ) = @_;
    $crc ^= 0xffffffff;
    for ( reverse unpack 'C*', $bytes ) {
        my $index = $FROM_TOP[ $crc >> 24 ];
        $crc = ( ( $crc ^ $TABLE[$index] ) << 8 | ( $index ^ $_ ) ) & 0xffffffff;
    }
    return $crc ^ 0xffffffff;
}

sub open_file {
    my ($path) = @_;
    sysopen my $file, $path, O_RDONLY or fail("$path: $!");
    binmode $file;
    return $file;
}

# Undef if the header is not one that can be believed.
sub header {
    my ($path) = @_;
    my $file = open_file($path);
    my $page = '';
    read $file, $page, HEADER_SIZE;
    return parse_header($page);
}

sub parse_header {
    my ($page) = @_;
    return if length $page < HEADER_SIZE || substr( $page, 0, 8 ) ne MAGIC;
    my %is     = map { $_ => unpack "\@$PLACE{$_}[0] $PLACE{$_}[1]", $page } keys %PLACE;
    my $before = $PLACE{checksum}[0];
    return if $is{order_mark} != ORDER_MARK || $is{version} != 1;
    return if crc32c( 0, substr $page, 8, $before - 8 ) != $is{checksum};
    $is{checksums}   = $is{incompatible} & 1;
    $is{sparse}      = $is{flags} & 1;
    $is{truncation}  = ( $is{truncation} & CHECKED_VALUE ) * UNIT;
    $is{boot_id}     = join '-', unpack 'A8A4A4A4A12', sprintf '%016x%016x', @is{qw(boot_high boot_low)};
    $is{last_offset} = ( $is{tail} >> 28 ) * UNIT;
    $is{last_size}   = ( $is{tail} & VALUE ) * UNIT;
    return \%is;
}

# Reads a file forwards, mostly, through a window.
package Data::Log::Shared::Tool::Format::Bytes;

use Data::Log::Shared::Tool qw(fail);

use constant WINDOW => Data::Log::Shared::Tool::Format::WINDOW;

sub new {
    my ( $class, $path ) = @_;
    my $file = Data::Log::Shared::Tool::Format::open_file($path);
    return bless { path => $path, file => $file, length => -s $file, at => 0, window => '' }, $class;
}

sub length_of_file { return $_[0]{length} }

# The bytes from $at on, fewer at the end of the file.
sub bytes {
    my ( $self, $at, $length ) = @_;
    my $inside = $at - $self->{at};
    if ( $inside < 0 || $inside + $length > length $self->{window} ) {
        $self->{at} = $at;
        $inside = 0;
        sysseek $self->{file}, $at, 0 or fail("$self->{path}: $!");
        my $wanted = $length > WINDOW ? $length : WINDOW;
        $self->{window} = '';
        while ( $wanted > length $self->{window} ) {
            my $got = sysread $self->{file}, $self->{window}, $wanted - length $self->{window}, length $self->{window};
            defined $got or fail("$self->{path}: $!");
            last if !$got;
        }
    }
    return substr $self->{window}, $inside, $length;
}

# Where the first byte that is not zero lies, at or behind $at; undef if there is none.
sub used_from {
    my ( $self, $at ) = @_;
    while ( $at < $self->{length} ) {
        my $bytes = $self->bytes( $at, WINDOW );
        return $at + $-[0] if $bytes =~ /[^\0]/;
        $at += length $bytes;
    }
    return;
}

# Goes through a damaged log and finds every entry that is whole.
package Data::Log::Shared::Tool::Format::Salvage;

use constant {
    map { $_ => Data::Log::Shared::Tool::Format->can($_)->() }
        qw(HEADER_SIZE UNIT WINDOW EMPTY RESERVED COMMITTED SEALED UTF8 MORE LATER VALUE)
};
use List::Util qw(max min);

BEGIN {
    *crc32c        = \&Data::Log::Shared::Tool::Format::crc32c;
    *crc32c_before = \&Data::Log::Shared::Tool::Format::crc32c_before;
}

sub new {
    my ( $class, $path ) = @_;
    my $bytes  = Data::Log::Shared::Tool::Format::Bytes->new($path);
    my $header = Data::Log::Shared::Tool::Format::parse_header( $bytes->bytes( 0, HEADER_SIZE ) );
    my $room   = max( 0, $bytes->length_of_file - HEADER_SIZE );
    my $size   = $header ? $header->{data_size} : $room;
    my $self   = bless {
        bytes  => $bytes,
        header => $header,
        size   => $size,
        end    => min( $size, $room ) & ~( UNIT - 1 ),
        at     => 0,
        lost   => [],
    }, $class;
    $self->{budget} = 8 * $self->{end};
    $self->{before} =
          !$header             ? $self->vote
        : $header->{checksums} ? crc32c( 0, pack 'QL', $header->{salt}, $header->{generation} & 0xffffffff )
        :                        undef;
    return $self;
}

sub header    { return $_[0]{header} }
sub size      { return $_[0]{size} }
sub at        { return $_[0]{at} }
sub end       { return $_[0]{end} }
sub checksums { return defined $_[0]{before} }

# Pairs of offset and size.
sub lost { return @{ $_[0]{lost} } }

# State, value, word, aux and size in bytes of the slot at $at; nothing if it cannot be one.
sub slot {
    my ( $self, $at ) = @_;
    return if $at + 3 * UNIT > $self->{end};
    my ( $word, $aux ) = unpack 'LL', $self->{bytes}->bytes( HEADER_SIZE + $at, 2 * UNIT );
    my ( $state, $value ) = ( $word >> 30, $word & VALUE );

    # The size of a closed slot is inverted, and its word has an odd number of ones.
    if ( $state == SEALED ) {
        return if unpack( '%32b*', pack 'L', $word ) % 2 == 0;
        $value ^= VALUE;
    }
    my $size = $state == COMMITTED ? ( 2 * UNIT + $value + UNIT - 1 ) & ~( UNIT - 1 ) : $value * UNIT;
    return if !$value || $at + $size > $self->{end} || $state == EMPTY;
    return ( $state, $value, $word, $aux, $size );
}

sub payload {
    my ( $self, $at, $length ) = @_;
    return $self->{bytes}->bytes( HEADER_SIZE + $at + 2 * UNIT, $length );
}

# What every checksum of a log begins with depends on its salt and generation
# alone. Without a header the entries tell it: those that are whole agree.
sub vote {
    my ($self) = @_;
    my %votes;
    my ( $at, $budget, $most, $is_later ) = ( 0, 1 << 20, 0, 0 );
    while ( $at < $self->{end} && $budget > 0 && $most < 8 ) {
        my ( $state, $length, $word, $aux, $size ) = $self->slot($at);
        $budget -= UNIT;
        if ( !defined $state || $size > 1 << 16 ) {
            ( $at, $is_later ) = ( $at + UNIT, 0 );
            next;
        }
        if ( $state == COMMITTED ) {
            my $sum = $is_later ? $aux ^ LATER : $aux;
            my $crc = crc32c_before( $sum, pack( 'QL', $at / UNIT, $word ) . $self->payload( $at, $length ) );
            $most = max( $most, ++$votes{$crc} );
            $budget -= $size;
        }
        $is_later = $state == COMMITTED && $word & MORE;
        $at += $size;
    }
    return if $most < 2;
    return ( grep { $votes{$_} == $most } keys %votes )[0];
}

# The payload of the entry at $at if it is whole. A guess must not be a later
# member of a batch, which may be one that was never finished; and without
# checksums it must lead on, where the walk itself has nothing better to go by.
sub intact {
    my ( $self, $is_guess, $at, $state, $length, $word, $aux, $size ) = @_;
    return if $state != COMMITTED;
    my $payload = $self->payload( $at, $length );
    if ( defined $self->{before} ) {
        $self->{budget} -= $size;
        my $differs = $aux ^ crc32c( $self->{before}, pack( 'QL', $at / UNIT, $word ) . $payload );
        return if $differs && ( $is_guess || $differs != LATER );
    }
    elsif ($is_guess) {
        return if !$self->leads_on( $at + $size, 8 );
    }
    return $payload;
}

# Whether the walk may go on at $at: a whole entry is there, or a chain of closed slots.
sub goes_on {
    my ( $self, $at ) = @_;
    my @slot = $self->slot($at) or return 0;
    return $slot[0] == COMMITTED ? defined $self->intact( 0, $at, @slot ) : $self->leads_on( $at, 8 );
}

# Whether slots seem to follow, as far as their sizes tell.
sub leads_on {
    my ( $self, $at, $steps ) = @_;
    while ( $steps-- > 0 && $at + 3 * UNIT <= $self->{end} ) {
        my ( $state, undef, undef, undef, $size ) = $self->slot($at);
        return !defined $self->{bytes}->used_from( HEADER_SIZE + $at ) if !defined $state;
        $at += $size;
    }
    return 1;
}

# The next whole entry: payload, whether it is UTF-8, offset. Nothing at the end.
sub next_entry {
    my ($self) = @_;
    while (1) {
        my $at   = $self->{at};
        my @slot = $self->slot($at);
        if ( @slot && $slot[0] == COMMITTED ) {
            my $payload = $self->intact( 0, $at, @slot );
            if ( defined $payload ) {
                $self->{at} = $at + $slot[4];
                return ( $payload, !!( $slot[2] & UTF8 ), $at );
            }
            if ( $self->goes_on( $at + $slot[4] ) ) {
                push @{ $self->{lost} }, [ $at, $slot[4] ];
                $self->{at} = $at + $slot[4];
                next;
            }
        }
        elsif ( @slot && $self->{budget} > 0 && $self->leads_on( $at + $slot[4], 8 ) ) {
            push @{ $self->{lost} }, [ $at, $slot[4] ] if $slot[0] == RESERVED;
            $self->{at} = $at + $slot[4];
            next;
        }
        my $next = $self->search($at);
        my $used = $next // $self->end_of_use($at);
        push @{ $self->{lost} }, [ $at, $used - $at ] if $used > $at;
        $self->{at} = $next // $self->{end};
        return if !defined $next;
    }
    return;
}

# The first whole entry behind $at. Most words are none of an entry, and are passed in bulk.
sub search {
    my ( $self, $at ) = @_;
    while ( ( $at += UNIT ) < $self->{end} && $self->{budget} > 0 ) {
        my $used = $self->{bytes}->used_from( HEADER_SIZE + $at ) // return;
        $at = ( $used - HEADER_SIZE ) & ~( UNIT - 1 );
        my @slot = $self->slot($at) or next;
        return $at if defined $self->intact( 1, $at, @slot );
    }
    return;
}

sub end_of_use {
    my ( $self, $at ) = @_;
    my $end = $at;
    while ( defined( my $used = $self->{bytes}->used_from( HEADER_SIZE + $end ) ) ) {
        my $bytes = $self->{bytes}->bytes( $used, WINDOW );
        $bytes =~ s/\0+\z//;
        $end = $used + length($bytes) - HEADER_SIZE;
    }
    return min( ( $end + UNIT - 1 ) & ~( UNIT - 1 ), $self->{end} );
}

1;
