use strict;
use warnings;

# A disk that fails: a preloaded library lets flushes fail while a certain file exists.

use Config;
use FindBin qw($Bin);
use Test::More;
use lib "$Bin/../t/lib";
use LogTest;
use ToolTest;

use Data::Log::Shared;

my $library = scratch('failing.so');
my $switch  = scratch('fail');
my $writes  = scratch('writes');
my $syncfs  = scratch('syncfs');

if ( !$ENV{LOG_TEST_FAILING} ) {
    my $source = spew( scratch('failing.c'), <<'END');
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/syscall.h>
#include <unistd.h>

static int flush(void)
{
    if (access(getenv("LOG_TEST_SWITCH"), F_OK) != 0)
        return 0;
    errno = EIO;
    return -1;
}
int msync(void *at, size_t length, int flags) { return flush(); }

/* All files, or those with a certain word in their name. */
int fsync(int fd)
{
    char link[64], name[4096] = "";
    const char *only = getenv("LOG_TEST_ONLY");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (only && (readlink(link, name, sizeof name - 1) < 0 || !strstr(name, only)))
        return 0;
    return flush();
}

int syncfs(int fd)
{
    unlink(getenv("LOG_TEST_SYNCFS"));
    return flush();
}

ssize_t pwrite64(int fd, const void *from, size_t length, off_t at)
{
    FILE *list = fopen(getenv("LOG_TEST_WRITES"), "a");
    if (list) {
        fprintf(list, "%ld %lu\n", (long)at, (unsigned long)length);
        fclose(list);
    }
    return syscall(SYS_pwrite64, fd, from, length, at);
}
END
    system("$Config{cc} -shared -fPIC -o '$library' '$source' 2>/dev/null") == 0
      or plan skip_all => 'no C compiler';
    local @ENV{qw(LD_PRELOAD LOG_TEST_FAILING LOG_TEST_SWITCH LOG_TEST_WRITES LOG_TEST_SYNCFS)} =
      ( $library, 1, $switch, $writes, $syncfs );
    exit( system( $^X, ( map { "-I$_" } grep { !ref } @INC ), $0 ) >> 8 );
}
$switch = $ENV{LOG_TEST_SWITCH};
$writes = $ENV{LOG_TEST_WRITES};
$syncfs = $ENV{LOG_TEST_SYNCFS};

sub failing {
    my ($code) = @_;
    spew( $switch, '' );
    my $result = eval { $code->(); 1 };
    my $error  = $@;
    my $errno  = 0 + $!;
    unlink $switch or die "$switch: $!";
    return $result ? '' : ( $error, $errno );
}

sub fresh {
    my ($name) = @_;
    my $log = Data::Log::Shared->new( scratch($name), 10_000 );
    $log->append("entry $_") for 1 .. 10;
    return $log;
}

my $pattern = qr/^Data::Log::Shared->sync: \S+: .*Input\/output error/;

subtest 'a flush that fails' => sub {
    my $log    = fresh('failed');
    my $path   = $log->path;
    my $other  = Data::Log::Shared->new( $path, 1 );
    my $before = $log->stats->{synced};
    pipe my $go,   my $tell   or die "pipe: $!";
    pipe my $read, my $answer or die "pipe: $!";
    my $child = in_child(
        sub {
            sysread $go, my $byte, 1;
            syswrite $answer, eval { $log->sync; 1 } ? 'synced' : $@;
        }
    );
    my ( $error, $errno ) = failing( sub { $log->sync } );
    like( $error, $pattern, 'is an exception' );
    is( $errno,                     5,       '... with its errno' );
    is( $log->stats->{sync_failed}, 1,       '... and told by stats' );
    is( $log->stats->{synced},      $before, '... and nothing is taken for synced' );

    my $sync = sub {
        my ($handle) = @_;
        return eval { $handle->sync; 1 } ? 'synced' : $@;
    };
    like( $sync->($log),   $pattern, 'the disk works again, and the handle does not pretend' );
    like( $sync->($other), $pattern, 'nor does another that was open' );
    like( $sync->( Data::Log::Shared->new( $path, 1 ) ), $pattern, 'nor a new one' );
    close $answer;
    syswrite $tell, 'x';
    sysread $read, my $childs, 1000;
    waitpid $child, 0;
    like( $childs, $pattern, 'nor a forked one' );
    is( from_child( sub { $sync->( Data::Log::Shared->new( $path, 1 ) ) =~ $pattern ? 'croaks' : 'synced' } ),
        'croaks', 'nor another process' );
    is( $log->stats->{synced}, $before, 'nothing is taken for synced' );
    ok( defined $log->append('more'), 'appending goes on' );
    is( scalar replay($log), 11, '... and reading' );
};

