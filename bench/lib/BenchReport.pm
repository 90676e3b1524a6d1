package BenchReport;

use strict;
use warnings;

use Config;
use Exporter 'import';
use POSIX       qw(strftime);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC CLOCK_PROCESS_CPUTIME_ID);

our @EXPORT_OK = qw(describe_machine cpu_time wall_time resident per_second);

sub cpu_time  { clock_gettime(CLOCK_PROCESS_CPUTIME_ID) }
sub wall_time { clock_gettime(CLOCK_MONOTONIC) }

sub describe_machine {
    my ($class)  = @_;
    my $cpuinfo  = _slurp('/proc/cpuinfo');
    my ($model)  = $cpuinfo                =~ /^(?:model name|Hardware|Model)\s*:\s*(.+)$/m;
    my $cores    = () = $cpuinfo           =~ /^processor\s*:/mg;
    my ($kernel) = _slurp('/proc/version') =~ /^(\S+ version \S+)/;
    printf "%s %s, perl %vd%s, %s x %s, %s, %s\n\n", $class, $class->VERSION // '(no version)', $^V,
      $Config{useithreads} ? ' with ithreads' : '', $cores, $model // 'unknown processor', $kernel,
      strftime( '%Y-%m-%d %H:%M:%S %z', localtime );
}

# Resident memory of this process in KiB.
sub resident {
    my ($kib) = _slurp('/proc/self/status') =~ /^VmRSS:\s+([0-9]+) kB/m;
    return $kib;
}

sub per_second {
    my ($rate) = @_;
    return $rate >= 1e6 ? sprintf '%.2f M/s', $rate / 1e6 : sprintf '%.1f K/s', $rate / 1e3;
}

sub _slurp {
    my ($path) = @_;
    open my $fh, '<', $path or die "$path: $!\n";
    local $/;
    return scalar <$fh>;
}

1;
