#!/usr/bin/env perl

# Retention: entries older than some age are hidden with truncate, while
# writers and readers go on. A reader that was too slow learns what it missed.
# The space of hidden entries comes back only with the log itself, so a service
# that runs for ever starts a new log when this one is full.

use strict;
use warnings;
use feature 'say';

use Data::Log::Shared;

my $hour = 3600;
my $now  = 1_700_000_000;
my $log  = Data::Log::Shared->new( undef, 100_000 );

for my $age ( reverse 0 .. 47 ) {
    $log->append( $now - $age * $hour . " measured $age hours ago" ) // die "the log is full\n";
}

my $slow_reader = $log->cursor;
say 'the slow reader is at: ', $slow_reader->next;

sub expire {
    my ($oldest) = @_;
    my $pos = $log->truncation;
    while ( my ( $data, $next ) = $log->read_entry($pos) ) {
        my ($when) = split / /, $data;
        last if $when >= $oldest;
        $pos = $next;
    }
    return $log->truncate($pos);
}

my $cut = expire( $now - 24 * $hour );
my @kept;
$log->each_entry( sub { push @kept, $_[0] } );
say 'kept ', scalar @kept, ' entries, from offset ', $cut, ' on: ', $kept[0];
@kept == 25                          or die 'kept ' . @kept . " entries instead of 25\n";
$kept[0] =~ /measured 24 hours ago$/ or die "the oldest entry kept is $kept[0]\n";
my @expired = $log->read_entry(0);
@expired == 0 or die "an expired entry can still be read\n";

# It only ever goes forward.
$log->truncate(0);
$log->truncation == $cut or die "truncate went back\n";

my $next = $slow_reader->next;
say "the slow reader goes on at: $next";
say 'it missed ', $slow_reader->missed, ' bytes';
$next eq $kept[0]        or die "the slow reader went on somewhere else\n";
$slow_reader->missed > 0 or die "the slow reader was not told\n";
