package Data::Log::Shared::Tool::Check;

# stat and verify.

use 5.026;
use strict;
use warnings;

use Data::Log::Shared;
use Data::Log::Shared::Tool qw(colours fail human reason usage_error warning);
use Data::Log::Shared::Tool::Format ();
use IO::Handle                      ();
use JSON::PP                        ();
use Time::HiRes                     qw(sleep time);

our %COMMANDS = (
    stat => {
        arguments => [ 1, 1 ],
        options   => [qw(json|j watch|w:s color|colour=s)],
        run       => \&statistics,
    },
    verify => {
        arguments => [1],
        options   => [qw(json|j quiet|q color|colour=s)],
        run       => \&verify,
    },
);

sub statistics {
    my ( $options, $path ) = @_;
    my $colour = colours( $options->{color} ) // sub { $_[1] };
    my $every;
    if ( defined $options->{watch} ) {
        $every = length $options->{watch} ? $options->{watch} : 1;
        $every =~ /\A\d*\.?\d+\z/ && $every > 0 or usage_error("--watch \"$every\" is not a number of seconds");
    }
    my $log  = Data::Log::Shared->new_readonly($path);
    my $last = facts( $path, $log );
    add_places( $log, $last ) if !$every;
    show( $options, $colour, $last );
    while ($every) {
        sleep $every;
        my $now     = facts( $path, $log );
        fail("$path: has been replaced") if $now->{salt} ne $last->{salt};
        my $seconds = $now->{time} - $last->{time};
        $now->{entries_per_second} = ( $now->{appends} - $last->{appends} ) / $seconds;
        $now->{bytes_per_second}   = ( $now->{tail} - $last->{tail} ) / $seconds if $now->{tail} >= $last->{tail};
        print "\n"     if !$options->{json} && !-t STDOUT;
        print "\e[H\e[J" if !$options->{json} && -t STDOUT;
        show( $options, $colour, $now );
        $last = $now;
    }
    return 0;
}

sub facts {
    my ( $path, $log ) = @_;
    my $header = Data::Log::Shared::Tool::Format::header($path) or fail("$path: the header is damaged");
    my %is     = ( %{ $log->stats }, path => $path, time => time );
    return {
        %is,
        format_version => $header->{version},
        salt           => sprintf( '%016x', $header->{salt} ),
        boot_id        => $header->{boot_id},
        this_boot      => truth( boot_id() eq $header->{boot_id} ),
        mode           => sprintf( '%04o', ( stat $path )[2] & 07777 ),
        map { $_ => truth( $is{$_} ) } qw(checksum sparse sync_failed),
    };
}

# All that is in it must be read for these.
sub add_places {
    my ( $log, $facts ) = @_;
    my $found = $log->verify( sub { $facts->{unfinished} = $_[1] if $_[0] eq 'unfinished' } );
    @{$facts}{qw(bytes sealed)} = @{$found}{qw(bytes sealed)};
    $facts->{damaged_now} = $found->{damaged};
    return;
}

sub truth { return $_[0] ? JSON::PP::true() : JSON::PP::false() }

sub boot_id {
    open my $in, '<', '/proc/sys/kernel/random/boot_id' or return '';
    return <$in> =~ s/\s+\z//r;
}

