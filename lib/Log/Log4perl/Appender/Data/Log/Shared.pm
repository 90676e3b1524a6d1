package Log::Log4perl::Appender::Data::Log::Shared;

use 5.026;
use strict;
use warnings;

use Data::Log::Shared::Sink ();

our @ISA     = qw(Log::Log4perl::Appender);
our $VERSION = '0.01';

sub new {
    my ( $class, %option ) = @_;
    $option{mode} = oct $option{mode} if defined $option{mode} && $option{mode} =~ /\A0[0-7]+\z/;
    my $sink = Data::Log::Shared::Sink->new( Data::Log::Shared::Sink->take_options( \%option ) );
    return bless { sink => $sink, name => $option{name} // 'unknown name' }, $class;
}

sub lost { return $_[0]{sink}->lost }

sub log {
    my ( $self, %entry ) = @_;
    $self->{sink}->write( lc( $entry{log4p_level} // 'info' ), $entry{log4p_category} // $self->{name}, $entry{message} );
    return;
}

1;

__END__

=encoding utf-8

=head1 NAME

Log::Log4perl::Appender::Data::Log::Shared - appender of Log4perl for a log in shared memory

=head1 SYNOPSIS

    log4perl.rootLogger                            = INFO, Shared
    log4perl.appender.Shared                       = Log::Log4perl::Appender::Data::Log::Shared
    log4perl.appender.Shared.path                  = app.log
    log4perl.appender.Shared.size                  = 67108864
    log4perl.appender.Shared.mode                  = 0640
    log4perl.appender.Shared.layout                = PatternLayout
    log4perl.appender.Shared.layout.ConversionPattern = %m

=head1 DESCRIPTION

Takes the options of L<Data::Log::Shared::Sink>, which says what happens when the log is full. Lines
begin with time, process id, level and category already, so the layout needs no more than C<%m>; with
C<format = message> it is the layout alone that counts.

=head1 METHODS

=over

=item new(%options)

Called by L<Log::Log4perl>.

=item lost

How many entries were not written.

=item log

Called by L<Log::Log4perl>.

=back

=head1 LICENSE

The same terms as Perl itself.

=cut
