#!/usr/bin/env perl

# An event loop that watches a log and something else: the log by its eventfd,
# a pipe from the producer for commands. Core modules only; AnyEvent, EV and
# others watch the same descriptor in the same way.

use strict;
use warnings;
use feature 'say';

use Data::Log::Shared;
use IO::Select;

my $events = 200;
my $log    = Data::Log::Shared->new( undef, 100_000 );

# Made before the fork, so that both processes have it.
my $eventfd = $log->eventfd;

pipe my $commands, my $producer_end or die "pipe: $!\n";
my $producer = fork // die "fork: $!\n";
if ( !$producer ) {
    close $commands;
    for my $n ( 1 .. $events ) {
        $log->append("event $n") // die "the log is full\n";
        $log->notify;
        syswrite $producer_end, "checkpoint $n\n" if $n % 50 == 0;
        select undef, undef, undef, 0.001;
    }
    exit 0;
}
close $producer_end;

my ( $pos, $seen, $wakeups, @checkpoints ) = ( 0, 0, 0 );
my $on_log = sub {
    $log->eventfd_consume;    # before the reading, or a wake-up could be lost
    $wakeups++;
    $pos = $log->each_entry( sub { $seen++ }, $pos );
};

my $partial    = '';
my $on_command = sub {
    my $n = sysread( $commands, $partial, 4096, length $partial ) // die "read: $!\n";
    while ( $partial =~ s/^(.*)\n// ) {
        say "$1 (so far $seen events in $wakeups wake-ups)";
        push @checkpoints, $1;
    }
    return $n > 0;
};

my $loop    = IO::Select->new( $eventfd, $commands );
my $running = 1;
while ($running) {
    my @ready = $loop->can_read(10) or die "nothing came for ten seconds\n";
    for my $ready (@ready) {
        if ( ref $ready ) { $running = $on_command->() }
        else              { $on_log->() }
    }
}
$on_log->();    # what came together with the end of the producer

waitpid $producer, 0;
$? == 0           or die "the producer failed\n";
$seen == $events  or die "saw $seen of $events events\n";
@checkpoints == 4 or die "saw @checkpoints\n";
say "$seen events in $wakeups wake-ups";
