use strict;
use warnings;

# Many processes and threads at once; the threads also under valgrind.

use Config;
use FindBin qw($Bin);
use Test::More;
use lib "$Bin/../t/lib";
use LogTest;

use Data::Log::Shared;

-d "$Bin/../blib" or plan skip_all => 'nothing is built';

subtest 'sixty-four processes, made at different times' => sub {
    my ( $processes, $each ) = ( 64, 200 );
    for my $log ( Data::Log::Shared->new( undef, 2_000_000 ), Data::Log::Shared->new( scratch('many'), 2_000_000 ) ) {
        my @pids = map {
            my $n = $_;
            $log->append("parent:$n");
            in_child(
                sub {
                    my $cursor = $log->cursor;
                    my ( $own, $parent, $met ) = ( 0, 0, 0 );
                    my $look = sub {
                        while ( defined( my $entry = $cursor->next ) ) {
                            my ( $who, $number ) = split /:/, $entry;
                            $met++;
                            if    ( $who eq 'parent' ) { ++$parent == $number or die "$entry after $parent" }
                            elsif ( $who == $n )       { ++$own == $number    or die "$entry after $own" }
                        }
                    };
                    for my $number ( 1 .. $each ) {
                        $log->append("$n:$number") // die 'full';
                        $look->() if $number % 10 == 0;
                    }
                    my $all = $processes * ( $each + 1 );
                    while ( $met < $all ) {
                        my $count = $log->entry_count;
                        $look->();
                        $log->wait_for( $count, 10 ) if $met < $all && $log->entry_count == $count;
                    }
                    $own == $each && $parent == $processes or die "$own, $parent";
                }
            )
        } 1 .. $processes;
        ok( reap(@pids), 'each meets all entries in their order' );
        is( $log->entry_count,       $processes * ( $each + 1 ), 'none is missing' );
        is( $log->verify->{damaged}, 0,                          'none is damaged' );
    }
};

# As each is the first process of its namespace, the child took its parent's thread for its own and
# waited for it for ever.
subtest 'a child with the number of its parent' => sub {
    my %unshare = ( x86_64 => 272, aarch64 => 97 );
    my ($number) = map { $unshare{$_} // () } ( POSIX::uname() )[4];
    plan skip_all => 'only root can make namespaces here' if $> != 0 || !$number || system 'unshare --pid --fork true';
    my $program = spew( scratch('namespaces.pl'), <<'PERL' );
use strict;
use warnings;
use Data::Log::Shared;

my ($unshare) = @ARGV;
my $log = Data::Log::Shared->new( undef, 1000 );
my $watched = $log->watch;
syscall( $unshare, 0x2000_0000 ) == 0 or die "unshare: $!";
my $pid = fork // die "fork: $!";
if ( !$pid ) {
    alarm 60;
    print "child $$", $log->watch == $watched ? " watches as its parent\n" : " watches\n";
    $log->append('heard');
    undef $log;
    exit;
}
waitpid $pid, 0;
print "parent $$ $?\n";
PERL
    my @perl = ( $^X, ( map { "-I$_" } grep { !ref } @INC ), $program, $number );
    open my $out, '-|', qw(unshare --pid --fork), @perl or die "unshare: $!";
    is( join( '', <$out> ), "child 1 watches\nparent 1 0\n", 'watches for itself and ends' );
};

my $threads = spew( scratch('threads.pl'), <<'PERL' );
use strict;
use warnings;
use threads;
use Data::Log::Shared;

my ( $rounds, $path ) = @ARGV;
my @logs = (
    Data::Log::Shared->new( undef, 1_000_000 ),
    Data::Log::Shared->new_memfd( 'threads', 1_000_000 ),
    Data::Log::Shared->new( $path, 1_000_000 ),
);
my @cursors = map { $_->cursor } @logs;
$_->eventfd for @logs;
$logs[0]->watch;

sub work {
    my ( $depth, $n ) = @_;
    for my $round ( 1 .. $rounds ) {
        for my $log (@logs) {
            $log->append("$n $round") // die 'full';
            my $copy = $log;
            my @more = map { $copy->cursor } 1 .. 3;
            $_->next for @more, @cursors;
            $copy->truncate( $log->tail_offset / 4 );
        }
        if ( $depth && $round % 5 == 0 ) {
            my @inner = map { my $m = $_; threads->create( sub { work( $depth - 1, "$n.$m" ) } ) } 1, 2;
            undef $cursors[1];
            $cursors[1] = $logs[1]->cursor;
            $_->join for @inner;
        }
    }
    $logs[0]->DESTROY if $depth == 0 && $n =~ /1$/;
    @cursors = () if $n =~ /2$/;
    return 1;
}
my @threads = map { my $n = $_; threads->create( sub { work( 1, $n ) } ) } 1 .. 4;
@cursors = ();
undef $logs[1];
my $ended = grep { $_->join } @threads;
$logs[0]->unwatch;
print "$ended ", $logs[0]->entry_count, ' ', $logs[2]->entry_count;
PERL

SKIP: {
    skip 'this perl has no threads', 2 if !$Config{useithreads};
    my $run = sub {
        my ( $rounds, @under ) = @_;
        my ( $output, $path )  = ( scratch('output'), scratch("threads-$rounds") );
        my $pid = in_child(
            sub {
                open STDOUT, '>',  $output  or die $!;
                open STDERR, '>&', \*STDOUT or die $!;
                exec @under, $^X, "-Mblib=$Bin/../blib", $threads, $rounds, $path or die "exec: $!";
            }
        );
        waitpid $pid, 0;
        my $each    = 4 * $rounds * ( 1 + 2 * int( $rounds / 5 ) );
        my $outcome = "$?: " . slurp($output);
        return is(
            $outcome,
            "0: 4 $each $each",
            'threads clone and drop handles and cursors' . ( @under ? " under $under[0]" : '' )
        );
    };
    $run->(40);
    `valgrind --version 2>/dev/null` or skip 'valgrind is not installed', 1;
    $run->( 5, qw(valgrind --quiet --error-exitcode=99 --leak-check=no --vgdb=no) );
}

done_testing;
