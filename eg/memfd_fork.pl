#!/usr/bin/env perl

# A log without a path: a memfd. A forked child simply goes on using it; an
# unrelated program gets the descriptor and attaches with new_from_fd.

use strict;
use warnings;
use feature 'say';

use Data::Log::Shared;
use POSIX ();

if ( @ARGV == 2 && $ARGV[0] eq '--fd' ) {
    my $log = Data::Log::Shared->new_from_fd( $ARGV[1] );
    $log->append("the program $$, through descriptor $ARGV[1]") // die "the log is full\n";
    exit 0;
}

sub finish {
    my ($pid) = @_;
    waitpid $pid, 0;
    $? == 0 or die "a child failed with status $?\n";
}

my $log = Data::Log::Shared->new_memfd( 'example', 100_000 );
$log->append("the parent $$") // die "the log is full\n";

my $child = fork // die "fork: $!\n";
if ( !$child ) {
    $log->append("the child $$, by inheritance") // die "the log is full\n";
    exit 0;
}
finish($child);

# The memfd is close-on-exec; a duplicate is not, and stays open in the program.
my $fd      = POSIX::dup( $log->memfd ) // die "dup: $!\n";
my $program = fork                      // die "fork: $!\n";
if ( !$program ) {
    exec $^X, ( map { "-I$_" } grep { !ref } @INC ), $0, '--fd', $fd or die "exec: $!\n";
}
finish($program);
POSIX::close($fd);

my @writers;
$log->each_entry(
    sub {
        say "written by $_[0]";
        push @writers, $_[0] =~ /([0-9]+)/;
    }
);
"@writers" eq "$$ $child $program" or die "expected entries of $$, $child and $program\n";
