#!/usr/bin/env perl

# Append a few entries, then replay them: from the start, from a place kept
# from before, and with a callback.

use strict;
use warnings;
use feature 'say';

use Data::Log::Shared;

my $log = Data::Log::Shared->new( undef, 10_000 );

my @words = qw(alpha beta gamma delta epsilon);
my @offsets;
for my $word (@words) {
    my $offset = $log->append($word) // die "the log is full\n";
    push @offsets, $offset;
}

my ( $pos, @seen ) = (0);
while ( my ( $data, $next ) = $log->read_entry($pos) ) {
    printf "offset %3d: %s\n", $pos, $data;
    push @seen, $data;
    $pos = $next;
}
"@seen" eq "@words" or die "replayed (@seen) instead of (@words)\n";

# Nothing is consumed, so an offset stays good for as long as the log lives.
my ($third) = $log->read_entry( $offsets[2] );
say "the third entry, directly: $third";
$third eq $words[2] or die "the entry at $offsets[2] is not $words[2]\n";

$log->append('zeta') // die "the log is full\n";
my @new;
$pos = $log->each_entry( sub { push @new, $_[0] }, $pos );
say "new since the replay: @new";
"@new" eq 'zeta'          or die "a resumed replay found (@new)\n";
$pos == $log->tail_offset or die "the replay stopped at $pos, before the tail\n";

printf "%d entries, %d of %d bytes free\n", $log->entry_count, $log->available, $log->data_size;
