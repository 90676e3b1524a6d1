#!/usr/bin/env perl

# What one call costs, as a multiple of an empty XS method call, which leaves most of the machine out
# of the number, and other figures as multiples of what the machine can do at best; each beside its
# limit. Processor time, but for what waits. All measurements take turns, and of each the best round
# counts, so that what else the machine does disturbs little.

use strict;
use warnings;

use Config;
use Data::Log::Shared qw(log_append log_next);
use File::Temp        ();
use FindBin           qw($Bin);
use Getopt::Long      qw(GetOptions);
use List::Util        qw(min);
use POSIX             ();
use Time::HiRes       ();
use lib "$Bin/lib";
use BenchProcesses qw(together cpu wall);
use BenchReport    qw(describe_machine cores cpu_of wall_time median resident per_second);

my %opt   = ( count => 20_000, rounds => 100, entries => 10_000_000 );
my $usage = <<"END";
usage: $0 [--count N] [--rounds N] [--entries N] [--only REGEX] [--directory DIR] [--rates]
  --count      calls in a round (default $opt{count})
  --rounds     rounds, of which the best counts (default $opt{rounds})
  --entries    of the log that a new process attaches to (default $opt{entries})
  --only       rows whose name matches
  --directory  where files go (default: the system's for temporary files)
  --rates      prints also what each kind of call costs in nanoseconds and how many go into a second
END
GetOptions( \%opt, 'count=i', 'rounds=i', 'entries=i', 'only=s', 'directory=s', 'rates', 'help' ) && !@ARGV
  or die $usage;
if ( $opt{help} ) { print $usage; exit 0 }
my ( $count, $rounds ) = @opt{qw(count rounds)};
$count >= 1000 && $rounds > 0 && $opt{entries} > 0 or die $usage;

my $page = 4096;

# Logs that are emptied and filled again are not quite full: a full one may give its memory back.
my $room      = $page;
my $mib       = 1 << 20;
my $batch     = 100;
my $large     = 32;                                                                                   # entries of 1 MiB
my $directory = File::Temp->newdir( $opt{directory} ? ( DIR => $opt{directory} ) : ( TMPDIR => 1 ) );

{
    no warnings 'once';
    *BenchEmpty::is_utf8 = \&utf8::is_utf8;
}
my $empty = bless \my $nothing, 'BenchEmpty';

# Nothing of its own process is known to a program that was compiled for this, hence a pipe.
my $limits = do {
    my $program = "$directory/limits";
    system("$Config{cc} -O2 -o '$program' '$Bin/lib/limits.c' 2>/dev/null") == 0 ? $program : undef;
};

sub limit {
    my (@args) = @_;
    open my $pipe, '-|', $limits, @args or die "$limits: $!\n";
    my $seconds = <$pipe>;
    close $pipe or die "$limits @args failed\n";
    return 0 + $seconds;
}

# Does `measure` in a new process, for what a first time costs.
sub in_new_process {
    my ($measure) = @_;
    my $pid       = open my $result, '-|';
    defined $pid or die "fork: $!\n";
    if ( !$pid ) {
        print $measure->();
        close STDOUT;
        POSIX::_exit(0);
    }
    my $seconds = <$result>;
    close $result or die "a process failed with status $?\n";
    return 0 + $seconds;
}

# name => how to measure: `measure` returns what `count` of something cost, or `run` is timed, between
# `prepare` and `check`. An undefined one does not count. `rounds`: so many are enough. `typical`: the
# median counts, not the best.
my %measured;
my @order;

sub measurement {
    my ( $name, %how ) = @_;
    $measured{$name} = { count => $count, %how, rounds => min( $rounds, $how{rounds} // $rounds ), all => [] };
    push @order, $name;
}

measurement 'empty call', run => sub { $empty->is_utf8 for 1 .. $count };

for my $length ( 12, 200 ) {
    my $data  = 'x' x $length;
    my $size  = $count * ( 8 + $length ) + $room;
    my @batch = ($data) x $batch;
    for my $checksum ( 0, 1 ) {
        my $log = Data::Log::Shared->new( undef, $size, undef, checksum => $checksum );
        my ( $reached, $sum );
        my %writing = (
            prepare => sub { $log->reset },
            check   => sub { $log->entry_count == $count or die "not all was appended\n" },
        );
        my $at_end = sub { $reached == $log->tail_offset or die "the reading ended at $reached\n" };

        if ($checksum) {
            measurement "checksummed append $length", %writing, run => sub { $log->append($data) for 1 .. $count };
            next;
        }
        measurement "append $length", %writing, run => sub { $log->append($data) for 1 .. $count };
        measurement "read_entry $length",
          check => $at_end,
          run   => sub {
            my $pos = 0;
            while ( my ( $entry, $next ) = $log->read_entry($pos) ) { $pos = $next }
            $reached = $pos;
          };
        if ( $length > 12 ) {
            my $fresh;
            measurement 'first append',
              rounds  => 30,
              prepare => sub { undef $fresh; $fresh = Data::Log::Shared->new( undef, $size ) },
              run     => sub { $fresh->append($data) for 1 .. $count };
            next;
        }

        measurement 'each_entry',
          prepare => sub { $sum = 0 },
          check   => sub { $sum == $count * $length or die "saw $sum bytes\n" },
          run     => sub {
            $log->each_entry( sub { $sum += length $_[0] } );
          };
        measurement 'entry_count', run => sub { $log->entry_count for 1 .. $count };
        measurement 'cursor next',
          check => $at_end,
          run   => sub {
            my $cursor = $log->cursor;
            while ( defined( my $entry = $cursor->next ) ) { }
            $reached = $cursor->position;
          };
        measurement 'log_next',
          check => $at_end,
          run   => sub {
            my $cursor = $log->cursor;
            while ( defined( my $entry = log_next($cursor) ) ) { }
            $reached = $cursor->position;
          };
        measurement 'log_append', %writing, run => sub { log_append( $log, $data ) for 1 .. $count };
        my $batches = int $count / $batch;
        measurement 'append_multi',
          prepare => sub { $log->reset },
          check   => sub { $log->entry_count == $batches * $batch or die "not all was appended\n" },
          count   => $batches * $batch,
          run     => sub {
            my $n = 0;
            $n += $log->append_multi(@batch) for 1 .. $batches;
          };
    }
}

measurement 'new',
  rounds  => 20,
  count   => 1,
  measure => sub {
    my $start = wall_time();
    my $log   = Data::Log::Shared->new( undef, 1 << 30 );
    return wall_time() - $start;
  };

my $pages = int $count * 208 / $page;
measurement 'page', rounds => 30, count => 1, measure => sub { limit( 'touch', $pages ) }
  if $limits;

# Processes that did not have the processors to themselves say nothing: they hardly ran at once.
for my $processes ( 1, 8 ) {
    my $data = 'x' x 12;
    my $each = 2 * $count;
    measurement "$processes at once",
      rounds  => 50,
      typical => 1,
      count   => $processes * $each,
      measure => sub {
        my $log   = Data::Log::Shared->new( undef, $processes * $each * 24 );
        my @times = together(
            $processes,
            sub {
                return sub {
                    defined $log->append($data) or die "the log is full\n" for 1 .. $each;
                };
            }
        );
        $log->entry_count == $processes * $each or die "not all was appended\n";
        my $wall = wall(@times);
        return cpu(@times) > 0.8 * $wall * min( $processes, cores() ) ? $wall : undef;
      };
}

# How long until another process, asleep, knows: `$wait` sleeps there, `$signal` wakes it up here.
sub wake_up {
    my ( $wait, $signal ) = @_;
    my $wakes = 400;
    pipe my $reply, my $woken or die "pipe: $!\n";
    my $pid = fork // die "fork: $!\n";
    if ( !$pid ) {
        for ( 1 .. $wakes ) {
            $wait->();
            syswrite $woken, pack 'd', wall_time();
        }
        POSIX::_exit(0);
    }
    close $woken;
    my @latencies;
    for ( 1 .. $wakes ) {
        Time::HiRes::sleep(0.0003);
        my $start = wall_time();
        $signal->();
        sysread $reply, my $time, 8 or die "the waiting process left\n";
        push @latencies, unpack( 'd', $time ) - $start;
    }
    waitpid $pid, 0;
    return median(@latencies);
}

measurement 'wake-up',
  rounds  => 10,
  count   => 1,
  measure => sub {
    my $log  = Data::Log::Shared->new( undef, $mib );
    my $seen = 0;
    return wake_up( sub { $log->wait_for( $seen++ ) }, sub { $log->append('x') } );
  };
measurement 'pipe',
  rounds  => 10,
  count   => 1,
  measure => sub {
    pipe my $read, my $write or die "pipe: $!\n";
    return wake_up( sub { sysread $read, my $byte, 1 }, sub { syswrite $write, 'x' } );
  };

{
    my $log   = Data::Log::Shared->new( undef, $large * ( $mib + 8 ) + $room );
    my $entry = 'x' x $mib;
    measurement 'large append',
      rounds  => 20,
      count   => $large,
      prepare => sub { $log->reset },
      check   => sub { $log->entry_count == $large or die "not all was appended\n" },
      run     => sub { $log->append($entry) for 1 .. $large };
    for my $how (
        [
            read_entry => sub {
                my $pos = 0;
                while ( my ( $data, $next ) = $log->read_entry($pos) ) { $pos = $next }
            }
        ],
        [
            cursor => sub {
                my $cursor = $log->cursor;
                while ( defined( my $data = $cursor->next ) ) { }
            }
        ],
        [
            each_entry => sub {
                $log->each_entry( sub { } );
            }
        ],
      )
    {
        measurement "large $how->[0]", rounds => 20, count => $large, run => $how->[1];
    }
    for my $copy ( $limits ? qw(copy-in copy-out) : () ) {
        measurement $copy, rounds => 10, count => 1, measure => sub { limit( $copy, $large ) };
    }
}

# A file that much of is in use, and one that little is of; equally much is dirty.
{
    my $entry = 'x' x ( $mib - 8 );
    my %log   = map { $_ => Data::Log::Shared->new( "$directory/sync-$_", 1 << 29 ) } qw(little much);
    $log{much}->append($entry) // die "the log is full\n" for 1 .. 256;
    $_->sync for values %log;
    for my $used (qw(little much)) {
        my $log = $log{$used};
        measurement "sync $used",
          rounds  => 20,
          count   => 1,
          prepare => sub { $log->append( 'x' x 65_528 ) },
          run     => sub { $log->sync };
    }
}

# One sequential walk over all that a new process finds, and nothing twice.
{
    my $path  = "$directory/attach";
    my $bytes = 20 * $opt{entries};
    my $log;
    my $fill = sub {
        return if $log;
        $log = Data::Log::Shared->new( $path, $bytes, undef, checksum => 0 );
        my $left = $opt{entries};
        while ( $left > 0 ) {
            my $n = min( $left, 1000 );
            $log->append_multi( ( 'x' x 12 ) x $n ) or die "the log is full\n";
            $left -= $n;
        }
    };
    measurement 'attach',
      rounds  => 5,
      count   => 1,
      prepare => $fill,
      measure => sub {
        in_new_process(
            sub {
                cpu_of(
                    sub {
                        my $mine = Data::Log::Shared->new( $path, $bytes );
                        $mine->entry_count == $opt{entries} && $mine->stats->{count} == $opt{entries}
                          or die "not all entries are there\n";
                    }
                );
            }
        );
      };
    measurement 'scan', rounds => 5, count => 1, measure => sub { limit( 'scan', $path ) }
      if $limits;
}

measurement 'memory',
  rounds  => 1,
  count   => 1,
  measure => sub {
    my $log    = Data::Log::Shared->new( undef, 1 << 30 );
    my $entry  = 'x' x ( 1024 - 8 );
    my $before = resident();
    $log->append($entry) // die "the log is full\n" for 1 .. 1024;
    return ( resident() - $before ) / 1024;
  };

sub ratio { $_[0] / $_[1] }
sub speed { $_[1] / $_[0] }
my $calls = 'empty calls';

# Work, limit, unit, and what the figure is computed from; how, if it is no ratio.
my @rows = (
    [ 'append 12 B',                         '<= 1.35', $calls,      [ 'append 12',      'empty call' ] ],
    [ 'append 200 B',                        '<= 1.42', $calls,      [ 'append 200',     'empty call' ] ],
    [ 'read_entry loop, 12 B',               '<= 2.65', $calls,      [ 'read_entry 12',  'empty call' ] ],
    [ 'read_entry loop, 200 B',              '<= 2.85', $calls,      [ 'read_entry 200', 'empty call' ] ],
    [ 'each_entry, 12 B, adding up lengths', '<= 0.78', $calls,      [ 'each_entry',     'empty call' ] ],
    [ 'entry_count',                         '<= 1.15', $calls,      [ 'entry_count',    'empty call' ] ],
    [ 'append_multi, 100 x 12 B, each',      '<= 0.15', $calls,      [ 'append_multi',   'empty call' ] ],
    [ 'cursor next, 12 B',                   '<= 2.2',  $calls,      [ 'cursor next',    'empty call' ] ],
    [ 'log_next, 12 B',                      '<= 1.0',  $calls,      [ 'log_next',       'empty call' ] ],
    [ 'log_append, 12 B',                    '<= 0.58', $calls,      [ 'log_append',     'empty call' ] ],
    [ 'new(undef, 1 GiB)',                   '<= 1',    'ms',        ['new'],    sub { 1000 * $_[0] } ],
    [ 'memory of it with 1 MiB in it',       '<= 4',    'MiB',       ['memory'], sub { $_[0] } ],
    [ 'checksummed append 12 B',             '<= 1.15', 'x without', [ 'checksummed append 12',  'append 12' ] ],
    [ 'checksummed append 200 B',            '<= 1.35', 'x without', [ 'checksummed append 200', 'append 200' ] ],
    [
        'first pass, extra for a fresh page',
        '<= 1.1', 'x C loop',
        [ 'first append', 'append 200', 'page' ],
        sub { ( $_[0] - $_[1] ) * $count / $pages / $_[2] }
    ],
    [ '8 processes append 12 B',        '>= 0.75', "x one's rate", [ '8 at once',        '1 at once' ], \&speed ],
    [ 'append to wake-up, p50',         '<= 1.15', 'x a pipe',     [ 'wake-up',          'pipe' ] ],
    [ 'append 1 MiB',                   '>= 0.5',  'x memcpy',     [ 'large append',     'copy-in' ],  \&speed ],
    [ 'read_entry loop, 1 MiB',         '>= 0.5',  'x memcpy',     [ 'large read_entry', 'copy-out' ], \&speed ],
    [ 'cursor next, 1 MiB',             '>= 0.5',  'x memcpy',     [ 'large cursor',     'copy-out' ], \&speed ],
    [ 'each_entry, 1 MiB',              '>= 0.5',  'x memcpy',     [ 'large each_entry', 'copy-out' ], \&speed ],
    [ 'sync of 64 KiB, 256 MiB in use', '<= 1.2',  'x 0 in use',   [ 'sync much',        'sync little' ] ],
    [ 'attach and count, new process',  '<= 3',    'x reading',    [ 'attach',           'scan' ] ],
);

if ( defined $opt{only} ) {
    @rows = grep { $_->[0] =~ /$opt{only}/ } @rows or die "no row matches $opt{only}\n";
}
my %needed = map { $_ => 1 } map { @{ $_->[3] } } @rows;
@order = grep { $needed{$_} } @order;

$| = 1;
describe_machine('Data::Log::Shared');
for my $round ( 1 .. $rounds ) {
    print STDERR "\rround $round of $rounds " if -t STDERR;
    for my $m ( @measured{@order} ) {
        next              if int( $round * $m->{rounds} / $rounds ) == int( ( $round - 1 ) * $m->{rounds} / $rounds );
        $m->{prepare}->() if $m->{prepare};
        my $cost = $m->{measure} ? $m->{measure}->() : cpu_of( $m->{run} );
        $m->{check}->() if $m->{check};
        push @{ $m->{all} }, $cost if defined $cost;
    }
}
print STDERR "\r" if -t STDERR;
for my $m ( grep { @{ $_->{all} } } @measured{@order} ) {
    $m->{cost} = ( $m->{typical} ? median( @{ $m->{all} } ) : min( @{ $m->{all} } ) ) / $m->{count};
}

my $unmet = 0;
printf "%-36s %8s %8s  %-14s %s\n", 'work', 'limit', 'figure', 'unit', 'met';
for my $row (@rows) {
    my ( $work, $limit, $unit, $of, $compute ) = @$row;
    printf "%-36s %8s ", $work, $limit;
    if ( my ($lacking) = grep { !defined $measured{$_}{cost} } @$of ) {
        print "skipped: ", $measured{$lacking}{all} ? "the processors are too busy\n" : "no C compiler\n";
        next;
    }
    my $figure = ( $compute || \&ratio )->( map { $measured{$_}{cost} } @$of );
    my ( $side, $bound ) = split ' ', $limit;
    my $met = $side eq '<=' ? $figure <= $bound : $figure >= $bound;
    $unmet++ if !$met;
    printf "%8.2f  %-14s %s\n", $figure, $unit, $met ? 'yes' : 'NO';
}
print "\n$unmet of ", scalar @rows, " rows not met\n";

if ( $opt{rates} ) {
    printf "\n%-36s %10s %12s\n", 'call', 'each', 'rate';
    for my $name ( grep { $measured{$_}{run} && $measured{$_}{count} > 1 } @order ) {
        my $cost = $measured{$name}{cost};
        printf "%-36s %7.1f ns %12s\n", $name, 1e9 * $cost, per_second( 1 / $cost );
    }
}
