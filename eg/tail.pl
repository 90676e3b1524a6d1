#!/usr/bin/env perl

# Like tail -f: one process appends now and then, another sleeps in wait_for
# and prints what is new.

use strict;
use warnings;
use feature 'say';

use Data::Log::Shared;
use Time::HiRes qw(sleep time);

$| = 1;
my $lines = 8;
my $log   = Data::Log::Shared->new( undef, 100_000 );

my $tailer = fork // die "fork: $!\n";
if ( !$tailer ) {
    my ( $pos, $seen ) = ( 0, 0 );
    while ( $seen < $lines ) {

        # Taken before the reading, so that an entry which comes in between
        # makes wait_for return at once.
        my $count = $log->entry_count;
        $pos = $log->each_entry(
            sub {
                my ( $when, $text ) = split / /, $_[0], 2;
                printf "%s  (%.1f ms old)\n", $text, 1000 * ( time - $when );
                $seen++;
            },
            $pos
        );
        last if $seen >= $lines;
        $log->wait_for( $count, 10 ) or die "nothing came for ten seconds\n";
    }
    exit 0;
}

for my $n ( 1 .. $lines ) {
    sleep 0.05 * ( $n % 3 );
    $log->append( time . " line $n" ) // die "the log is full\n";
}

waitpid $tailer, 0;
$? == 0 or die "the tailer failed\n";
say "the tailer saw all $lines lines";
