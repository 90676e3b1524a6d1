use strict;
use warnings;

use Cwd qw(getcwd);
use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

sub mode_of { return sprintf '%04o', ( stat $_[0] )[2] & 07777 }

subtest 'a path that is not there becomes a log' => sub {
    for my $size ( 1, 20, 1000, 4096, 100_001 ) {
        my $path = scratch("size-$size");
        my $log  = Data::Log::Shared->new( $path, $size );
        is( -s $path,        4096 + $size, "a file of a page and $size bytes" );
        is( $log->data_size, $size,        '... with that data size' );
        is( $log->path,      $path,        '... that knows its path' );
        is( $log->memfd,     -1,           '... and shows no fd' );
        $log->append("entry $_") for 1 .. 3;
        is( -s $path, 4096 + $size, 'its length does not change' );
    }
    opendir my $dir, scratch() or die $!;
    is( ( grep { !/^(?:\.\.?|size-\d+)$/ } readdir $dir ), 0, 'nothing else is left in the directory' );
};

subtest 'a path that is there is attached' => sub {
    my $path = scratch('attach');
    my $log  = Data::Log::Shared->new( $path, 1000 );
    $log->append('one');
    my $second = Data::Log::Shared->new( $path, 1000 );
    is_deeply( [ replay($second) ], ['one'], 'a second handle reads what is there' );
    $second->append('two');
    is_deeply( [ replay($log) ], [ 'one', 'two' ], 'the first reads what the second wrote' );
    undef $_ for $log, $second;

    for my $size ( 1, 999, 1_000_000 ) {
        my $again = Data::Log::Shared->new( $path, $size );
        is( $again->data_size, 1000,        "asked for $size bytes it keeps its own size" );
        is( -s $path,          4096 + 1000, '... and its length' );
        is_deeply( [ replay($again) ], [ 'one', 'two' ], '... and its entries' );
    }
    is( from_child( sub { Data::Log::Shared->new( $path, 1000 )->append('three') && 'done' } ),
        'done', 'another process' );
    is_deeply( [ replay( Data::Log::Shared->new( $path, 1000 ) ) ], [qw(one two three)], 'all is kept' );
};

subtest 'processes that create one path at once share one log' => sub {
    my $path = scratch('race');
    pipe my $wait, my $go or die $!;
    my @pids = map {
        my $n = $_;
        in_child(
            sub {
                close $go;
                sysread $wait, my $nothing, 1;
                my $log = Data::Log::Shared->new( $path, 10_000 );
                $log->append("$n:$_") // die 'full' for 1 .. 20;
            }
        )
    } 1 .. 4;
    close $go;
    ok( reap(@pids), 'all of them succeed' );
    my @all = replay( Data::Log::Shared->new( $path, 1 ) );
    is_deeply(
        [ sort @all ],
        [
            sort map {
                my $n = $_;
                map { "$n:$_" } 1 .. 20
            } 1 .. 4
        ],
        'no entry is lost'
    );
};

# A file that is made anew may get the inode of the one before: the copy was taken for the log itself,
# and what had been copied beyond its tail was in the way of what came next.
subtest 'a copy in the place of the log is recovered' => sub {
    my $path = scratch('restored');
    my $log  = Data::Log::Shared->new( $path, 10_000 );
    $log->append("entry $_") for 1 .. 5;
    my $head = substr slurp($path), 0, 4096;
    $log->append("entry $_") for 6 .. 10;
    my $copy  = $head . substr slurp($path), 4096;
    my $inode = ( stat $path )[1];
    undef $log;
    unlink $path or die $!;
    spew( $path, $copy );
    note( ( stat $path )[1] == $inode ? 'it has the same inode' : 'it has another inode' );
    $log = Data::Log::Shared->new( $path, 1 );
    is( $log->stats->{recoveries}, 1, 'once' );
    $log->append("entry $_") for 11 .. 15;
    is_deeply( [ replay($log) ], [ map { "entry $_" } 1 .. 15 ], 'and goes on' );
};

subtest 'the mode is the one asked for' => sub {
    my $before = umask;
    for my $umask ( 0, 022, 077, 0777 ) {
        umask $umask;
        my $path = scratch( sprintf 'mode-%o', $umask );
        Data::Log::Shared->new( $path, 100 );
        is( mode_of($path), '0600', sprintf '0600 by default under umask %03o', $umask );
        for my $mode ( 0, 0400, 0600, 0640, 0666, 0755, 0777 ) {
            my $name = sprintf '%s-%o', $path, $mode;
            my $log  = Data::Log::Shared->new( $name, 100, $mode );
            is( mode_of($name), sprintf( '%04o', $mode ), sprintf '... %04o', $mode );
            is( $log->append('works'), 0, '... and the log works' );
        }
        is( umask, $umask, 'the umask is as it was' );
    }
    umask $before;
    my $path = scratch('kept-mode');
    Data::Log::Shared->new( $path, 100, 0640 );
    Data::Log::Shared->new( $path, 100, 0666 );
    is( mode_of($path), '0640', 'attaching leaves the mode alone' );
};

