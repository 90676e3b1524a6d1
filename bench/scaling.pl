#!/usr/bin/env perl

# What an append costs as the log grows, and as more processes write and follow it. Draws both.

use strict;
use warnings;

use Data::Log::Shared;
use FindBin      qw($Bin);
use Getopt::Long qw(GetOptions);
use List::Util   qw(max min);
use lib "$Bin/lib";
use BenchChart     qw(lines);
use BenchProcesses qw(together wall cpu);
use BenchReport    qw(command machine cpu_of per_second write_file);

my %opt = (
    size    => 4096,
    writers => '1,2,4,8,16,64',
    tailers => '0,1,8',
    count   => 200_000,
    rounds  => 3,
);
my @given = @ARGV;
my $usage = <<"END";
usage: $0 [--size MIB] [--writers N,N...] [--tailers N,N...] [--count N] [--rounds N] [--svg DIR [--note TEXT]]
  --size     the log grows to that many MiB, all of them memory (default $opt{size})
  --writers  how many at once (default $opt{writers})
  --tailers  how many follow meanwhile (default $opt{tailers})
  --count    entries that all writers together append (default $opt{count})
  --rounds   rounds, of which the best counts (default $opt{rounds})
  --svg      directory for growth.svg and processes.svg
  --note     what their reader should know besides machine and command
END
GetOptions( \%opt, 'size=i', 'writers=s', 'tailers=s', 'count=i', 'rounds=i', 'svg=s', 'note=s', 'help' ) && !@ARGV
  or die $usage;
if ( $opt{help} ) { print $usage; exit 0 }
my @writers = grep { /\A[1-9][0-9]*\z/ } split /,/, $opt{writers};
my @tailers = grep { /\A[0-9]+\z/ } split /,/,      $opt{tailers};
my ( $count, $rounds ) = @opt{qw(count rounds)};
@writers && @tailers && $opt{size} >= 2 && $count >= max(@writers) && $rounds > 0 or die $usage;

my $mib     = 1 << 20;
my $entry   = 'x' x 12;
my $machine = machine();

# Processor time of an append at 1 MiB, 2 MiB, 4 MiB and so on of a fresh log: the best of many short
# runs there. The space between is filled with large entries.
sub growth {
    my ($best) = @_;
    my $log    = Data::Log::Shared->new( undef, ( $opt{size} + 1 ) * $mib );
    my $filler = 'x' x ( $mib / 4 - 8 );
    my $run    = 2000;
    for ( my $size = 1 ; $size <= $opt{size} ; $size *= 2 ) {
        while ( $log->tail_offset + length($filler) + 8 <= $size * $mib ) {
            $log->append($filler) // die "the log is full\n";
        }
        for ( 1 .. 12 ) {
            my $cost = cpu_of( sub { $log->append($entry) for 1 .. $run } ) / $run;
            $best->{$size} = $cost if !$best->{$size} || $cost < $best->{$size};
        }
    }
}

# Wall time of the writers, and processor time of one append.
sub crowd {
    my ( $writers, $tailers ) = @_;
    my $each  = int $count / $writers;
    my $total = $each * $writers;
    my $log   = Data::Log::Shared->new( undef, $total * 24 + $mib );
    my @times = together(
        $writers + $tailers,
        sub {
            my ($process) = @_;
            return sub { defined $log->append($entry) or die "the log is full\n" for 1 .. $each }
              if $process < $writers;
            my $cursor = $log->cursor;
            return sub { defined $cursor->next(60) or die "entry $_ did not come\n" for 1 .. $total };
        }
    );
    $log->entry_count == $total or die "not all was appended\n";
    splice @times, $writers;
    return ( wall(@times) / $total, cpu(@times) / $total );
}

$| = 1;
print "$machine\n\n";

my %cost;
growth( \%cost ) for 1 .. $rounds;
my @sizes = sort { $a <=> $b } keys %cost;
printf "%-20s %s\n",      'MiB in the log', 'processor time of an append of 12 B, fresh memory';
printf "%-20d %.1f ns\n", $_,               1e9 * $cost{$_} for @sizes;
printf "the dearest is %.2f x the cheapest\n\n", max( values %cost ) / min( values %cost );

my ( %wall, %cpu );
for my $round ( 1 .. $rounds ) {
    for my $tailers (@tailers) {
        for my $writers (@writers) {
            my ( $wall, $cpu ) = crowd( $writers, $tailers );
            $wall{$tailers}{$writers} = min( $wall, $wall{$tailers}{$writers} // $wall );
            $cpu{$tailers}{$writers}  = min( $cpu,  $cpu{$tailers}{$writers}  // $cpu );
        }
    }
}
printf "%-8s %-8s %12s %26s\n", 'writers', 'tailers', 'appends', 'processor time of one';
for my $tailers (@tailers) {
    printf "%-8d %-8d %12s %23.1f ns\n", $_, $tailers, per_second( 1 / $wall{$tailers}{$_} ), 1e9 * $cpu{$tailers}{$_}
      for @writers;
}
print "\nBest of $rounds rounds; each tailer got every entry.\n";

if ( defined $opt{svg} ) {
    my $command = command( 'bench/scaling.pl', @given );
    my @notes   = ( $machine, $command, $opt{note} // () );
    write_file(
        "$opt{svg}/growth.svg",
        lines(
            title  => 'Cost of an append as the log grows',
            notes  => \@notes,
            x      => 'MiB in the log',
            y      => 'nanoseconds of processor time',
            series => [ [ '12 B', map { [ $_, 1e9 * $cost{$_} ] } @sizes ] ],
        )
    );
    write_file(
        "$opt{svg}/processes.svg",
        lines(
            title  => 'Appends of 12 B by several processes',
            notes  => \@notes,
            x      => 'writers',
            y      => 'million appends per second, all together',
            series => [
                map {
                    my $tailers = $_;
                    [
                        "$tailers tailer" . ( $tailers == 1 ? '' : 's' ),
                        map { [ $_, 1e-6 / $wall{$tailers}{$_} ] } @writers
                    ]
                } @tailers
            ],
        )
    );
}