sub show {
    my ( $options, $colour, $is ) = @_;
    if ( $options->{json} ) {
        print JSON::PP->new->canonical->encode($is), "\n" or fail("standard output: $!");
        STDOUT->flush;
        return;
    }
    my $part = $is->{tail} / $is->{data_size};
    my $bar  = ( '#' x int( 40 * $part + 0.5 ) ) . ( '.' x ( 40 - int( 40 * $part + 0.5 ) ) );
    my $kind = $part >= 0.95 ? 'red' : $part >= 0.8 ? 'yellow' : 'green';
    my $line = sub { printf "%-12s %s\n", @_ };
    $line->( log        => "$is->{path} (format $is->{format_version}, mode $is->{mode})" );
    $line->( size       => human( $is->{data_size} ) . ( $is->{sparse} ? ', sparse' : '' ) );
    $line->( used       => sprintf '%s [%s] %.1f%%', human( $is->{tail} ), $colour->( $kind, $bar ), 100 * $part );
    $line->( available  => human( $is->{available} ) );
    $line->( entries    => $is->{count} . ( defined $is->{bytes} ? ' of ' . human( $is->{bytes} ) . ' together' : '' ) );
    $line->( hidden     => human( $is->{truncation} ) . ', by truncate' ) if $is->{truncation};
    $line->( sealed     => "$is->{sealed} places closed without an entry" );
    $line->( unfinished => $colour->( 'yellow', defined $is->{unfinished} ? "at $is->{unfinished}" : 'none' ) )
        if defined $is->{damaged_now};
    my $damaged = $is->{damaged_now} // 0;
    $line->( damaged    => $colour->( $damaged ? 'red' : 'green', $damaged ) ) if defined $is->{damaged_now};
    $line->( checksums  => $is->{checksum} ? 'yes' : 'no' );
    $line->( synced     => human( $is->{synced} ) . ( $is->{sync_failed} ? $colour->( 'red', ', a sync has failed' ) : '' ) );
    $line->( waiters    => "$is->{waiters} now, $is->{waits} waits, $is->{timeouts} timed out" );
    $line->( resets     => $is->{generation} );
    $line->( recoveries => "$is->{recoveries}, $is->{damaged} damaged entries closed by them" );
    $line->( boot       => "$is->{boot_id} (" . ( $is->{this_boot} ? 'this one' : 'another' ) . ')' );
    $line->( rate => sprintf '%.0f entries/s, %s/s', $is->{entries_per_second}, human( $is->{bytes_per_second} // 0 ) )
        if defined $is->{entries_per_second};
    STDOUT->flush;
    return;
}

sub verify {
    my ( $options, @paths ) = @_;
    my $status = 0;
    for my $path (@paths) {
        my $result = eval { verify_one( $options, $path ) };
        if ( !defined $result ) {
            my $error = reason($@);
            warning($error);

            # What makes a log unusable is damage as well; anything else tells nothing.
            $result = $error =~ /is damaged|size mismatch|impossible data size/ ? 1 : 2;
        }
        $status = $result if !$status || $result == 1;
    }
    return $status;
}

sub verify_one {
    my ( $options, $path ) = @_;
    my $colour = colours( $options->{color} ) // sub { $_[1] };
    my $log    = Data::Log::Shared->new_readonly($path);
    my ( $place, $unfinished );
    my $found = $log->verify(
        sub {
            my ( $kind, $offset, $size ) = @_;
            $unfinished = $offset if $kind eq 'unfinished';
            return                if $options->{quiet};
            if ( $options->{json} ) {
                my %place = ( path => $path, kind => $kind, offset => $offset, size => $size );
                print JSON::PP->new->canonical->encode( \%place ), "\n";
                return;
            }
            print "$path: ", $colour->( $kind eq 'damaged' ? 'red' : 'yellow', $kind ), " at $offset, $size bytes\n";
        }
    );
    if ( $options->{json} ) {
        print JSON::PP->new->canonical->encode( { path => $path, %$found, unfinished => $unfinished } ), "\n";
    }
    elsif ( !$options->{quiet} ) {
        my $verdict = $found->{damaged} ? $colour->( 'red', 'damaged' ) : $colour->( 'green', 'in order' );
        my $basis   = $log->stats->{checksum} ? '' : ' (no checksums: by structure alone)';
        print "$path: $verdict$basis, $found->{entries} entries of $found->{bytes} bytes,",
            " $found->{sealed} sealed, $found->{damaged} damaged\n";
    }
    return $found->{damaged} ? 1 : defined $unfinished ? 2 : 0;
}

1;
