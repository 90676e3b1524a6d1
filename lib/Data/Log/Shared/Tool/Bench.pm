package Data::Log::Shared::Tool::Bench;

# bench: a few figures in a few seconds; bench/ of the distribution has more.

use 5.026;
use strict;
use warnings;

use Data::Log::Shared;
use Data::Log::Shared::Tool qw(fail usage_error whole_number);
use File::Temp              ();
use POSIX                   ();
use Time::HiRes             qw(time);

our %COMMANDS = (
    bench => {
        arguments => [ 0, 0 ],
        options   => [qw(seconds=s processes=s)],
        run       => \&bench,
    },
);

# The files must go when it is interrupted, or what it writes to has ended.
my @SIGNALS = qw(HUP INT PIPE TERM);

use constant { SIZE => 64 << 20, BATCH => 1000 };

sub processors {
    open my $in, '<', '/proc/self/status' or return 1;
    my ($list) = map { /^Cpus_allowed_list:\s*(\S+)/ } <$in>;
    my $n = 0;
    $n += /(\d+)-(\d+)/ ? $2 - $1 + 1 : 1 for split /,/, $list // '0';
    return $n;
}

sub bench {
    my ($options) = @_;
    my $seconds = $options->{seconds} // 10;
    $seconds =~ /\A\d*\.?\d+\z/ && $seconds > 0 or usage_error("--seconds \"$seconds\" is not a number of seconds");
    my $many = whole_number( '--processes', $options->{processes} // processors() ) || 1;
    my $folder;
    my @logs = (
        [ 'in memory'               => sub { Data::Log::Shared->new( undef, SIZE ) } ],
        [ 'file, checksums'         => sub { Data::Log::Shared->new( "$folder/log", SIZE, undef, sparse => 1 ) } ],
    );
    my @rows;
    for my $case (@logs) {
        my ( $kind, $make ) = @$case;
        for my $length ( 12, 200 ) {
            push @rows, [ "append $length bytes, $kind", $make, \&appender, $length, $_ ] for 1, $many > 1 ? $many : ();
        }
        push @rows, [ "read 12 bytes, $kind", $make, \&reader, 12, $_ ] for 1, $many > 1 ? $many : ();
    }
    my $caught;
    local @SIG{@SIGNALS} = ( sub { $caught = shift; die "caught\n" } ) x @SIGNALS;
    my $done = eval {
        $folder = File::Temp->newdir( 'log-shared-XXXXXXXX', TMPDIR => 1 );
        printf "%-34s %9s %14s %12s\n", '', 'processes', 'entries/s', 'MB/s';
        STDOUT->flush;
        for my $row (@rows) {
            my ( $title, $make, $work, $length, $processes ) = @$row;
            my $rate = measure( $make, $work, $length, $processes, $seconds / @rows );
            printf "%-34s %9d %14s %12.1f\n", $title, $processes, grouped($rate), $rate * $length / 1e6;
            STDOUT->flush;
        }
        1;
    };
    my $error = $@;
    undef $folder;
    if ($caught) {
        $SIG{$caught} = 'DEFAULT';
        kill $caught, $$;
    }
    die $error if !$done;
    return 0;
}

sub grouped {
    my $digits = sprintf '%.0f', $_[0];
    1 while $digits =~ s/(\d)(\d{3})(?!\d)/$1,$2/;
    return $digits;
}

# Each process works for the time and tells how many entries it did in how long.
sub measure {
    my ( $make, $work, $length, $processes, $seconds ) = @_;
    my $log  = $make->();
    my $path = $log->path;
    my $data = 'x' x $length;
    if ( $work == \&reader ) {
        1 while $log->tail_offset < SIZE / 8 && defined $log->append($data);
    }
    pipe my $results, my $writer or fail("pipe: $!");
    pipe my $gate,    my $opener or fail("pipe: $!");
    for ( 1 .. $processes ) {
        my $pid = fork // fail("fork: $!");
        next if $pid;
        @SIG{@SIGNALS} = ('DEFAULT') x @SIGNALS;
        close $opener;
        sysread $gate, my $byte, 1;
        my ( $done, $took ) = $work->( $log, $data, $seconds, $processes );
        syswrite $writer, pack 'Qd', $done, $took;
        POSIX::_exit(0);
    }
    close $writer;
    close $opener;
    my $rate = 0;
    while ( sysread $results, my $record, 16 ) {
        my ( $done, $took ) = unpack 'Qd', $record;
        $rate += $done / $took;
    }
    1 while wait > 0;
    $log->unlink if defined $path;
    return $rate;
}

sub appender {
    my ( $log, $data, $seconds ) = @_;
    my ( $done, $start ) = ( 0, time );
    my $took;
    do {
        for ( 1 .. BATCH ) {
            defined $log->append($data) or return ( $done, time - $start );
            $done++;
        }
        $took = time - $start;
    } while $took < $seconds;
    return ( $done, $took );
}

sub reader {
    my ( $log, $data, $seconds ) = @_;
    my ( $done, $start ) = ( 0, time );
    my $took;
    do {
        $log->each_entry( sub { $done++ } );
        $took = time - $start;
    } while $took < $seconds;
    return ( $done, $took );
}

1;
