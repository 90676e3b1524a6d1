package Data::Log::Shared::Tool::Read;

# cat, and what tail has in common with it.

use 5.026;
use strict;
use warnings;

use Data::Log::Shared::Tool qw(
    GRACE attach bytes_of characters_of colours fail identity json_string reason usage_error warning whole_number
);
use Data::Log::Shared::Tool::Tail ();
use Exporter 'import';
use List::Util qw(min);

our @EXPORT_OK = qw(hole lost_output text_of);

my @OUTPUT = qw(json|j print0|0 format=s offsets|o raw grep|g=s ignore-case|i invert-match|v color|colour=s close-holes);

our %COMMANDS = (
    cat => {
        arguments => [1],
        options   => [ @OUTPUT, qw(from=s to=s limit|n=s) ],
        run       => \&cat,
    },
    tail => {
        arguments => [ 1, 1 ],
        options   => [ @OUTPUT, qw(lines|n=s follow|f F pid=s save=s output=s) ],
        run       => sub { Data::Log::Shared::Tool::Tail->new(@_)->run },
    },
);

sub cat {
    my ( $options, @paths ) = @_;
    my $text   = text_of($options);
    my $from  = defined $options->{from}  ? whole_number( '--from',  $options->{from} )  : undef;
    my $to    = defined $options->{to}    ? whole_number( '--to',    $options->{to} )    : undef;
    my $limit = defined $options->{limit} ? whole_number( '--limit', $options->{limit} ) : 'inf';
    usage_error("--from \"$from\" is not the offset of an entry") if defined $from && $from % 4;
    my $status = 0;
    for my $path (@paths) {
        keep_apart( $path, \*STDOUT );
        my $log = eval { attach( $path, $options->{'close-holes'} ) };
        if ( !$log ) {
            warning($@);
            $status = 1;
            next;
        }
        my $end    = min( $log->tail_offset, $to // 'inf' );
        my $cursor = $log->cursor($from);
        while ( $limit > 0 && $cursor->position < $end ) {
            my $data = $cursor->next(GRACE);
            if ( !defined $data ) {
                hole( $path, $cursor, $options, $from );
                $status = 1;
                last;
            }
            my $offset = $cursor->offset;
            last if $offset >= $end;
            my $line = $text->( $data, $offset, $cursor->position ) // next;
            print $line or return lost_output();
            $limit--;
        }
    }
    return $status;
}

# A log that is appended to as a file, behind its end, is damaged by it.
sub keep_apart {
    my ( $path, $out ) = @_;
    -f $out && identity($path) eq identity($out) and fail("$path: is the output as well");
    return;
}

sub lost_output {
    exit 141 if $!{EPIPE};
    return fail("standard output: $!");
}

sub hole {
    my ( $path, $cursor, $options, $from ) = @_;
    my $at     = $cursor->position;
    my $advice = $options->{'close-holes'} ? '' : '; if its writer is dead, --close-holes passes it';
    $advice = ', or --from is not the offset of one' if $at == ( $from // -1 );
    warning("$path: the entry at $at is unfinished$advice");
    return;
}

# A function that makes of an entry what is to be printed, or undef if it does not match.
sub text_of {
    my ($options) = @_;
    my $colour = colours( $options->{color} );
    my $match  = defined $options->{grep} ? pattern( $options->{grep}, $options->{'ignore-case'} ) : undef;
    my $wanted = matcher( $match, $options->{'invert-match'} );
    return sub { $wanted->( $_[0] ) ? json(@_) : undef }
        if $options->{json};

    if ( defined $options->{format} ) {
        my $parts = format_parts( $options->{format} );
        return sub { $wanted->( $_[0] ) ? join '', map { ref ? $_->(@_) : $_ } @$parts : undef };
    }
    my $end    = $options->{print0} ? "\0" : "\n";
    my $tame   = !$options->{raw} && !$options->{print0} && !defined $options->{output} && -t STDOUT;
    my $marked = $colour && $match && !$options->{'invert-match'};
    return sub {
        my ( $data, $offset ) = @_;
        return if !$wanted->($data);
        my $bytes = bytes_of($data);

        $bytes = tame($bytes) if $tame;
        if ($marked) {
            my $characters = characters_of($bytes) // $bytes;
            $characters =~ s/$match/length $& ? $colour->( 'red', $& ) : ''/ge;
            $bytes = bytes_of($characters);
        }
        return "$bytes$end" if !$options->{offsets};
        return ( $colour ? $colour->( 'green', $offset ) : $offset ) . "\t$bytes$end";
    };
}

# What an entry holds must not drive the terminal.
sub tame {
    my ($bytes) = @_;
    my $control = qr/[\x00-\x08\x0b-\x1f\x7f]/;
    my $unsafe  = defined characters_of($bytes) ? qr/$control|\xc2[\x80-\x9f]/ : qr/$control|[\x80-\xff]/;
    $bytes =~ s/($unsafe)/join '', map { sprintf '\\x%02x', ord } split m(), $1/ge;
    return $bytes;
}

sub pattern {
    my ( $text, $ignore_case ) = @_;
    my $characters = characters_of($text) // $text;
    return eval { $ignore_case ? qr/$characters/i : qr/$characters/ }
        // usage_error( '--grep: ' . reason($@) );
}

sub matcher {
    my ( $match, $invert ) = @_;
    return sub { 1 }
        if !$match;
    return sub {
        my ($data) = @_;
        my $characters = utf8::is_utf8($data) ? $data : characters_of($data) // $data;
        return $characters =~ $match ? !$invert : $invert;
    };
}

sub json {
    my ( $data, $offset ) = @_;
    my $bytes      = bytes_of($data);
    my $characters = characters_of($bytes);
    return qq({"offset":$offset,"data":) . json_string($characters) . "}\n" if defined $characters;
    require MIME::Base64;
    my $encoded = MIME::Base64::encode_base64( $bytes, '' );
    return qq({"offset":$offset,"data":"$encoded","encoding":"base64"}\n);
}

my %FIELD = (
    d => sub { bytes_of( $_[0] ) },
    j => sub { json(@_) =~ s/\n\z//r },
    l => sub { length bytes_of( $_[0] ) },
    n => sub { $_[2] },
    o => sub { $_[1] },
);
my %ESCAPED = ( n => "\n", r => "\r", t => "\t", 0 => "\0", '\\' => '\\' );

sub format_parts {
    my ($format) = @_;
    my @parts;
    while ( $format =~ /\G(?:%(.?)|\\(.?)|([^%\\]+))/gs ) {
        if ( defined $3 ) {
            push @parts, $3;
        }
        elsif ( defined $2 ) {
            push @parts, $ESCAPED{$2} // usage_error("--format: unknown \"\\$2\"");
        }
        else {
            push @parts, $1 eq '%' ? '%' : $FIELD{$1} // usage_error("--format: unknown \"%$1\"");
        }
    }
    return \@parts;
}

1;
