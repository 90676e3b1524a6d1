#!/usr/bin/env perl
# Follows a log under AnyEvent. Entries come from processes that know its path only.
use strict;
use warnings;

use AnyEvent;
use Data::Log::Shared;

my ( $path, $wanted ) = @ARGV;
defined $wanted or die "usage: $0 LOG COUNT\n";

my $log  = Data::Log::Shared->new( $path, 1_000_000 );
my $done = AnyEvent->condvar;
my ( $position, $seen ) = ( 0, 0 );

sub read_on {
    $position = $log->each_entry( sub { print "$_[0]\n"; $seen++ }, $position );
    $done->send if $seen >= $wanted;
}

my $watcher = AnyEvent->io( fh => $log->watch, poll => 'r', cb => sub { $log->eventfd_consume; read_on() } );
read_on();    # what came before the watch
$done->recv;
