package Log::Dispatch::Data::Log::Shared;

use 5.026;
use strict;
use warnings;

use Data::Log::Shared::Sink ();
use parent 'Log::Dispatch::Output';

our $VERSION = '0.01';

sub new {
    my ( $class, %option ) = @_;
    my $self = bless {}, ref $class || $class;
    my $sink = Data::Log::Shared::Sink->new( Data::Log::Shared::Sink->take_options( \%option ) );
    $self->_basic_init(%option);
    $self->{sink} = $sink;
    return $self;
}

sub lost { return $_[0]{sink}->lost }

sub log_message {
    my ( $self, %entry ) = @_;
    $self->{sink}->write( $entry{level}, $entry{category} // $self->name, $entry{message} );
    return;
}

1;

__END__

=encoding utf-8

=head1 NAME

Log::Dispatch::Data::Log::Shared - output of Log::Dispatch into a log in shared memory

=head1 SYNOPSIS

    use Log::Dispatch;

    my $log = Log::Dispatch->new(
        outputs => [
            [ 'Data::Log::Shared', name => 'app', min_level => 'info', path => 'app.log' ],
        ],
    );
    $log->info('something happened');

=head1 DESCRIPTION

Takes the options of L<Data::Log::Shared::Sink>, which says what happens when the log is full, besides
those of all outputs. The category of a line is the parameter C<category> of C<< $log->log >>, else the
output's name.

=head1 METHODS

=over

=item new(%options)

Called by L<Log::Dispatch>.

=item lost

How many entries were not written.

=item log_message

Called by L<Log::Dispatch>.

=back

=head1 LICENSE

The same terms as Perl itself.

=cut
