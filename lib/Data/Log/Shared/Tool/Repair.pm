package Data::Log::Shared::Tool::Repair;

# recover and upgrade: both end in a log that is whole, and never touch the only
# copy of the old one.

use 5.026;
use strict;
use warnings;

use Data::Log::Shared;
use Data::Log::Shared::Tool qw(attach_writable fail human option_size progress reason usage_error);
use Data::Log::Shared::Tool::Foreign ();
use Data::Log::Shared::Tool::Format  ();
use Fcntl qw(F_WRLCK O_CREAT O_EXCL O_NOFOLLOW O_RDWR O_WRONLY SEEK_SET);
use IO::Handle ();

our %COMMANDS = (
    recover => {
        arguments => [ 1, 1 ],
        options   => [qw(salvage backup=s no-backup)],
        run       => \&recover,
    },
    upgrade => {
        arguments => [ 2, 2 ],
        options   => [qw(size|s=s mode|m=s partial)],
        run       => \&upgrade,
    },
);

sub recover {
    my ( $options, $path ) = @_;
    usage_error('--backup and --no-backup exclude each other')
        if defined $options->{backup} && $options->{'no-backup'};
    lstat $path or fail("$path: $!");
    -f _        or fail("$path: not a regular file");
    my ( $state, $why ) = state_of($path);
    if ( $state eq 'sound' || $state eq 'damaged inside' && !$options->{salvage} ) {
        fail("$why; --salvage keeps what is whole") if $state ne 'sound';
        print "$path: in order, nothing to do\n";
        return 0;
    }
    return salvage( $options, $path ) if $options->{salvage};
    fail("$why; --salvage keeps what is whole") if $state ne 'crashed';

    my $lock = lock_out_others($path);
    my ( $before, $backup ) = ( Data::Log::Shared::Tool::Format::header($path), backup( $options, $path ) );
    close $lock;
    my $log   = attach_writable($path);
    my $stats = $log->stats;
    my $cut   = $before->{last_offset} + $before->{last_size} - $stats->{tail};
    print "$path: recovered, $stats->{count} entries are whole";
    print ", ", human($cut), ' at the end were not'          if $cut > 0;
    print ", $stats->{damaged} damaged entries were closed" if $stats->{damaged};
    print "\n";
    print "$path: the backup is $backup\n" if defined $backup;
    return 0;
}

# And the reason, where there is one.
sub state_of {
    my ($path) = @_;
    my $log = eval { Data::Log::Shared->new_readonly($path) };
    if ($log) {
        my $damaged = $log->verify->{damaged};
        return $damaged ? ( 'damaged inside', "$path: $damaged places are damaged" ) : ('sound');
    }
    return 'crashed' if $@ =~ /needs recovery/;
    return ( 'refused', reason($@) );
}

# All that have a log open hold a lock on its byte 1. It is an OFD lock, which
# ends with the handle.
use constant { F_OFD_SETLK => 37, LIFE_BYTE => 1 };

sub lock_out_others {
    my ($path) = @_;
    sysopen my $file, $path, O_RDWR | O_NOFOLLOW or fail("$path: $!");
    my $flock = pack 's s x4 q q l x4', F_WRLCK, SEEK_SET, LIFE_BYTE, 1, 0;
    fcntl $file, F_OFD_SETLK, $flock
        or fail( $!{EAGAIN} || $!{EACCES} ? "$path: is in use" : "$path: can't lock: $!" );
    return $file;
}

sub backup {
    my ( $options, $path ) = @_;
    return if $options->{'no-backup'};
    my $backup = $options->{backup} // free_name("$path.bak");
    copy( $path, $backup );
    return $backup;
}

sub free_name {
    my ($wanted) = @_;
    my ( $name, $n ) = ( $wanted, 0 );
    $name = "$wanted." . ++$n while -e $name || -l $name;
    return $name;
}

# Holes stay holes: a log may be much larger than what it holds.
sub copy {
    my ( $from, $to ) = @_;
    my $in   = Data::Log::Shared::Tool::Format::open_file($from);
    my $mode = ( stat $in )[2] & 0777;
    sysopen my $out, $to, O_WRONLY | O_CREAT | O_EXCL, $mode or fail("$to: $!");
    my ( $total, $done, $show ) = ( -s $in, 0, progress( -s $in ) );
    my $copied = eval {
        while ( my $got = sysread $in, my $bytes, 1 << 20 ) {
            if ( $bytes =~ /[^\0]/ ) {
                sysseek $out, $done, SEEK_SET or die "$!\n";
                syswrite( $out, $bytes ) == $got or die "$!\n";
            }
            $show->( $done += $got );
        }
        $done == $total && truncate $out, $total and $out->sync and close $out or die "$!\n";
        1;
    };
    $show->();
    return if $copied;
    my $error = $@;
    unlink $to;
    return fail( "$to: " . ( $error || 'the copy is not complete' ) );
}

