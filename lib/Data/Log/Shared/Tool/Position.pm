package Data::Log::Shared::Tool::Position;

# The file in which tail --save keeps where it is, one JSON object:
#
#     log         which log and which generation of it
#     position    where to go on
#     last        offset of the last entry read
#     digest      MD5 of that entry
#     recoveries  how often the log had been recovered
#     synced      what no recovery can take away
#
# A recovery may have cut off what had been read. If the last entry is not there
# any more, reading goes on from what was on disk then, so entries may come twice
# but none is lost.

use 5.026;
use strict;
use warnings;

use Data::Log::Shared::Tool qw(bytes_of fail);
use Digest::MD5             ();
use Fcntl                   qw(O_RDONLY);
use File::Basename          qw(dirname);
use IO::Handle              ();
use JSON::PP                ();
use Time::HiRes             qw(time);

use constant INTERVAL => 1;

sub new {
    my ( $class, $path ) = @_;
    my $self = bless { path => $path, saved => 0 }, $class;
    -e $path && !-f _ and fail("$path: not a regular file");
    if ( open my $in, '<:raw', $path ) {
        local $/;
        my $kept = eval { JSON::PP::decode_json(<$in>) };
        is_position($kept) or fail("$path: is not a position file");
        $self->{kept} = $kept;
    }
    elsif ( !$!{ENOENT} ) {
        fail("$path: $!");
    }
    return $self;
}

sub is_position {
    my ($kept) = @_;
    return if ref $kept ne 'HASH';
    return if grep { !defined || ref } @{$kept}{qw(log digest)};
    return if grep { ( $_ // '' ) !~ /\A\d{1,15}\z/ } @{$kept}{qw(position recoveries synced)}, $kept->{last} // 0;
    return 1;
}

sub is_there { return defined $_[0]{kept} }

sub is_due { return time - $_[0]{saved} >= INTERVAL }

# Undef if the position is that of another log.
sub position_in {
    my ( $self, $log, $salt ) = @_;
    my $kept  = $self->{kept} or return;
    my $stats = $log->stats;
    return if $kept->{log} ne "$salt:$stats->{generation}" || $kept->{position} > $stats->{tail};
    return $kept->{position}
        if $kept->{recoveries} == $stats->{recoveries} || $kept->{digest} eq digest( $log, $kept->{last} );
    return $kept->{synced} < $kept->{position} ? $kept->{synced} : $kept->{position};
}

sub digest {
    my ( $log, $offset ) = @_;
    my ($data) = defined $offset ? $log->read_entry($offset) : ();
    return defined $data ? Digest::MD5::md5_hex( bytes_of($data) ) : '';
}

sub save {
    my ( $self, $log, $salt, $position, $last ) = @_;
    my $stats = $log->stats;
    my $kept  = {
        log        => "$salt:$stats->{generation}",
        position   => 0 + $position,
        last       => $last,
        digest     => digest( $log, $last ),
        recoveries => $stats->{recoveries},
        synced     => $stats->{synced},
    };
    my ( $path, $new ) = ( $self->{path}, "$self->{path}.new" );
    open my $out, '>:raw', $new or fail("$new: $!");
    ( print {$out} JSON::PP->new->canonical->encode($kept), "\n" ) && $out->flush && $out->sync && close $out
        or fail("$new: $!");
    rename $new, $path or fail("$path: $!");
    sysopen my $folder, dirname($path), O_RDONLY or fail("$path: $!");
    $folder->sync;
    $self->{saved} = time;
    return;
}

1;
