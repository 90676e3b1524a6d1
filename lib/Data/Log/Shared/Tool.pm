package Data::Log::Shared::Tool;

# What the commands of log-shared have in common. Each module below
# Data::Log::Shared::Tool has a hash %COMMANDS: name => { arguments, options,
# run }, where run gets the options and the arguments and returns the exit
# status.

use 5.026;
use strict;
use warnings;

use Exporter 'import';
use Fcntl        qw(O_NOFOLLOW O_RDONLY O_RDWR O_WRONLY);
use Getopt::Long ();
use Time::HiRes  qw(time);

use Data::Log::Shared;

our @EXPORT_OK = qw(
    GRACE attach attach_writable bytes_of characters_of colours fail human identity json_string option_size progress reason
    start_of_last usage_error warning whole_number
);

# How long a reader stands before an unfinished entry until it gives up.
use constant GRACE => 0.25;

my %MODULE_OF = (
    ( map { $_ => 'Read' } qw(cat tail) ),
    ( map { $_ => 'Write' } qw(append truncate) ),
    ( map { $_ => 'Check' } qw(stat verify) ),
    ( map { $_ => 'Repair' } qw(recover upgrade) ),
    bench      => 'Bench',
    completion => 'Completion',
);

my $name   = 'log-shared';
my $warned = '';

sub command_names { return sort keys %MODULE_OF }

sub command {
    my ($command) = @_;
    my $module = 'Data::Log::Shared::Tool::' . $MODULE_OF{$command};
    eval "require $module" or die $@;
    no strict 'refs';
    return ${"${module}::COMMANDS"}{$command};
}

sub main {
    my (@arguments) = @_;
    $SIG{PIPE} = 'DEFAULT';
    hold_standard_handles();
    binmode $_ for *STDIN, *STDOUT, *STDERR;
    my $parser = Getopt::Long::Parser->new( config => [qw(gnu_getopt no_ignore_case require_order)] );
    my %options;
    my $status = eval {
        parse( $parser, \@arguments, \%options, qw(help|h version|V) );
        return help()    if $options{help};
        return version() if $options{version};
        my $command = shift @arguments // usage_error('a command is missing');
        return help(@arguments) if $command eq 'help';
        $MODULE_OF{$command} or usage_error("unknown command \"$command\"");
        $name = "log-shared $command";
        my $is = command($command);
        $parser->configure('permute');
        parse( $parser, \@arguments, \%options, qw(help|h version|V), @{ $is->{options} } );
        return help($command) if $options{help};
        return version()      if $options{version};
        my ( $least, $most ) = @{ $is->{arguments} };
        usage_error('an argument is missing') if @arguments < $least;
        usage_error("extra argument \"$arguments[$most]\"") if defined $most && @arguments > $most;
        $is->{run}->( \%options, @arguments );
    };
    if ( !defined $status ) {
        my $error = $@;
        $status = ref $error ? $error->{status} : 1;
        warning($error);
    }
    if ( !close STDOUT ) {
        exit 141 if $!{EPIPE};
        my $error = "standard output: $!";
        warning($error) if $error ne $warned;
        $status ||= 1;
    }
    return $status;
}

# In the place of a standard handle that is closed the next file that is opened
# would be read, or written to: this program itself, or a log.
sub hold_standard_handles {
    my $program = fileno( \*main::DATA ) // 3;
    return if $program > 2 && stat STDIN && stat STDOUT && stat STDERR;
    require POSIX;
    POSIX::close($program) if $program <= 2;
    for my $handle ( 0 .. 2 ) {
        my $got = POSIX::open( '/dev/null', $handle == 0 ? O_WRONLY : O_RDONLY ) // last;
        next if $got == $handle;
        POSIX::close($got);
    }
    return;
}

sub parse {
    my ( $parser, $arguments, $options, @specification ) = @_;
    local $SIG{__WARN__} = sub { usage_error( lcfirst $_[0] ) };
    $parser->getoptionsfromarray( $arguments, $options, @specification );
    return;
}

sub help {
    my ($command) = @_;
    usage_error("unknown command \"$command\"") if defined $command && !$MODULE_OF{$command};
    require Pod::Usage;
    my @sections = defined $command ? "COMMANDS/$command" : ( 'SYNOPSIS', 'OPTIONS' );
    Pod::Usage::pod2usage(
        -input    => $0,
        -output   => \*STDOUT,
        -exitval  => 'NOEXIT',
        -verbose  => 99,
        -sections => \@sections,
    );
    return 0;
}

sub version {
    print "log-shared (Data::Log::Shared) $Data::Log::Shared::VERSION\n";
    return 0;
}

# An exception without what only a programmer wants to know.
sub reason {
    my $error = ref $_[0] ? $_[0]{message} : $_[0];
    $error =~ s/\AData::Log::Shared\S*: //;
    $error =~ s/ at (?:(?! at ).)+? line \d+(?:, <\S+> (?:line|chunk) \d+)?\.?\s*\z//;
    return $error;
}

