#!/usr/bin/env perl

# Event sourcing: the log is the truth, balances are only what follows from it.
# A teller process is killed in mid-flight; the next one rebuilds the balances
# from the file and goes on. Both sides of a transfer are one append_multi, so
# money is neither made nor lost, wherever the teller died.

use strict;
use warnings;
use feature 'say';

use Data::Log::Shared;
use File::Temp qw(tempdir);
use List::Util qw(sum);

my @accounts = qw(alice bob carol);
my $path     = tempdir( CLEANUP => 1 ) . '/bank.log';
my $size     = 10_000_000;

sub rebuild {
    my ($log) = @_;
    my ( %balance, $events );
    my $apply = sub {
        my ( $account, $amount ) = split / /, $_[0];
        $balance{$account} += $amount;
        $events++;
    };

    # No other teller is alive, so what is unfinished stays so: no patience.
    $log->each_entry( $apply, 0, 0 );
    return ( \%balance, $events );
}

sub transfer {
    my ( $log, $from, $to, $amount ) = @_;
    return scalar $log->append_multi( "$from -$amount", "$to $amount" );
}

{
    my $log = Data::Log::Shared->new( $path, $size );
    $log->append("$_ 1000") // die "the log is full\n" for @accounts;
}

pipe my $done, my $report or die "pipe: $!\n";
my $teller = fork // die "fork: $!\n";
if ( !$teller ) {
    my $log = Data::Log::Shared->new( $path, $size );
    my $n   = 0;
    while ( transfer( $log, @accounts[ $n % 3, ( $n + 1 ) % 3 ], 1 + $n % 7 ) ) {
        syswrite $report, "\n";
        $n++;
    }
    exit 0;
}
close $report;

my $acknowledged = 0;
while ( my $n = sysread $done, my $buffer, 4096 ) {
    $acknowledged += $n;
    kill KILL => $teller if $acknowledged >= 1000;
}
waitpid $teller, 0;
$? & 127 or die "the teller left by itself\n";
say "a teller was killed after $acknowledged acknowledged transfers";

my $log = Data::Log::Shared->new( $path, $size );
my ( $balance, $events ) = rebuild($log);
my $transfers = ( $events - @accounts ) / 2;
say "rebuilt from $events events: ", join ', ', map { "$_ $balance->{$_}" } @accounts;
$transfers >= $acknowledged                 or die "only $transfers transfers are in the log\n";
$transfers == int $transfers                or die "half a transfer is in the log\n";
sum( values %$balance ) == 1000 * @accounts or die "the sum of the balances is wrong\n";

transfer( $log, 'carol', 'alice', 10 ) or die "the log is full\n";
my ($after) = rebuild($log);
say "the next teller goes on: alice $after->{alice}, carol $after->{carol}";
$after->{alice} == $balance->{alice} + 10 or die "the last transfer is missing\n";
