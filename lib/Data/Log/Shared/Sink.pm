package Data::Log::Shared::Sink;

use 5.026;
use strict;
use warnings;

use Carp         ();
use JSON::PP     ();
use POSIX        ();
use Scalar::Util qw(blessed refaddr weaken);
use Time::HiRes  ();

use Data::Log::Shared;

our $VERSION = '0.01';

my @OPTIONS    = qw(log path size mode sparse checksum on_full format);
my %ON_FULL    = map { $_ => 1 } qw(count warn die);
my %FORMATTERS = ( line => \&_as_line, json => \&_as_json, message => \&_as_message );

my $json = JSON::PP->new->canonical->allow_blessed->convert_blessed->allow_unknown;

sub new {
    my ( $class, %option ) = @_;
    my %known = map { $_ => 1 } @OPTIONS;
    for my $name ( grep { !$known{$_} } sort keys %option ) {
        Carp::croak("$class->new: unknown option \"$name\"");
    }
    my $on_full = $option{on_full} // 'count';
    ref $on_full eq 'CODE' || $ON_FULL{$on_full}
        or Carp::croak("$class->new: on_full \"$on_full\" is not count, warn, die or a code reference");
    my $format = $option{format} // 'line';
    $format = $FORMATTERS{$format} // Carp::croak("$class->new: format \"$format\" is not line, json or message")
        if ref $format ne 'CODE';
    my $log = $option{log};
    defined $log xor defined $option{path} or Carp::croak("$class->new: either a log or a path is needed");
    if ( !defined $log ) {
        my %making = map { $_ => $option{$_} } grep { defined $option{$_} } qw(sparse checksum);
        $log = Data::Log::Shared->new( $option{path}, $option{size} // 64 << 20, $option{mode}, %making );
    }
    return bless {
        log     => $log,
        name    => $log->path // 'log in memory',
        on_full => $on_full,
        format  => $format,
        lost    => 0,
        untold  => 0,
        pid     => $$,
    }, $class;
}

my %shared;

# The same one for the same arguments, as long as one is in use.
sub shared {
    my ( $class, %option ) = @_;
    my $key = join "\0", map { $_, ref $option{$_} ? refaddr $option{$_} : $option{$_} // '' } sort keys %option;
    return $shared{$key} if $shared{$key};
    my $self = $class->new(%option);
    weaken( $shared{$key} = $self );
    return $self;
}

# Takes what is meant for a sink out of a hash of options.
sub take_options {
    my ( $class, $options ) = @_;
    return map { exists $options->{$_} ? ( $_ => delete $options->{$_} ) : () } @OPTIONS;
}

sub log  { return $_[0]{log} }
sub lost { return $_[0]{pid} == $$ ? $_[0]{lost} : 0 }

# Whether it was written. Dies only if on_full does.
sub write {
    my ( $self, $level, $category, $message, $fields ) = @_;
    @{$self}{qw(pid lost untold)} = ( $$, 0, 0 ) if $self->{pid} != $$;
    my $why;
    if ( $self->_put( \$why, $level, $category, $message, $fields ) ) {
        $self->_tell if $self->{untold};
        return 1;
    }
    my $is_first = !$self->{untold}++;
    $self->{lost}++;
    my $on_full = $self->{on_full};
    Carp::croak("$self->{name}: $why") if $on_full eq 'die';
    if ( ref $on_full ) {
        $on_full->( $level, $category, $message, $why );
    }
    elsif ( $on_full eq 'warn' || $is_first ) {
        _say_lost( "$self->{name}: $why, " . ( $on_full eq 'warn' ? 'lost: ' . ( $message // 'undef' ) : 'entries are being lost' ) );
    }
    return 0;
}

sub _put {
    my ( $self, $why, @entry ) = @_;
    local ( $@, $!, $SIG{__DIE__} );
    my $is_done = eval {
        my $text = $self->{format}->( Time::HiRes::time(), $$, @entry );
        !length $text || defined $self->{log}->append($text);
    };
    $$why = $@ ? "$@" =~ s/(?: at (?:(?! at ).)+? line \d+\.?)?\s*\z//r : 'the log is full' if !$is_done;
    return $is_done;
}

# There is room again: what is missing is said in the log itself.
sub _tell {
    my ($self) = @_;
    my $message = "$self->{untold} entries before the last one did not fit";
    $self->{untold} = 0 if $self->_put( \my $why, 'warning', __PACKAGE__, $message );
    return;
}

# Not by warn, whose handler may well log; and so may what STDERR is tied to.
my $is_saying;

sub _say_lost {
    my ($text) = @_;
    return if $is_saying;
    $is_saying = 1;
    local ( $@, $!, $SIG{__DIE__} );
    no warnings;
    eval { print STDERR "Data::Log::Shared: $text\n" };
    $is_saying = 0;
    return;
}

my ( $second, $date ) = ( -1, '' );

sub _timestamp {
    my ($time) = @_;
    ( $second, $date ) = ( int $time, POSIX::strftime( '%Y-%m-%dT%H:%M:%S', gmtime $time ) ) if int $time != $second;
    return sprintf '%s.%06dZ', $date, ( $time - int $time ) * 1e6;
}

sub _as_message {
    my $message = $_[4] // '';
    return $message =~ s/\n\z//r;
}

sub _as_line {
    my ( $time, $pid, $level, $category, $message, $fields ) = @_;
    $_ //= '' for $level, $category;
    $message = $fields && %$fields ? '' : 'undef' if !defined $message;
    $message =~ s/\n\z//;
    my $line = _timestamp($time) . " $pid $level $category: $message";
    $line .= ' ' . $json->encode($fields) if $fields && %$fields;
    return $line;
}

sub _as_json {
    my ( $time, $pid, $level, $category, $message, $fields ) = @_;
    $_ //= '' for $level, $category;
    my %object = ( $fields ? %$fields : (), time => _timestamp($time), pid => 0 + $pid, level => "$level", category => "$category" );
    $object{message} = "$message" =~ s/\n\z//r if defined $message;
    return $json->encode( \%object );
}

sub DESTROY {
    my ($self) = @_;
    _say_lost("$self->{name}: $self->{lost} entries did not fit") if $self->{untold} && $self->{pid} == $$;
    return;
}

1;

__END__

=encoding utf-8

=head1 NAME

Data::Log::Shared::Sink - log lines into shared memory without dying or blocking

=head1 SYNOPSIS

    use Data::Log::Shared::Sink;

    my $sink = Data::Log::Shared::Sink->new(path => 'app.log', size => 64 << 20);
    $sink->write('info', 'My::Class', 'something happened');
    $sink->write('info', 'My::Class', 'something else', { user => 'jo', took => 0.2 });

    # 2026-01-31T12:00:00.123456Z 4711 info My::Class: something happened
    # 2026-01-31T12:00:00.123556Z 4711 info My::Class: something else {"took":0.2,"user":"jo"}

=head1 DESCRIPTION

What the adapters for logging frameworks have in common: L<Log::Any::Adapter::Data::Log::Shared>,
L<Log::Dispatch::Data::Log::Shared>, L<Log::Log4perl::Appender::Data::Log::Shared>,
L<MojoX::Log::Data::Log::Shared> and L<Data::Log::Shared::PSGI>. All of them take its options.

To log must not break the program that logs. So an entry that does not fit is not written but
counted, and so is one for which the disk had no room. The first is reported on standard error; once
there is room again the log itself says how many are missing; and if there never was, the number is
reported at the end.

=head1 METHODS

=over

=item new(%options)

Either C<log>, a L<Data::Log::Shared>, or C<path>, C<size> (64 MiB by default), C<mode>, C<sparse> and
C<checksum> as for C<< Data::Log::Shared->new >>, which dies if it can't make or open the log. And

=over

=item on_full => 'count', 'warn', 'die' or a code reference

C<count> is as described. With C<warn> each entry that is lost goes to standard error instead, with
C<die> it is an exception, and code is called with level, category, message and the reason.

=item format => 'line', 'json', 'message' or a code reference

A line as above; an object with C<time>, C<pid>, C<level>, C<category>, C<message> and the fields; the
message alone, without a newline at its end; or what code returns that is called with the time (as L<Time::HiRes/time>), process id,
level, category, message, and reference to the fields.

=back

=item write($level, $category, $message)

=item write($level, $category, $message, \%fields)

True if the entry was written, or there was nothing to write: a format may leave nothing of it.

=item lost

How many entries of this process were not written.

=item log

The L<Data::Log::Shared>.

=item shared(%options)

As C<new>, but the same object for the same options.

=item take_options(\%options)

A class method for adapters: removes the options of C<new> from the hash and returns them.

=back

=head1 SEE ALSO

L<Data::Log::Shared>, L<log-shared>

=head1 LICENSE

The same terms as Perl itself.

=cut
