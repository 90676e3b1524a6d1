package MojoX::Log::Data::Log::Shared;

use Mojo::Base 'Mojo::Log';

use Data::Log::Shared::Sink ();

our $VERSION = '0.01';

has category => 'Mojo';
has 'sink';

sub new {
    my ( $class, @options ) = @_;
    my %option = @options == 1 ? %{ $options[0] } : @options;

    # Both have a "path" and a "format"; the handle of Mojo::Log is never opened.
    # What context() makes of a log passes everything on to it.
    my $parent = $option{parent};
    my $sink   = $parent ? $parent->sink : Data::Log::Shared::Sink->new( Data::Log::Shared::Sink->take_options( \%option ) );
    my $self   = $class->SUPER::new( $parent ? ( category => $parent->category ) : (), %option, sink => $sink );
    $self->unsubscribe('message');
    $self->on(
        message => sub {
            my ( $self, $level, @lines ) = @_;
            $self->sink->write( $level, $self->category, join "\n", @lines );
            push @{ $self->history }, [ time, $level, @lines ];
            shift @{ $self->history } while @{ $self->history } > $self->max_history_size;
        }
    );
    return $self;
}

sub append {
    my ( $self, $text ) = @_;
    $self->sink->write( 'info', $self->category, $text );
    return;
}

sub lost { return $_[0]->sink->lost }

1;

__END__

=encoding utf-8

=head1 NAME

MojoX::Log::Data::Log::Shared - a Mojo::Log in shared memory

=head1 SYNOPSIS

    use Mojolicious::Lite;
    use MojoX::Log::Data::Log::Shared;

    app->log(MojoX::Log::Data::Log::Shared->new(path => 'web.log', level => 'info'));

=head1 DESCRIPTION

A L<Mojo::Log> whose lines go into a log that all workers of a server share. It takes the options of
L<Data::Log::Shared::Sink>, which says what happens when the log is full, in place of C<path> and
C<format> of L<Mojo::Log>, and the others of that.

=head1 ATTRIBUTES

=over

=item category

That of the lines, C<Mojo> by default.

=item sink

The L<Data::Log::Shared::Sink>.

=back

=head1 METHODS

=over

=item new(%options)

=item append($text)

Writes the text as it is, with level C<info>.

=item lost

How many entries of this process were not written.

=back

=head1 LICENSE

The same terms as Perl itself.

=cut
