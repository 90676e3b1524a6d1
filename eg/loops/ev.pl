#!/usr/bin/env perl
# Follows a log in EV's loop. Entries come from processes that know its path only.
use strict;
use warnings;

use EV;
use Data::Log::Shared;

my ( $path, $wanted ) = @ARGV;
defined $wanted or die "usage: $0 LOG COUNT\n";

my $log = Data::Log::Shared->new( $path, 1_000_000 );
my ( $position, $seen ) = ( 0, 0 );

sub read_on {
    $position = $log->each_entry( sub { print "$_[0]\n"; $seen++ }, $position );
    EV::break if $seen >= $wanted;
}

my $watcher = EV::io( $log->watch, EV::READ, sub { $log->eventfd_consume; read_on() } );
my $start   = EV::timer( 0, 0, \&read_on );    # what came before the watch
EV::run;
