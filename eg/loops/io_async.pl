#!/usr/bin/env perl
# Follows a log in IO::Async's loop. Entries come from processes that know its path only.
use strict;
use warnings;

use IO::Async::Loop;
use IO::Async::Handle;
use Data::Log::Shared;

my ( $path, $wanted ) = @ARGV;
defined $wanted or die "usage: $0 LOG COUNT\n";

my $log  = Data::Log::Shared->new( $path, 1_000_000 );
my $loop = IO::Async::Loop->new;
my ( $position, $seen ) = ( 0, 0 );

sub read_on {
    $position = $log->each_entry( sub { print "$_[0]\n"; $seen++ }, $position );
    $loop->stop if $seen >= $wanted;
}

open my $handle, '<&', $log->watch or die "watch: $!";
$loop->add(
    IO::Async::Handle->new( read_handle => $handle, on_read_ready => sub { $log->eventfd_consume; read_on() } ) );
$loop->later( \&read_on );    # what came before the watch
$loop->run;