subtest 'a reset whose flush fails' => sub {
    my $log = fresh('reset');
    $log->sync;
    my ($error) = failing( sub { $log->reset } );
    like( $error, qr/^Data::Log::Shared->reset: .*Input\/output error/, 'is an exception' );
    is( $log->entry_count, 0, 'the log is empty all the same' );
    like( eval { $log->sync; 'synced' } // $@, $pattern, 'a later sync does not pretend' );
};

# Bytes by the place that they were written at, since the list was removed.
sub written { return -e $writes ? map {split} split /\n/, slurp($writes) : () }

# Another boot: what lies at 512 is whose it was.
sub elsewhere { patch( $_[0], 512, 'another.' ) }

subtest 'recovery after a failed flush' => sub {
    my $log = fresh('recovered');
    $log->sync;
    $log->append( 'x' x 6000 );
    my ($error) = failing( sub { $log->sync } );
    like( $error, $pattern, 'a flush fails' );
    my $path = $log->path;
    my $end  = $log->tail_offset;
    undef $log;
    elsewhere($path);
    unlink $writes;
    $log = Data::Log::Shared->new( $path, 1 );
    my %written = written();
    is( $written{4096} // 0, $end, 'writes everything again, for the kernel takes what was lost for clean' );
    is( $log->stats->{sync_failed}, 0,    '... and then there is nothing to be sorry for' );
    is( $log->stats->{synced},      $end, '... as it has been synced' );
    is( scalar replay($log),        11,   '... with all entries' );
    ok( $log->sync, '... and sync works' );
};

subtest 'a recovery that cannot write' => sub {
    my $log  = fresh('unrecovered');
    my $path = $log->path;
    $log->sync;
    my $end = $log->tail_offset;
    $log->append('cut');
    undef $log;
    patch( $path, 4096 + $end + 8, 'C' );
    elsewhere($path);
    my ( $error, $errno ) = failing( sub { Data::Log::Shared->new( $path, 1 ) } );
    like( $error, qr/^Data::Log::Shared->new: \S+: .*Input\/output error/, 'is an exception' );
    is( $errno, 5, '... with its errno' );
    unlink $writes;
    $log = Data::Log::Shared->new( $path, 1 );
    is( scalar replay($log), 10, 'the next attach starts over' );
    my %written = written();
    is( $written{4096} // 0, $end, '... and writes again what there is' );
    cmp_ok( $written{ 4096 + $end } // 0, '>=', 11, '... and zeros over what was cut' );
};

# With too many files open it was left out without a word, and in a power cut the name could be lost with
# all that was in the log.
subtest 'the directory' => sub {
    my $log    = fresh('named');
    my $synced = sub {
        my ($handle) = @_;
        spew( $syncfs, '' );
        $handle->sync;
        return -e $syncfs ? 'by itself' : 'with its filesystem';
    };
    my $synced_without_descriptors = sub {
        my ($handle) = @_;
        my @open;
        spew( $syncfs, '' );
        while ( open my $file, '<', $syncfs ) { push @open, $file }
        $handle->sync;
        return -e $syncfs ? 'by itself' : 'with its filesystem';
    };
    is( $synced->($log), 'by itself', 'is flushed' );
    $log = Data::Log::Shared->new( $log->path, 1 );
    my $without = from_child( sub { $synced_without_descriptors->($log) } );
    is( $without, 'with its filesystem', '... also when it cannot be opened' );
    $log->unlink;
    my $folder = scratch('folder');
    mkdir $folder or die $!;
    $log = fresh('folder/log');
    rename $folder, scratch('renamed') or die $!;
    mkdir $folder or die $!;
    is( $synced->($log), 'with its filesystem', '... also when another has its name' );
    $log = fresh('gone');
    $log->unlink;
    is( $synced->($log), 'by itself', '... unless the log is in none' );
};

subtest 'creation' => sub {
    my $path = scratch('uncreated');
    my ( $error, $errno ) = failing( sub { Data::Log::Shared->new( $path, 10_000 ) } );
    like( $error, qr/^Data::Log::Shared->new: \Q$path\E: .*Input\/output error/, 'fails with an exception' );
    is( $errno, 5, '... and its errno' );
    ok( !-e $path, '... and leaves nothing' );
};

# What the disk had refused counted as read, and so did what was in a file
# that had been rotated before it was flushed.
subtest 'tail --save into a file' => sub {
    my $log = fresh('drained');
    my ( $save, $text ) = map { scratch($_) } qw(position text);
    local $ENV{LOG_TEST_ONLY} = 'text';
    my @drain = ( 'tail', '--save', $save, '--output', $text, $log->path );
    failing(
        sub {
            my ( $status, $out, $err ) = tool(@drain);
            is_deeply( [ $status, $err ], [ 1, "log-shared tail: $text: Input/output error\n" ], 'a flush that fails is an error' );
            ok( !-e $save, '... and no position is kept' );
        }
    );
    is( ( tool(@drain) )[0], 0, 'it is read again' );
    like( slurp($text), qr/@{[ join "\n", map { "entry $_" } 1 .. 10 ]}\n\z/, '... entirely' );

    $ENV{LOG_TEST_ONLY} = 'text.1';
    my $err = scratch('err');
    my $pid = start_tool( { err => $err }, @drain, '-f' );
    $log->append('rotated');
    wait_until( sub { slurp($text) =~ /rotated/ } );
    rename $text, "$text.1" or die $!;
    failing(
        sub {
            kill HUP => $pid;
            is( ends($pid), 1 << 8, 'a file that is rotated is flushed first' );
            like( slurp($err), qr/\Alog-shared tail: [^\n]*Input\/output error\n\z/, '... which may fail as well' );
        }
    );
};

done_testing;
