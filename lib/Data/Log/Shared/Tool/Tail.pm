package Data::Log::Shared::Tool::Tail;

use 5.026;
use strict;
use warnings;

use Data::Log::Shared::Tool qw(GRACE fail identity start_of_last usage_error warning whole_number);
use Data::Log::Shared::Tool::Format   ();
use Data::Log::Shared::Tool::Position ();
use IO::Handle ();
use Time::HiRes qw(sleep time);

# How often tail looks at what nobody wakes it for: the file behind the path, the process of --pid.
use constant INTERVAL => 0.5;

sub new {
    my ( $class, $options, $path ) = @_;
    my ( $plus, $lines ) = ( $options->{lines} // ( defined $options->{save} ? '+1' : 10 ) ) =~ /\A([+-]?)(\d{1,15})\z/
        or usage_error("--lines \"$options->{lines}\" is not a number");
    my $self = bless {
        path    => $path,
        options => $options,
        text    => Data::Log::Shared::Tool::Read::text_of($options),
        from    => $plus eq '+',
        lines   => $lines,
        follow  => $options->{follow} || $options->{F},
        pid     => defined $options->{pid} ? whole_number( '--pid', $options->{pid} ) : undef,
        saved   => defined $options->{save} && Data::Log::Shared::Tool::Position->new( $options->{save} ),
        unsaved => 0,
        out     => \*STDOUT,
    }, $class;
    $self->open_output if defined $options->{output};
    return $self;
}

sub open_output {
    my ($self) = @_;
    my $path = $self->{options}{output};
    open my $out, '>>:raw', $path or fail("$path: $!");
    if ( $self->{out} != \*STDOUT ) {
        $self->settle;
        close $self->{out} or fail("$path: $!");
    }
    $self->{out} = $out;
    return;
}

# What has been printed is in the output for certain.
sub settle {
    my ($self) = @_;
    $self->{out}->flush or $self->lost_output;
    !-f $self->{out} || $self->{out}->sync or $self->lost_output;
    return;
}

sub run {
    my ($self) = @_;
    local @SIG{qw(INT TERM)} = ( sub { die { signal => $self->{caught} = shift } } ) x 2;
    local $SIG{HUP} = sub { $self->{reopen} = 1 }
        if defined $self->{options}{output};
    my $status = eval { $self->all };
    my $done   = defined $status;
    my $error  = $@;
    local @SIG{qw(INT TERM)} = ('IGNORE') x 2;
    my $caught = $self->{caught};
    $self->save if $done || $caught;
    if ($caught) {
        $SIG{$caught} = 'DEFAULT';
        kill $caught, $$;
    }
    die $error if !$done;
    return $status;
}

sub all {
    my ($self) = @_;
    $self->{options}{F} ? $self->attach_patiently : $self->attach;
    $self->first_lines;
    $self->drain;
    return $self->end if !$self->{follow};
    my $looked = time;
    while (1) {
        my $data = $self->{cursor}->next(INTERVAL);
        if ( defined $data ) {
            $self->put($data);
            $self->drain;
        }
        $self->open_output if delete $self->{reopen};
        next               if defined $data && time - $looked < INTERVAL;
        $looked = time;
        $self->warn_of_hole if !defined $data && !$self->{warned};

        # Asked before the last look: what was written until then is printed.
        my $is_over = $self->is_over;
        $self->drain;
        return 0 if $is_over;

        # Writers may have the old one open for a while yet.
        $self->reattach if !defined $data && $self->{options}{F} && $self->moved;
    }
    return;
}

# An entry that came since the wait ended is no hole; one that is there the next time is.
sub warn_of_hole {
    my ($self) = @_;
    my $cursor = $self->{cursor};
    my $last   = $self->{stuck};
    $self->{stuck} = $cursor->lag ? $cursor->position : undef;
    return if !defined $self->{stuck} || $self->{stuck} != ( $last // -1 );
    $self->{warned} = 1;
    Data::Log::Shared::Tool::Read::hole( $self->{path}, $cursor, $self->{options} );
    return;
}

# What is there ends at the tail, or else at an entry that nobody finishes.
sub end {
    my ($self) = @_;
    my $cursor = $self->{cursor};
    my $end    = $self->{log}->tail_offset;
    while ( $cursor->position < $end ) {
        my $data = $cursor->next(GRACE);
        if ( !defined $data ) {
            Data::Log::Shared::Tool::Read::hole( $self->{path}, $cursor, $self->{options} );
            return 1;
        }
        $self->put($data);
    }
    $self->drain;
    return 0;
}

sub is_over {
    my ($self) = @_;
    return defined $self->{pid} && !kill( 0, $self->{pid} ) && $!{ESRCH};
}

sub attach {
    my ($self) = @_;
    my $path = $self->{path};
    my ( $file, $log, $header );
    do {
        $file = identity($path);
        Data::Log::Shared::Tool::Read::keep_apart( $path, $self->{out} );
        $log    = Data::Log::Shared::Tool::attach( $path, $self->{options}{'close-holes'} );
        $header = Data::Log::Shared::Tool::Format::header($path) // fail("$path: the header is damaged");
    } while $file ne identity($path);

    # A cursor of the last log must not be kept as the position in this one.
    @{$self}{qw(log salt file warned stuck cursor)} = ( $log, sprintf( '%016x', $header->{salt} ), $file, 0 );
    return;
}

# -F: whatever there is behind the path may be replaced by a log.
sub attach_patiently {
    my ($self) = @_;
    my $said;
    until ( eval { $self->attach; 1 } ) {
        my $error = $@;
        die $error if $self->{caught};
        warning($error) if !$said++;
        exit 0 if $self->is_over;
        sleep INTERVAL;
    }
    return;
}

sub moved {
    my ($self) = @_;
    my $now = identity( $self->{path} );
    return $now ne '' && $now ne $self->{file};
}

sub reattach {
    my ($self) = @_;
    $self->attach_patiently;
    warning("$self->{path}: has been replaced, following the new one");
    $self->start_at;
    $self->drain;
    return;
}

sub start_at {
    my ( $self, $position ) = @_;
    $self->{cursor} = $self->{log}->cursor($position);
    @{$self}{qw(read last)} = ( $self->{cursor}->position, undef );
    return;
}

sub first_lines {
    my ($self) = @_;
    my ( $log, $lines ) = @{$self}{qw(log lines)};
    if ( $self->{saved} && $self->{saved}->is_there ) {
        my $position = $self->{saved}->position_in( $log, $self->{salt} );
        warning("$self->{path}: is not the log that $self->{options}{save} belongs to, starting at its beginning")
            if !defined $position;
        return $self->start_at($position);
    }
    if ( $self->{from} ) {
        my $cursor = $log->cursor;
        my $skip   = $lines > 0 ? $lines - 1 : 0;
        my $end    = $log->tail_offset;
        1 while $skip-- > 0 && $cursor->position < $end && defined $cursor->next(GRACE);
        return $self->start_at( $cursor->position );
    }

    return $self->start_at( start_of_last( $log, $lines ) );
}

sub put {
    my ( $self, $data ) = @_;
    my $cursor = $self->{cursor};
    my ( $offset, $next ) = ( $cursor->offset, $cursor->position );
    my $line = $self->{text}->( $data, $offset, $next );
    die { signal => $self->{caught} } if $self->{caught};
    if ( defined $line ) {
        print { $self->{out} } $line or $self->lost_output;
    }

    # The cursor itself is ahead if a signal comes before the entry is printed.
    @{$self}{qw(last read)} = ( $offset, $next );
    $self->{unsaved} = 1;
    return;
}

# Prints what is there, and lets go of it before it waits again.
sub drain {
    my ($self) = @_;
    while ( defined( my $data = $self->{cursor}->next ) ) {
        $self->put($data);
        $self->save        if $self->{saved} && $self->{saved}->is_due;
        $self->open_output if $self->{reopen} && delete $self->{reopen};
    }
    $self->{out}->flush or $self->lost_output;
    $self->save if $self->{saved} && $self->{unsaved} && $self->{saved}->is_due;
    return;
}

sub lost_output {
    my ($self) = @_;
    return fail("$self->{options}{output}: $!") if defined $self->{options}{output};
    return Data::Log::Shared::Tool::Read::lost_output();
}

# Only what the output has for certain counts as read.
sub save {
    my ($self) = @_;
    my $cursor = $self->{cursor} or return;
    $self->{out}->flush or $self->lost_output;
    $self->{unsaved} = 0;
    return if !$self->{saved};
    $self->settle;

    # After a reset the cursor is back at the beginning, and nothing of that has been read.
    my $now = $cursor->position;
    my @read = $now < $self->{read} ? ($now) : @{$self}{qw(read last)};
    $self->{saved}->save( $self->{log}, $self->{salt}, @read );
    return;
}

1;
