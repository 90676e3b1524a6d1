package Data::Log::Shared::PSGI;

use 5.026;
use strict;
use warnings;

use Data::Log::Shared::Sink ();

our $VERSION = '0.01';

sub new {
    my ( $class, %option ) = @_;
    return bless { sink => Data::Log::Shared::Sink->new(%option) }, $class;
}

sub lost { return $_[0]{sink}->lost }

# What psgi.errors must be able to do.
sub print {
    my ( $self, @parts ) = @_;
    my $text = join $, // '', @parts;
    return 1 if $text =~ /\A\n*\z/;
    return $self->{sink}->write( 'error', 'psgi.errors', $text );
}

sub access {
    my ($self) = @_;
    my $sink = $self->{sink};
    return sub { $sink->write( 'info', 'access', $_[0] ) };
}

sub logger {
    my ($self) = @_;
    my $sink = $self->{sink};
    return sub {
        my ($entry) = @_;
        $sink->write( $entry->{level}, 'psgix.logger', $entry->{message} );
    };
}

sub wrap {
    my ( $self, $app ) = @_;
    my $logger = $self->logger;
    return sub {
        my ($env) = @_;
        @{$env}{qw(psgi.errors psgix.logger)} = ( $self, $logger );
        return $app->($env);
    };
}

1;

__END__

=encoding utf-8

=head1 NAME

Data::Log::Shared::PSGI - access log, error stream and logger of PSGI applications in shared memory

=head1 SYNOPSIS

    # app.psgi
    use Data::Log::Shared::PSGI;
    use Plack::Builder;

    my $log = Data::Log::Shared::PSGI->new(path => 'web.log', size => 256 << 20);

    builder {
        enable 'AccessLog', format => 'combined', logger => $log->access;
        $log->wrap(sub {
            my $env = shift;
            $env->{'psgi.errors'}->print("something is wrong\n");
            $env->{'psgix.logger'}->({ level => 'debug', message => 'details' });
            [ 200, [ 'Content-Type' => 'text/plain' ], ['hello'] ];
        });
    };

=head1 DESCRIPTION

All workers of a server write into one log, which they have from before the fork or open by the same
path. It depends on nothing but the PSGI specification.

=head1 METHODS

=over

=item new(%options)

Takes the options of L<Data::Log::Shared::Sink>, which says what happens when the log is full. With
C<< format => 'message' >> the lines of the access log are as L<Plack::Middleware::AccessLog> makes
them, else they begin with time, process id, level C<info> and category C<access>.

=item access

A code reference for the option C<logger> of L<Plack::Middleware::AccessLog>.

=item print(@text)

Makes the object a C<psgi.errors>. Each call is an entry, of level C<error>.

=item logger

A code reference that is a C<psgix.logger>.

=item wrap($app)

The application with this object as C<psgi.errors> and C<psgix.logger>.

=item lost

How many entries of this process were not written.

=back

=head1 LICENSE

The same terms as Perl itself.

=cut
