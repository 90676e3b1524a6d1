package Data::Log::Shared::Tool::Write;

# append and truncate.

use 5.026;
use strict;
use warnings;

use Data::Log::Shared;
use Data::Log::Shared::Tool qw(attach_writable fail human option_size reason start_of_last usage_error warning whole_number);

our %COMMANDS = (
    append => {
        arguments => [1],
        options   => [qw(null|0 create|c size|s=s mode|m=s sparse tee|t sync utf8|u)],
        run       => \&append,
    },
    truncate => {
        arguments => [ 1, 2 ],
        options   => [qw(all keep=s)],
        run       => \&truncate_log,
    },
);

sub append {
    my ( $options, $path, @inputs ) = @_;
    usage_error("--$_ goes with --create") for grep { defined $options->{$_} && !$options->{create} } qw(size mode sparse);
    my $log   = $options->{create} ? create( $options, $path ) : attach_writable($path);
    my %count = ( left => 0, empty => 0 );
    my $caught;
    local @SIG{qw(INT TERM)} = ( sub { $caught = shift; die "caught\n" } ) x 2;
    local $/ = $options->{null} ? "\0" : "\n";
    my $done = eval {
        append_from( $options, $path, $log, \%count, \$caught, $_ ) for @inputs ? @inputs : '-';
        1;
    };
    die $@ if !$done && !$caught;
    $log->sync if $options->{sync};
    warning("$path: $count{empty} empty lines were not appended") if $count{empty};
    warning("$path: $count{why}, $count{left} entries were not written") if $count{left};
    if ($caught) {
        $SIG{$caught} = 'DEFAULT';
        kill $caught, $$;
    }
    return $count{left} ? 1 : 0;
}

# What follows the first entry that cannot be written is not written either, so
# that the log holds the beginning of the input and nothing is out of order.
sub append_from {
    my ( $options, $path, $log, $count, $caught, $input ) = @_;
    my $in = \*STDIN;
    if ( $input ne '-' ) {
        open $in, '<', $input or fail("$input: $!");
    }
    binmode $in;
    $| = 1 if $options->{tee};
    while ( defined( my $line = <$in> ) ) {
        if ( $options->{tee} ) {
            print $line or fail("standard output: $!");
        }
        chomp $line;
        if ( !length $line ) {
            $count->{empty}++;
            next;
        }
        utf8::decode($line) if $options->{utf8};
        if ( !$count->{left} ) {
            next if eval { defined $log->append($line) };
            die $@ if $$caught;
            $count->{why} = $@ ? reason($@) =~ s/\A\Q$path\E: //r : 'full';
            warning("$path: $count->{why}, nothing more is written") if !-f $in;
        }
        $count->{left}++;
    }
    my $reason = "$!";
    $in->error and fail("$input: $reason");
    return;
}

sub create {
    my ( $options, $path ) = @_;
    my $size = option_size( size => $options->{size} // '64M' );
    my $mode = $options->{mode} // '0600';
    $mode =~ /\A0?[0-7]{1,3}\z/ or usage_error("--mode \"$mode\" is not an octal number up to 0777");
    return Data::Log::Shared->new( $path, $size, oct $mode, sparse => $options->{sparse} // 0 );
}

sub truncate_log {
    my ( $options, $path, $offset ) = @_;
    usage_error('one of OFFSET, --keep and --all is needed')
        if 1 != grep { defined } $offset, @{$options}{qw(all keep)};
    $offset = whole_number( offset   => $offset )          if defined $offset;
    my $keep = defined $options->{keep} ? whole_number( '--keep', $options->{keep} ) : undef;
    my $log = attach_writable($path);
    $offset //= $options->{all} ? $log->tail_offset : start_of_last( $log, $keep );
    my $now = $log->truncate($offset);
    print "$path: hidden before $now (", human($now), ")\n";
    return 0;
}

1;
