#!/usr/bin/env perl

# Prints an access log as it grows, until SIGINT or SIGTERM; it is the other
# half of access_log.psgi. Without a path it rehearses: it answers a few
# requests with that application and prints their lines.

use strict;
use warnings;

use Data::Log::Shared;
use File::Temp qw(tempdir);
use FindBin    qw($Bin);
use IO::Handle;

my $stop = 0;
$SIG{INT} = $SIG{TERM} = sub { $stop = 1 };

my @rehearsal = qw(/ /a?id=1 /b?x=1&id=2 /c%20d?id=3 /e?id=4&y=2);

sub rehearse {
    my $path = $ENV{ACCESS_LOG} = tempdir( CLEANUP => 1 ) . '/access.log';
    my $app  = do "$Bin/access_log.psgi" or die $@ || $!;
    my $tail = $$;
    my $pid  = fork // die "fork: $!\n";
    return $path if $pid;
    $app->( { REQUEST_METHOD => 'GET', REQUEST_URI => $_ } ) for @rehearsal;
    kill TERM => $tail;
    exit 0;
}

my $rehearsing = !@ARGV && !defined $ENV{ACCESS_LOG};
my $path       = $rehearsing ? rehearse() : $ARGV[0] // $ENV{ACCESS_LOG};
-e $path or die "$path: there is no such log yet\n";
my $log = Data::Log::Shared->new( $path, 1 );

my ( $pos, $lines, $last_pass ) = ( 0, 0 );
until ($last_pass) {

    # Looked at first, so that the last pass prints all that came before the
    # signal; it does not wait for a place that a killed worker left.
    $last_pass = $stop;
    my $count = $log->entry_count;
    $pos = $log->each_entry( sub { print "$_[0]\n"; $lines++ }, $pos, $last_pass ? 0 : 20_000 );
    STDOUT->flush;
    $log->wait_for( $count, 0.5 ) if !$last_pass;
}
if ($rehearsing) {
    wait;
    $? == 0 && $lines == @rehearsal or die "$lines lines instead of " . @rehearsal . "\n";
}
