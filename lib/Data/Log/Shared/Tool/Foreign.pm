package Data::Log::Shared::Tool::Foreign;

# Logs of the older formats of another implementation, LOG1 and LOG2, read as
# bytes of a file in native byte order:
#
#       0  u32  "LOG1" or "LOG2" as a number
#       8  u64  bytes of data
#      64  u64  tail
#     112  u64  truncation
#     128       data
#
#     entry of LOG1    u32 length, data; padded to 4 in later files only
#     entry of LOG2    u32 size of the slot, u32 length (bit 31: UTF-8), data padded to 4
#
# Nothing says whether a LOG1 is padded, and whether the size of a slot counts
# its eight bytes. Only one reading ends exactly at the tail. A length of 0 is
# an entry that was never finished.

use 5.026;
use strict;
use warnings;

use Data::Log::Shared::Tool         qw(fail);
use Data::Log::Shared::Tool::Format ();
use List::Util                      qw(max);

use constant { DATA => 128, UTF8 => 1 << 31 };

my %FORMAT = ( 0x4c4f4731 => 'LOG1', 0x4c4f4732 => 'LOG2' );

sub padded { return ( $_[0] + 3 ) & ~3 }

# Of a slot from its first eight bytes: length, whether it is UTF-8, bytes before
# the data, bytes of all; nothing if there is none.
sub log1 {
    my ( $size_of, $length ) = @_;
    return ( $length, 0, 4, $length ? $size_of->( 4 + $length ) : 0 );
}

sub log2 {
    my ( $own, $size, $word ) = @_;
    my $length = $word & ~UTF8;
    return if $length && $size + $own != 8 + padded($length);
    return ( $length, !!( $word & UTF8 ), 8, $size ? $size + $own : 0 );
}

my %READINGS = (
    LOG1 => [ sub { log1( \&padded, @_ ) }, sub { log1( sub { $_[0] }, @_ ) } ],
    LOG2 => [ sub { log2( 0, @_ ) }, sub { log2( 8, @_ ) } ],
);

sub new {
    my ( $class, $path ) = @_;
    my $bytes = Data::Log::Shared::Tool::Format::Bytes->new($path);
    my $head  = $bytes->bytes( 0, DATA );
    my $format = length $head < 4 ? undef : $FORMAT{ unpack 'L', $head };
    $format                or fail("$path: is of neither format LOG1 nor LOG2");
    length $head == DATA   or fail("$path: too small for a log of format $format");
    my ( $size, $tail, $truncation ) = unpack '@8 Q @64 Q @112 Q', $head;
    $size <= $bytes->length_of_file - DATA && $tail <= $size
        or fail("$path: the header's sizes contradict each other or the file");
    my $self = bless {
        path => $path, bytes => $bytes, format => $format, size => $size, tail => $tail, truncation => $truncation
    }, $class;

    # The best is the one that comes furthest; a tie means that they agree.
    my @walks = sort { $b->{end} <=> $a->{end} || $b->{entries} <=> $a->{entries} }
        map { $self->walk($_) } @{ $READINGS{$format} };
    my @whole = grep { $_->{end} == $tail } @walks;
    @{$self}{qw(reading needed gap)} = @{ ( @whole, @walks )[0] }{qw(reading needed gap)};
    return $self;
}

sub format      { return $_[0]{format} }
sub size        { return $_[0]{size} }
sub tail        { return $_[0]{tail} }
sub truncation  { return $_[0]{truncation} }
sub size_needed { return max( 1, $_[0]{needed} ) }

# Where a walk has to stop before the tail, or undef.
sub gap { return $_[0]{gap} }

sub walk {
    my ( $self, $reading, $callback ) = @_;
    my %walk = ( reading => $reading, end => 0, needed => 0, entries => 0, gap => undef );
    my ( $at, $tail, $bytes ) = ( 0, @{$self}{qw(tail bytes)} );
    while ( $at < $tail ) {
        my ( $length, $utf8, $before, $size ) =
            $reading->( unpack 'LL', $bytes->bytes( DATA + $at, 8 ) . "\0" x 8 );
        if ( !$size || $at + $size > $tail ) {
            $walk{gap} = $at;
            last;
        }
        if ($length) {
            $walk{entries}++;
            $walk{needed} += 8 + padded($length);
            $callback->( $bytes->bytes( DATA + $at + $before, $length ), $utf8, $at ) if $callback;
        }
        $at += $size;
    }
    $walk{end} = $at;
    return \%walk;
}

sub each_entry {
    my ( $self, $callback ) = @_;
    $self->walk( $self->{reading}, $callback );
    return;
}

1;
