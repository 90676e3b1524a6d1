#!/usr/bin/env perl

# Several processes write lines to one log while this one follows it live, and
# checks that each line comes once, whole, and in its writer's order.

use strict;
use warnings;

use Data::Log::Shared;
use Getopt::Long qw(GetOptions);
use POSIX        qw(WNOHANG);
use Time::HiRes  qw(time);

my %opt   = ( workers => 4, lines => 100_000 );
my $usage = <<"END";
usage: $0 [--workers N] [--lines N] [--size BYTES] [--path FILE]
  --workers  processes that write (default $opt{workers})
  --lines    lines that each of them writes (default $opt{lines})
  --size     size of the log (default: what the lines need)
  --path     a new file for the log (default: in memory)
END
GetOptions( \%opt, 'workers=i', 'lines=i', 'size=i', 'path=s', 'help' ) && !@ARGV or die $usage;
if ( $opt{help} ) { print $usage; exit 0 }
my ( $workers, $lines, $path ) = @opt{qw(workers lines path)};
$workers > 0 && $lines > 0  or die $usage;
!defined $path || !-e $path or die "$path exists already\n";

# A writer that was overtaken leaves a place behind, hence the room to spare.
my $size  = $opt{size} // $workers * $lines * ( 12 + length text( $workers, $lines ) ) + 1_000_000;
my $log   = Data::Log::Shared->new( $path, $size );
my $start = time;

sub text { "worker $_[0] line $_[1] of $lines" }

sub write_lines {
    my ( $worker, $report ) = @_;
    my $n = 0;
    $n++ while $n < $lines && defined $log->append( text( $worker, $n + 1 ) );
    syswrite $report, sprintf "%d %d %.6f\n", $worker, $n, time - $start;
}

pipe my $reports, my $report or die "pipe: $!\n";
my $running = 0;
while ( $running < $workers ) {
    my $pid = fork // die "fork: $!\n";
    $running++;
    next if $pid;
    write_lines( $running, $report );
    POSIX::_exit(0);
}
close $report;

my ( $pos, $seen, %read, %disorder ) = ( 0, 0 );
my $on_line = sub {
    my ( $worker, $n ) = $_[0] =~ /\Aworker ([0-9]+) line ([0-9]+) of $lines\z/ or die "damaged line: $_[0]\n";
    $disorder{$worker}++ if $n != ++$read{$worker};
    $seen++;
};
my $failed = 0;
while ($running) {
    $pos = $log->each_entry( $on_line, $pos );
    $log->wait_for( $seen, 0.05 );
    while ( $running && waitpid( -1, WNOHANG ) > 0 ) {
        $running--;
        $failed++ if $?;
    }
}

# With no writer alive nothing is still on its way: no patience.
$pos = $log->each_entry( $on_line, $pos, 0 );
my $read_in = time - $start;

my ( $written, $written_in ) = ( 0, 0 );
for ( sort { $a->[0] <=> $b->[0] } map { [split] } <$reports> ) {
    my ( $worker, $n, $seconds ) = @$_;
    printf "worker %d: %d lines written in %.2f s, %d read, %s\n", $worker, $n, $seconds, $read{$worker} // 0,
      $disorder{$worker} ? 'OUT OF ORDER' : 'in order';
    $written += $n;
    $written_in = $seconds if $seconds > $written_in;
}
printf "written %d lines, %.0f a second\n", $written, $written / $written_in;
printf "read    %d lines, %.0f a second\n", $seen,    $seen / $read_in;
printf "order   %s\n",                      %disorder ? 'WRONG' : 'ok';
printf "log     %s, %d of %d bytes used\n", $path // 'in memory', $log->tail_offset, $log->data_size;

print "$failed workers failed.\n"                           if $failed;
print "The log was full before the lines were at an end.\n" if !$failed && $written < $workers * $lines;
exit( $seen == $written && $written == $workers * $lines && !%disorder ? 0 : 1 );
