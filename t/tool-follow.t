use strict;
use warnings;

use lib 't/lib';
use IO::Select ();
use JSON::PP   ();
use LogTest;
use Test::More;
use Time::HiRes qw(sleep time);
use ToolTest;

use Data::Log::Shared;

my $n = 0;
sub fresh { return scratch( 'follow-' . $n++ ) }

# A tail whose output is read here, line by line.
sub follow {
    my (@arguments) = @_;
    pipe my $reader, my $writer or die "pipe: $!";
    my $err = fresh();
    my $pid = start_tool( { out => '/proc/self/fd/' . fileno $writer, err => $err }, 'tail', @arguments );
    close $writer;
    return { pid => $pid, out => $reader, err => $err };
}

sub line {
    my ($tail) = @_;
    my $line = readline $tail->{out};
    chomp $line if defined $line;
    return $line;
}

sub stop {
    my ( $tail, $signal ) = @_;
    kill $signal, $tail->{pid};
    waitpid $tail->{pid}, 0;
    return $? & 127;
}

subtest 'following' => sub {
    my $path = fresh();
    my $log  = Data::Log::Shared->new( $path, 100_000 );
    $log->append("old $_") for 1 .. 3;
    my $tail = follow( qw(-f -n 2), $path );
    is( line($tail), "old $_", "old $_ is printed" ) for 2, 3;
    for ( 1 .. 5 ) {
        $log->append("new $_");
        is( line($tail), "new $_", "new $_ comes at once" );
    }
    $log->reset;
    $log->append('after the reset');
    is( line($tail),       'after the reset', 'it goes on after a reset' );
    is( stop( $tail, 15 ), 15,                'a signal ends it' );
    is( slurp( $tail->{err} ), '', '... without a word' );
};

subtest 'it ends with another process' => sub {
    my $path  = fresh();
    my $log   = Data::Log::Shared->new( $path, 100_000 );
    pipe my $gate, my $opener or die $!;
    my $other = in_child( sub { close $opener; sysread $gate, my $byte, 1 } );
    my $tail  = follow( '-f', "--pid=$other", $path );
    $log->append('while it lives');
    is( line($tail), 'while it lives', 'it follows' );
    $log->append('last words');
    close $opener;
    waitpid $other, 0;
    is( line($tail), 'last words', '... to the end' );
    is( line($tail), undef,        '... which is that of the process' );
    waitpid $tail->{pid}, 0;
    is( $?, 0, '... with status 0' );
};

subtest 'a file that is replaced' => sub {
    my $path = fresh();
    my $tail = follow( qw(-F -n +1), $path );
    wait_until( sub { -s $tail->{err} } );
    like( slurp( $tail->{err} ), qr/No such file/, 'it waits for the log' );
    my $first = Data::Log::Shared->new( $path, 1000 );
    $first->append('first log');
    is( line($tail), 'first log', '... and follows it' );
    rename $path, "$path.1" or die $!;
    my $second = Data::Log::Shared->new( $path, 1000 );
    $second->append('second log');

    # Longer than it takes to see the new file; it tells only if no pause was too long.
    my ( $longest, $last ) = ( 0, time );
    for ( 1 .. 12 ) {
        $first->append("late $_");
        my $now = time;
        ( $longest, $last ) = ( $now - $last > $longest ? $now - $last : $longest, $now );
        sleep 0.1;
    }
    my @lines = ( line($tail) );
    push @lines, line($tail) while defined $lines[-1] && $lines[-1] ne 'second log';
SKIP: {
        skip 'this machine is too busy', 1 if $longest > 0.4;
        is_deeply( \@lines, [ ( map { "late $_" } 1 .. 12 ), 'second log' ],
            'late writers of the old one are heard until they are quiet, then the new one is followed' );
    }
    is( $lines[-1], 'second log', 'the new one is followed' );
    stop( $tail, 15 );
    like( slurp( $tail->{err} ), qr/has been replaced/, '... and it says so' );
};

# The log became larger than its header says, and nobody could open it any more.
subtest 'a log as its own output' => sub {
    my $path = fresh();
    Data::Log::Shared->new( $path, 1000 )->append('text');
    my $before = slurp($path);
    for my $command ( "cat '$path'", "tail '$path'", "tail --output '$path' '$path'" ) {
        my ( $status, $out, $err ) = shell( "log-shared $command" . ( $command =~ /--output/ ? '' : " >> '$path'" ) );
        is( $status, 1, $command );
        like( $err, qr/\Alog-shared \w+: \Q$path\E: is the output as well\n\z/, '... is refused' );
        ok( slurp($path) eq $before, '... and nothing is written' );
        spew( $path, $before );
    }
};