subtest 'unlink' => sub {
    my $path = scratch('unlinked');
    my $log  = Data::Log::Shared->new( $path, 1000 );
    $log->append('before');
    ok( $log->unlink, 'removes the file' );
    ok( !-e $path,    '... really' );
    ok( $log->unlink, 'is content when it is gone' );
    $log->append('after');
    is_deeply( [ replay($log) ], [ 'before', 'after' ], 'the handle still works' );
    my $new = Data::Log::Shared->new( $path, 1000 );
    is( $new->entry_count, 0, 'a new log under the path is another one' );

    ok( Data::Log::Shared->unlink($path), 'by path' );
    ok( !-e $path,                        '... really' );
    ok( Data::Log::Shared->unlink($path), '... and again' );
    my $directory = scratch('directory');
    mkdir $directory or die $!;
    croaks( sub { Data::Log::Shared->unlink($directory) },
        'unlink', qr/\Q$directory\E/, 'a directory is not removed' );
    ok( -d $directory, '... really' );
    croaks( sub { Data::Log::Shared->unlink("$path\0x") }, 'unlink', qr/NUL/, 'a path with a NUL byte' );
    croaks( sub { Data::Log::Shared->new( undef, 100 )->unlink },
        'unlink', qr//, 'an anonymous log has nothing to remove' );
    croaks( sub { Data::Log::Shared->new_memfd( 'x', 100 )->unlink },
        'unlink', qr//, 'a memfd has nothing to remove' );
};

subtest 'a relative path' => sub {
    my $home = getcwd;
    mkdir scratch($_)     or die $! for qw(here there);
    chdir scratch('here') or die $!;
    for my $name ( 'my.log', '0', ' spaced name', "new\nline", './dot.log', '../there/up.log' ) {
        my $log = Data::Log::Shared->new( $name, 100 );
        is( $log->path, $name, 'is kept as it was given' );
        ok( -f $name, '... and is where it should be' );
    }
    my $log = Data::Log::Shared->new( 'my.log', 100 );
    chdir scratch('there') or die $!;
    my $decoy = Data::Log::Shared->new( 'my.log', 100 );
    $log->append('still here');
    is( $decoy->entry_count, 0, 'the same name elsewhere is another log' );
    ok( $log->unlink,               'unlink after a change of directory' );
    ok( !-e scratch('here/my.log'), '... removes the log' );
    ok( -e scratch('there/my.log'), '... and not its namesake' );
    chdir $home or die $!;
};

subtest 'a path of any kind of scalar' => sub {
    my $path = scratch('object');
    {

        package Some::Path;
        use overload '""' => sub { ${ $_[0] } }, fallback => 1;
    }
    my $object = bless \( my $copy = $path ), 'Some::Path';
    my $log    = Data::Log::Shared->new( $object, 100 );
    ok( -f $path, 'an object that turns into a path' );
    is( $log->path . '', $path, '... is the path' );
    my $target = scratch('real-directory');
    mkdir $target or die $!;
    symlink $target, scratch('linked-directory') or die $!;
    ok( Data::Log::Shared->new( scratch('linked-directory/x.log'), 100 ),
        'a directory on the way may be a symlink' );
    ok( -f "$target/x.log", '... and is followed' );
};

subtest 'a path that cannot be' => sub {
    my %errno = (
        scratch('missing/x.log') => 'ENOENT',
        scratch('object/x.log')  => 'ENOTDIR',
        scratch( 'n' x 300 )     => 'ENAMETOOLONG',
    );
    for my $path ( sort keys %errno ) {
        local $! = 0;
        my $made = eval { Data::Log::Shared->new( $path, 100 ) };
        my $is   = $!{ $errno{$path} };
        is( $made, undef, "$errno{$path}: is refused" );
        ok( $is, '... with that error' );
        like( $@, qr/^Data::Log::Shared->new: \Q$path\E: /, '... and its name' );
    }
    croaks( sub { Data::Log::Shared->new( '', 100 ) }, 'new', qr/\w/, 'the empty path is refused' );
};

subtest 'nothing is left open' => sub {
    my $path   = scratch('leak');
    my $before = open_fds();
    for ( 1 .. 20 ) {
        my $log = Data::Log::Shared->new( $path, 5000 );
        $log->append('x');
        $log->eventfd;
        eval { Data::Log::Shared->new( '/dev/null', 100 ) };
        Data::Log::Shared->new( undef, 5000 )->append('x');
        Data::Log::Shared->new_memfd( 'leak', 5000 )->append('x');
    }
    is( open_fds(), $before, 'fds of logs that are gone are closed' );
    unlike( slurp('/proc/self/maps'), qr/\Q$path\E|memfd:leak/, 'their mappings too' );

    my $log = Data::Log::Shared->new( $path, 5000 );
    $log->eventfd;
    my $anonymous = Data::Log::Shared->new( undef, 5000 );
    my ( $status, $out ) = perl_with_log('print map { "$_ ", readlink($_) // "", "\n" } glob "/proc/self/fd/*"');
    unlike( $out, qr/\Q$path\E|eventfd|memfd/, 'nor does a program that is started get any of them' );
};

done_testing;
