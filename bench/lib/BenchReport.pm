package BenchReport;

use strict;
use warnings;

use Config;
use Exporter 'import';
use POSIX       qw(strftime);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC CLOCK_PROCESS_CPUTIME_ID);

our @EXPORT_OK =
  qw(command describe_machine machine cores cpu_time wall_time cpu_of median resident per_second write_file);

sub cpu_time  { clock_gettime(CLOCK_PROCESS_CPUTIME_ID) }
sub wall_time { clock_gettime(CLOCK_MONOTONIC) }

sub cpu_of {
    my ($work) = @_;
    my $start = cpu_time();
    $work->();
    return cpu_time() - $start;
}

sub median {
    my @sorted = sort { $a <=> $b } @_;
    return $sorted[ $#sorted / 2 ];
}

sub cores {
    my $cores = () = _slurp('/proc/cpuinfo') =~ /^processor\s*:/mg;
    return $cores;
}

sub machine {
    my ($model)  = _slurp('/proc/cpuinfo') =~ /^(?:model name|Hardware|Model)\s*:\s*(.+)$/m;
    my ($kernel) = _slurp('/proc/version') =~ /^(\S+ version [0-9.]+)/;
    return sprintf 'perl %vd%s, %s x %s, %s, %s', $^V, $Config{useithreads} ? ' with ithreads' : '',
      cores(), $model // 'unknown processor', $kernel, strftime( '%Y-%m-%d', localtime );
}

sub describe_machine {
    my ($class) = @_;
    printf "%s %s, %s\n\n", $class, $class->VERSION // '(no version)', machine();
}

# Resident memory of this process in KiB.
sub resident {
    my ($kib) = _slurp('/proc/self/status') =~ /^VmRSS:\s+([0-9]+) kB/m;
    return $kib;
}

# What was typed, without what says only where the drawing goes.
sub command {
    my ( $program, @arguments ) = @_;
    return join( ' ', $program, @arguments ) =~ s/ --(?:svg|note)\b.*//r;
}

sub per_second {
    my ($rate) = @_;
    return $rate >= 1e6 ? sprintf '%.2f M/s', $rate / 1e6 : sprintf '%.1f K/s', $rate / 1e3;
}

sub write_file {
    my ( $path, $content ) = @_;
    open my $fh, '>', $path or die "$path: $!\n";
    print {$fh} $content;
    close $fh or die "$path: $!\n";
}

sub _slurp {
    my ($path) = @_;
    open my $fh, '<', $path or die "$path: $!\n";
    local $/;
    return scalar <$fh>;
}

1;