subtest 'a position file' => sub {
    my ( $path, $save ) = ( fresh(), fresh() );
    my $log    = Data::Log::Shared->new( $path, 100_000 );
    my $expect = sub {
        my ( $expected, $what ) = @_;
        is_deeply( [ tool( 'tail', '--save', $save, $path ) ], [ 0, join( '', map { "$_\n" } @$expected ), '' ], $what );
    };
    $log->append("entry $_") for 1 .. 20;
    $expect->( [ map { "entry $_" } 1 .. 20 ], 'the first time everything comes' );
    $expect->( [], 'then nothing' );
    $log->append('more');
    $expect->( ['more'], '... and then what is new' );

    my $tail = follow( '-f', '--save', $save, $path );
    $log->append('followed');
    is( line($tail), 'followed', 'while it follows' );
    stop( $tail, 15 );
    $expect->( [], 'stopped by a signal it has kept all' );

    $tail = follow( '-f', '--save', $save, $path );
    my %seen;
    for ( 1 .. 3 ) {
        $log->append("kill $_");
        $seen{ line($tail) }++;
    }
    stop( $tail, 9 );
    $log->append('kill 4');
    my ( $status, $out ) = tool( 'tail', '--save', $save, $path );
    $seen{$_}++ for split /\n/, $out;
    is_deeply( [ sort keys %seen ], [ map { "kill $_" } 1 .. 4 ], 'killed, it prints each entry at least once' );
    is( $seen{'kill 4'}, 1, '... the last once' );

    $log->reset;
    $log->append('after the reset');
    ( $status, $out, my $err ) = tool( 'tail', '--save', $save, $path );
    is( $out, "after the reset\n", 'after a reset it begins anew' );
    like( $err, qr/is not the log that/, '... and says so' );

    unlink $path;
    $log = Data::Log::Shared->new( $path, 1000 );
    $log->append('another log');
    ( $status, $out, $err ) = tool( 'tail', '--save', $save, $path );
    is( $out, "another log\n", 'with another log as well' );

    my $kept = JSON::PP::decode_json( slurp($save) );
    for my $text ( 'no position', map { JSON::PP::encode_json( { %$kept, @$_ } ) }
        [ recoveries => 'x' ], [ synced => undef ], [ digest => undef ], [ last => 'x' ], [ position => '1e9' ] )
    {
        my $broken = spew( fresh(), $text );
        ( $status, $out, $err ) = tool( 'tail', '--save', $broken, $path );
        is_deeply( [ $status, $out ], [ 1, '' ], 'what is no position file is refused' );
        like( $err, qr/\Alog-shared tail: [^\n]* is not a position file\n\z/, '... with a word' );
        is( slurp($broken), $text, '... and left alone' );
    }
    my $ahead = spew( fresh(), JSON::PP::encode_json( { %$kept, position => $kept->{position} + 400 } ) );
    ( $status, $out, $err ) = tool( 'tail', '--save', $ahead, $path );
    is( $out, "another log\n", 'one that is ahead of the log is that of another' );
    ( $status, $out, $err ) = tool( 'tail', '--save', '/dev/null', $path );
    is( $err, "log-shared tail: /dev/null: not a regular file\n", 'no device is replaced by one' );
    ok( -c '/dev/null', '... indeed' );
};

subtest 'a recovery that cuts off what had been read' => sub {
    my ( $path, $save ) = ( fresh(), fresh() );
    my $log  = Data::Log::Shared->new( $path, 1000 );
    my @at   = map { $log->append("entry $_") } 1 .. 3;
    $log->sync;
    push @at, map { $log->append("entry $_") } 4, 5;
    tool( 'tail', '--save', $save, $path );
    undef $log;

    # A copy is recovered as after a power cut; the fourth entry did not reach the disk.
    my $copy = spew( fresh(), slurp($path) );
    patch( $copy, 4096 + $at[3] + 8, 'E' );
    $log = Data::Log::Shared->new( $copy, 1 );
    is( $log->entry_count, 3, 'two entries are lost' );
    $log->append("another $_") for 4 .. 8;
    my ( $status, $out, $err ) = tool( 'tail', '--save', $save, $copy );
    is( $out, join( '', map { "another $_\n" } 4 .. 8 ), 'nothing of what came instead is missed' );

    undef $log;
    my $intact = spew( fresh(), slurp($copy) );
    Data::Log::Shared->new( $intact, 1 )->append('more');
    ( $status, $out, $err ) = tool( 'tail', '--save', $save, $intact );
    is( $out, "more\n", 'if nothing was lost it goes on as ever' );
};

subtest 'an output file that is rotated' => sub {
    my ( $path, $out ) = ( fresh(), fresh() );
    my $log = Data::Log::Shared->new( $path, 1000 );
    $log->append('first');
    my $tail = follow( qw(-f -n +1 --output), $out, $path );
    wait_until( sub { -s $out } );
    is( slurp($out), "first\n", 'it is written to' );
    rename $out, "$out.1" or die $!;
    $log->append('second');
    wait_until( sub { -s "$out.1" > 6 } );
    is( slurp("$out.1"), "first\nsecond\n", 'renamed, it still is' );
    kill HUP => $tail->{pid};
    wait_until( sub { -e $out } );
    $log->append('third');
    wait_until( sub { -s $out } );
    is( slurp($out), "third\n", 'until SIGHUP makes a new one' );
    is( slurp("$out.1"), "first\nsecond\n", 'the old one is left alone' );

    # What came while the output was being opened was taken for unfinished.
    for my $n ( 2 .. 9 ) {
        rename $out, "$out.$n" or die $!;
        kill HUP => $tail->{pid};
        wait_until( sub { -e $out } );
        $log->append("more $n");
        wait_until( sub { -s $out } );
    }
    stop( $tail, 15 );
    is( slurp( $tail->{err} ), '', 'all that without a word' );
};

subtest 'a dead writer is in the way' => sub {
    my $path = fresh();
    my $log  = Data::Log::Shared->new( $path, 1000 );
    my @at   = map { $log->append("entry $_") } 1 .. 3;
    patch( $path, 4096 + $at[1], pack 'LL', 1 << 30 | ( $at[2] - $at[1] ) / 4, 0 );
    my $tail = follow( qw(-f -n +1), $path );
    is( line($tail), 'entry 1', 'it reads up to there' );
    wait_until( sub { -s $tail->{err} } );
    like( slurp( $tail->{err} ), qr/entry at $at[1] is unfinished/, '... and says so' );
    Data::Log::Shared->new( $path, 1 )->each_entry( sub { }, undef, 0 );
    is( line($tail), 'entry 3', '... and goes on once somebody has closed the place' );
    stop( $tail, 15 );
};

done_testing;
