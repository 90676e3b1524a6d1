package BenchProcesses;

use strict;
use warnings;

use Exporter 'import';
use List::Util  qw(max min sum);
use POSIX       ();
use BenchReport qw(cpu_time wall_time);

our @EXPORT_OK = qw(together wall cpu);

# Forks, lets each process prepare what it then does, and starts all at the same time. For each its
# start and end, and the processor time it took between.
sub together {
    my ( $processes, $prepare ) = @_;
    pipe my $ready,   my $is_ready or die "pipe: $!\n";
    pipe my $gate,    my $open     or die "pipe: $!\n";
    pipe my $results, my $result   or die "pipe: $!\n";
    my @pids;
    for my $process ( 0 .. $processes - 1 ) {
        my $pid = fork // die "fork: $!\n";
        if ( !$pid ) {
            my $done = eval {
                my $work = $prepare->($process);
                close $open;
                syswrite $is_ready, "\n";
                sysread $gate, my $nothing, 1;
                my ( $cpu, $start ) = ( cpu_time(), wall_time() );
                $work->();
                my $end = wall_time();
                syswrite $result, sprintf "%d %.9f %.9f %.9f\n", $process, $start, $end, cpu_time() - $cpu;
                1;
            };
            print STDERR $@ if !$done;
            POSIX::_exit( $done ? 0 : 1 );
        }
        push @pids, $pid;
    }
    close $_ for $is_ready, $result;
    for (@pids) { sysread $ready, my $one, 1 or die "a process left before the start\n" }
    close $open;
    my @times = sort { $a->[0] <=> $b->[0] } map { [split] } <$results>;
    for my $pid (@pids) {
        waitpid $pid, 0;
        $? == 0 or die "a process failed with status $?\n";
    }
    return map { { start => $_->[1], end => $_->[2], cpu => $_->[3] } } @times;
}

# Seconds from the first start to the last end.
sub wall {
    my @times = @_;
    return max( map { $_->{end} } @times ) - min( map { $_->{start} } @times );
}

sub cpu {
    my @times = @_;
    return sum( map { $_->{cpu} } @times );
}

1;