sub salvage {
    my ( $options, $path ) = @_;
    my $lock  = lock_out_others($path);
    my $found = Data::Log::Shared::Tool::Format::Salvage->new($path);
    $found->size > 0 or fail("$path: is too small to hold an entry");
    my ( $mode, $user, $group ) = ( stat $path )[ 2, 4, 5 ];
    my $header = $found->header // {};
    my $fresh  = free_name("$path.salvage");
    my %is     = ( entries => 0, bytes => 0 );
    my $show   = progress( $found->end );
    my $backup;
    my $made = eval {
        local @SIG{qw(INT TERM HUP)} = ( sub { die "interrupted\n" } ) x 3;
        my $log = Data::Log::Shared->new(
            $fresh, $found->size, $mode & 0777,
            checksum => $found->checksums ? 1 : 0,
            sparse   => $header->{sparse} // 0
        );
        my $hidden = 0;
        while ( my ( $payload, $is_utf8, $offset ) = $found->next_entry ) {
            utf8::decode($payload) if $is_utf8;
            my $at = $log->append($payload) // die "$fresh: full\n";
            $hidden = $log->tail_offset if $offset < ( $header->{truncation} // 0 );
            $is{entries}++;
            $show->( $found->at );
        }
        $is{entries} || $found->header
            or die "$path: has neither the header of a log nor a whole entry, and is left as it was\n";
        $log->truncate($hidden) if $hidden;
        $log->sync;
        $show->();
        $backup = backup( $options, $path );
        chown $user, $group, $fresh if $> == 0;
        rename $fresh, $path or die "$path: $!\n";
        1;
    };
    my $error = $@;
    $show->();
    if ( !$made ) {
        unlink $fresh;
        die $error;
    }
    my @lost  = $found->lost;
    my $bytes = 0;
    $bytes += $_->[1] for @lost;
    print "$path: $is{entries} entries are whole",
        ( $found->checksums ? '' : ' as far as can be told without checksums' ),
        @lost ? ', ' . @lost . ' places of ' . human($bytes) . ' together were not' : '', "\n";
    print "$path: lost at $_->[0], $_->[1] bytes\n" for @lost;
    print "$path: the backup is $backup\n" if defined $backup;
    return 0;
}

sub upgrade {
    my ( $options, $old, $new ) = @_;
    -e $new || -l $new and fail("$new: is there already");
    my $from = Data::Log::Shared::Tool::Foreign->new($old);
    my $gap  = $from->gap;
    if ( defined $gap && !$options->{partial} ) {
        fail( "$old: the entry at $gap was never finished, and nothing tells where the next one begins;"
                . ' --partial takes those before it' );
    }
    my $needed = $from->size_needed;
    my $size   = $from->size > $needed ? $from->size : $needed;
    if ( defined $options->{size} ) {
        $size = option_size( size => $options->{size} );
        fail("$new: the entries of $old need $needed bytes") if $size < $needed;
    }
    my $mode = defined $options->{mode} ? $options->{mode} : sprintf '%o', ( stat $old )[2] & 0777;
    $mode =~ /\A0?[0-7]{1,3}\z/ or usage_error("--mode \"$mode\" is not an octal number up to 0777");
    my $fresh = free_name("$new.upgrade");
    my $show  = progress( $from->tail );
    my ( $count, $hidden ) = ( 0, 0 );
    my $made = eval {
        local @SIG{qw(INT TERM HUP)} = ( sub { die "interrupted\n" } ) x 3;
        my $log = Data::Log::Shared->new( $fresh, $size, oct $mode );
        $from->each_entry(
            sub {
                my ( $payload, $is_utf8, $offset ) = @_;
                utf8::decode($payload) if $is_utf8;
                $log->append($payload) // die "$new: full\n";
                $hidden = $log->tail_offset if $offset < $from->truncation;
                $count++;
                $show->($offset);
            }
        );
        $log->truncate($hidden) if $hidden;
        $log->sync;
        link $fresh, $new or die "$new: $!\n";
        1;
    };
    my $error = $@;
    $show->();
    unlink $fresh;
    die $error if !$made;
    print "$new: $count entries of $old, which had format ", $from->format,
        defined $gap ? "; those behind $gap are missing" : '', "\n";
    return 0;
}

1;
