#!/usr/bin/env perl

# An audit trail in a file, written by several processes. One of them is killed
# in the middle of its work: what it had recorded stays in the trail.

use strict;
use warnings;
use feature 'say';

use Data::Log::Shared;
use File::Temp qw(tempdir);

my ( $workers, $actions, $last_words ) = ( 4, 500, 123 );

my $path = tempdir( CLEANUP => 1 ) . '/audit.log';
my $log  = Data::Log::Shared->new( $path, 1_000_000 );

sub work {
    my ($worker) = @_;
    for my $n ( 1 .. $actions ) {
        $log->append("$worker $n user$worker changed record $n") // die "the audit trail is full\n";
        kill KILL => $$ if $worker == 2 && $n == $last_words;
    }
}

my %pid;
for my $worker ( 1 .. $workers ) {
    my $pid = fork // die "fork: $!\n";
    if ( !$pid ) {
        work($worker);
        exit 0;
    }
    $pid{$pid} = $worker;
}
while ( ( my $pid = wait ) > 0 ) {
    next if !$?;
    my $how = $? & 127 ? 'killed by signal ' . ( $? & 127 ) : 'exit ' . ( $? >> 8 );
    say "worker $pid{$pid} ended early: $how";
}
$log->sync;
undef $log;

# Whoever audits later opens the file again; the size it asks for does not matter.
my $trail = Data::Log::Shared->new( $path, 1 );
my %last;
$trail->each_entry(
    sub {
        my ( $worker, $n, $text ) = split / /, $_[0], 3;
        $n == ( $last{$worker} // 0 ) + 1 or die "action $n of worker $worker is out of order\n";
        $last{$worker} = $n;
    }
);

for my $worker ( 1 .. $workers ) {
    my $expected = $worker == 2 ? $last_words : $actions;
    say "worker $worker: $last{$worker} actions on record";
    $last{$worker} == $expected or die "expected $expected\n";
}
say $trail->entry_count, ' entries in the trail';
