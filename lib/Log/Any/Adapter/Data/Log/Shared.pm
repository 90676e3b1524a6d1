package Log::Any::Adapter::Data::Log::Shared;

use 5.026;
use strict;
use warnings;

use Data::Log::Shared::Sink ();
use Log::Any::Adapter::Util ();
use parent 'Log::Any::Adapter::Base';

our $VERSION = '0.01';

sub init {
    my ($self) = @_;
    my %option = map { $_ => $self->{$_} } grep { $_ ne 'category' } keys %$self;
    my $level  = delete $option{log_level} // 'trace';
    $self->{log_level} = Log::Any::Adapter::Util::numeric_level($level) // die qq("$level" is not a level of Log::Any\n);

    # There is an adapter for each category, and all of these share a log.
    $self->{sink} = Data::Log::Shared::Sink->shared(%option);
    return;
}

sub structured {
    my ( $self, $level, $category, @parts ) = @_;
    my %fields  = map { ref eq 'HASH' ? %$_ : () } @parts;
    my @message = grep { ref ne 'HASH' } @parts;
    $self->{sink}->write( $level, $category, @message ? join ' ', @message : undef, \%fields );
    return;
}

for my $method ( Log::Any::Adapter::Util::detection_methods() ) {
    my $level = Log::Any::Adapter::Util::numeric_level( $method =~ s/\Ais_//r );
    no strict 'refs';
    *$method = sub { $level <= $_[0]{log_level} };
}

1;

__END__

=encoding utf-8

=head1 NAME

Log::Any::Adapter::Data::Log::Shared - Log::Any into a log in shared memory

=head1 SYNOPSIS

    use Log::Any::Adapter ('Data::Log::Shared', path => 'app.log', size => 64 << 20);

    use Log::Any '$log';
    $log->info('something happened', { user => 'jo' });

=head1 DESCRIPTION

Takes the options of L<Data::Log::Shared::Sink>, which says what happens when the log is full, and
C<log_level>, below which nothing is logged; C<trace> by default. References to hashes and what is in
L<Log::Any>'s context are written as JSON behind the message, or with C<< format => 'json' >> as fields
of an object.

=head1 LICENSE

The same terms as Perl itself.

=cut