# Always one line.
sub warning {
    my $message = reason(@_);
    $message =~ s/\s+\z//;
    $message =~ s/\s*\n\s*/ /g;
    print STDERR "$name: $message\n";
    $warned = $message;
    return;
}

sub fail {
    my ( $message, $status ) = @_;
    die { message => $message, status => $status // 1 };
}

sub usage_error {
    my ($message) = @_;
    $message =~ s/\s+\z//;
    return fail( "$message; try \"$name --help\"", 2 );
}

sub attach {
    my ( $path, $writable ) = @_;
    return $writable ? attach_writable($path) : Data::Log::Shared->new_readonly($path);
}

# Unlike new this never makes a log.
sub attach_writable {
    my ($path) = @_;
    lstat $path or fail("$path: $!");
    -f _        or fail( "$path: " . ( -l _ ? 'is a symlink, which is not followed' : 'not a regular file' ) );
    sysopen my $file, $path, O_RDWR | O_NOFOLLOW or fail("$path: $!");
    return eval { Data::Log::Shared->new_from_fd( fileno $file ) }
        // fail( "$path: " . reason($@) );
}

# Of a file, by its path or handle.
sub identity {
    my ($file) = @_;
    my ( $device, $inode ) = stat $file or return '';
    return "$device:$inode";
}

# Where the last so many entries begin. Slots have no way back, so this is one
# pass that keeps the offsets of the last.
sub start_of_last {
    my ( $log, $wanted ) = @_;
    my ( $n, $end, @last ) = ( 0, undef );
    my $tail = $log->tail_offset;
    do {
        $end = $log->each_entry( sub { $last[ $n++ % $wanted ] = $_[1] if $wanted }, $end );
    } while $end < $tail && defined $log->cursor($end)->next(GRACE);
    return $n > $wanted ? $last[ $n % $wanted ] : $last[0] // $end;
}

sub bytes_of {
    my ($data) = @_;
    utf8::encode($data) if utf8::is_utf8($data);
    return $data;
}

# Undef if the bytes are not UTF-8.
sub characters_of {
    my ($bytes) = @_;
    return $bytes if $bytes !~ /[^\x00-\x7f]/;
    require Encode;
    return eval { Encode::decode( 'UTF-8', $bytes, Encode::FB_CROAK() ) };
}

# Much faster than JSON::PP, and used for every entry.
sub json_string {
    my ($characters) = @_;
    $characters =~ s/(["\\])/\\$1/g;
    $characters =~ s/([\x00-\x1f\x7f])/sprintf '\\u%04x', ord $1/ge;
    return bytes_of(qq("$characters"));
}

my %FACTOR = ( '' => 1, K => 2**10, M => 2**20, G => 2**30, T => 2**40 );

sub option_size {
    my ( $option, $text ) = @_;
    my ( $number, $unit ) = $text =~ /\A(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?\z/i
        or usage_error("--$option \"$text\" is not a size");
    return int( $number * $FACTOR{ uc $unit } );
}

sub whole_number {
    my ( $what, $text ) = @_;
    return $text if $text =~ /\A\d{1,15}\z/;
    return usage_error("$what \"$text\" is not a whole number");
}

sub human {
    my ($bytes) = @_;
    return "$bytes bytes" if $bytes < 1024;
    my @units = qw(KiB MiB GiB TiB);
    my $unit;
    while ( $bytes >= 1024 && @units ) {
        $bytes /= 1024;
        $unit = shift @units;
    }
    return sprintf '%.1f %s', $bytes, $unit;
}

# A function that colours text, or leaves it alone.
sub colours {
    my ($wanted) = @_;
    $wanted //= 'auto';
    my $colour = $wanted eq 'always' || $wanted eq 'auto' && -t STDOUT && !length( $ENV{NO_COLOR} // '' );
    $colour || $wanted =~ /\A(?:auto|never)\z/ or usage_error("--color \"$wanted\" is not auto, always or never");
    return if !$colour;
    my %code = ( red => 31, green => 32, yellow => 33, cyan => 36 );
    return sub { "\e[$code{ $_[0] }m$_[1]\e[0m" };
}

# On a terminal: a bar on standard error; call it with what is done, and without at the end.
sub progress {
    my ($total) = @_;
    return sub { }
        if !-t STDERR || !$total;
    my $shown = time;
    my $any;
    return sub {
        my ($done) = @_;
        if ( !defined $done ) {
            print STDERR "\r\e[K" if $any;
            return;
        }
        return if time - $shown < 0.1;
        $shown = time;
        $any   = 1;
        my $part = $done / $total;
        printf STDERR "\r[%-40s] %3d%%", '#' x ( 40 * $part ), 100 * $part;
        return;
    };
}

1;
