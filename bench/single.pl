#!/usr/bin/env perl

# What one process gets: rates, and each cost as a multiple of an empty XS
# method call, which leaves most of the machine out of the number. Processor
# time; the rounds are interleaved and the best of each kind counts, so that
# what else the machine does disturbs little.

use strict;
use warnings;

use Data::Log::Shared qw(log_append);
use FindBin           qw($Bin);
use Getopt::Long      qw(GetOptions);
use lib "$Bin/lib";
use BenchReport qw(describe_machine cpu_time wall_time resident per_second);

my %opt   = ( count => 1_000_000, rounds => 12 );
my $usage = <<"END";
usage: $0 [--count N] [--rounds N]
  --count   operations in a round (default $opt{count})
  --rounds  rounds, of which the best counts (default $opt{rounds})
END
GetOptions( \%opt, 'count=i', 'rounds=i', 'help' ) && !@ARGV or die $usage;
if ( $opt{help} ) { print $usage; exit 0 }
my ( $count, $rounds ) = @opt{qw(count rounds)};
$count > 0 && $rounds > 0 or die $usage;

{
    no warnings 'once';
    *BenchEmpty::is_utf8 = \&utf8::is_utf8;
}
my $empty = bless \my $nothing, 'BenchEmpty';

sub creation {
    my $before  = resident();
    my $start   = wall_time();
    my $log     = Data::Log::Shared->new( undef, 1 << 30 );
    my $new     = wall_time() - $start;
    my $created = resident();
    my $entry   = 'x' x ( 1024 - 8 );
    $log->append($entry) // die "the log is full\n" for 1 .. 1024;
    my $filled = resident();
    printf "new(undef, 1 GiB): %.3f ms; resident %d KiB before, %d KiB after, %d KiB with 1 MiB in it\n\n",
      1000 * $new,
      $before, $created, $filled;
}

# Each kind of measurement does $count operations on the log of its size; what
# is before the timed part (a new log, say) comes from `prepare`.
my @kinds = ( { name => 'empty method call', run => sub { $empty->is_utf8 for 1 .. $count } } );
for my $length ( 12, 200 ) {
    my $data  = 'x' x $length;
    my $size  = $count * ( 8 + $length );
    my $batch = 100;
    my @batch = ($data) x $batch;
    my ( $log, $seen, $reached );
    my $reset    = sub { $log->reset };
    my $appended = sub {
        my $n = $log->entry_count;
        $n == $count or die "$n entries instead of $count\n";
    };
    my $at_end = sub { $reached == $log->tail_offset or die "the reading ended at $reached\n" };
    push @kinds,
      {
        name    => "append $length B, new log",
        prepare => sub { undef $log; $log = Data::Log::Shared->new( undef, $size ) },
        run     => sub { $log->append($data) for 1 .. $count },
        check   => $appended,
      },
      {
        name    => "append $length B",
        prepare => $reset,
        run     => sub { $log->append($data) for 1 .. $count },
        check   => $appended,
      },
      {
        name    => "log_append $length B",
        prepare => $reset,
        run     => sub { log_append( $log, $data ) for 1 .. $count },
        check   => $appended,
      },
      {
        name    => "append_multi $length B, $batch at once",
        prepare => $reset,
        run     => sub {
            my $n = 0;
            $n += $log->append_multi(@batch) for 1 .. $count / $batch;
            $n += $log->append_multi( @batch[ 1 .. $count % $batch ] ) if $count % $batch;
        },
        check => $appended,
      },
      {
        name => "read_entry $length B",
        run  => sub {
            my $pos = 0;
            while ( my ( $entry, $next ) = $log->read_entry($pos) ) { $pos = $next }
            $reached = $pos;
        },
        check => $at_end,
      },
      {
        name    => "each_entry $length B",
        prepare => sub { $seen = 0 },
        run     => sub {
            $log->each_entry( sub { $seen++ } );
        },
        check => sub { $seen == $count or die "saw $seen entries instead of $count\n" },
      },
      {
        name => "cursor next $length B",
        run  => sub {
            my $cursor = $log->cursor;
            1 while defined( my $entry = $cursor->next );
            $reached = $cursor->position;
        },
        check => $at_end,
      };
    push @kinds, { name => 'entry_count', run => sub { $log->entry_count for 1 .. $count } } if $length == 12;
}

$| = 1;
describe_machine('Data::Log::Shared');
creation();

for my $round ( 1 .. $rounds ) {
    print STDERR "\rround $round of $rounds " if -t STDERR;
    for my $kind (@kinds) {
        $kind->{prepare}->() if $kind->{prepare};
        my $start = cpu_time();
        $kind->{run}->();
        my $time = cpu_time() - $start;
        $kind->{check}->()    if $kind->{check};
        $kind->{best} = $time if !$kind->{best} || $time < $kind->{best};
    }
}
print STDERR "\r" if -t STDERR;

printf "%-34s %12s %9s %7s\n", "$count operations, best of $rounds", 'rate', 'each', 'ratio';
for my $kind (@kinds) {
    printf "%-34s %12s %6.1f ns %7.2f\n", $kind->{name}, per_second( $count / $kind->{best} ),
      1e9 * $kind->{best} / $count,
      $kind->{best} / $kinds[0]{best};
}
