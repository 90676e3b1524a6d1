#!/usr/bin/env perl

# What several processes get that append to one log at the same time. Wall
# time, from the first start to the last end; each run is checked afterwards.

use strict;
use warnings;

use Data::Log::Shared;
use FindBin      qw($Bin);
use Getopt::Long qw(GetOptions);
use lib "$Bin/lib";
use BenchProcesses qw(together wall cpu);
use BenchReport    qw(describe_machine per_second);

my %opt   = ( processes => '1,2,4,8', count => 200_000, length => 12, rounds => 5 );
my $usage = <<"END";
usage: $0 [--processes N,N...] [--count N] [--length BYTES] [--rounds N]
  --processes  how many at once (default $opt{processes})
  --count      entries that each process appends (default $opt{count})
  --length     bytes of an entry, 12 or more (default $opt{length})
  --rounds     rounds, of which the best counts (default $opt{rounds})
END
GetOptions( \%opt, 'processes=s', 'count=i', 'length=i', 'rounds=i', 'help' ) && !@ARGV or die $usage;
if ( $opt{help} ) { print $usage; exit 0 }
my ( $count, $length, $rounds ) = @opt{qw(count length rounds)};
my @processes = $opt{processes} =~ /\A[0-9,]+\z/ ? grep { $_ } split /,/, $opt{processes} : ();
@processes && $count > 0 && $length >= 12 && $rounds > 0 or die $usage;

sub entries {
    my ($process) = @_;
    return map { sprintf '%04d%08d%s', $process, $_, 'x' x ( $length - 12 ) } 1 .. $count;
}

sub verify {
    my ( $log, $processes ) = @_;
    my @last = (0) x $processes;
    $log->each_entry(
        sub {
            my ( $process, $n ) = unpack 'A4 A8', $_[0];
            length $_[0] == $length && $n == ++$last[$process] or die "wrong entry at $_[1]: $_[0]\n";
        }
    );
    $_ == $count or die "read $_ entries of a process instead of $count\n" for @last;
    my $total = $log->entry_count;
    $total == $processes * $count or die "entry_count is $total instead of ", $processes * $count, "\n";
}

# Returns the seconds that all took together, and the processor time of all.
sub concurrent_appends {
    my ($processes) = @_;

    # A writer that was overtaken leaves a place behind, hence the room to spare.
    my $log   = Data::Log::Shared->new( undef, $processes * $count * ( 8 + $length + 3 ) + 1_000_000 );
    my @times = together(
        $processes,
        sub {
            my @entries = entries(@_);
            return sub {
                defined $log->append($_) or die "the log is full\n" for @entries;
            };
        }
    );
    verify( $log, $processes );
    return ( wall(@times), cpu(@times) );
}

$| = 1;
describe_machine('Data::Log::Shared');
print "Each process appends $count entries of $length B; processor time is that of one append.\n\n";
printf "%-9s %13s %13s %13s\n", 'processes', 'wall time', 'aggregate', 'processor';
my %best;
for my $round ( 1 .. $rounds ) {
    for my $processes (@processes) {
        my ( $wall, $cpu ) = concurrent_appends($processes);
        $best{$processes} = [ $wall, $cpu ] if !$best{$processes} || $wall < $best{$processes}[0];
    }
}
for my $processes (@processes) {
    my ( $wall, $cpu ) = @{ $best{$processes} };
    my $total = $processes * $count;
    printf "%-9d %10.1f ms %13s %10.1f ns\n", $processes, 1000 * $wall, per_second( $total / $wall ),
      1e9 * $cpu / $total;
}
print "\nAll entries were read back, each process's in order. Best of $rounds rounds.\n";
