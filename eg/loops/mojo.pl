#!/usr/bin/env perl
# Follows a log in Mojo::IOLoop. Entries come from processes that know its path only.
use strict;
use warnings;

use Mojo::IOLoop;
use Data::Log::Shared;

my ( $path, $wanted ) = @ARGV;
defined $wanted or die "usage: $0 LOG COUNT\n";

my $log = Data::Log::Shared->new( $path, 1_000_000 );
my ( $position, $seen ) = ( 0, 0 );

sub read_on {
    $position = $log->each_entry( sub { print "$_[0]\n"; $seen++ }, $position );
    Mojo::IOLoop->stop if $seen >= $wanted;
}

open my $handle, '<&', $log->watch or die "watch: $!";
Mojo::IOLoop->singleton->reactor->io( $handle, sub { $log->eventfd_consume; read_on() } )->watch( $handle, 1, 0 );
Mojo::IOLoop->next_tick( \&read_on );    # what came before the watch
Mojo::IOLoop->start;
