package LogTest;

use strict;
use warnings;

use Exporter 'import';
use File::Spec ();
use File::Temp ();
use POSIX      ();
use Test::More ();

our @EXPORT = qw(
    scratch slurp spew patch replay croaks
    in_child from_child as_nobody reap perl_with_log wait_until open_fds closes_on_exec
    in_own_mounts
);

# An XS call that hangs never gets to a deferred handler: POSIX::sigaction
# installs one that runs at once.
sub watchdog {
    my $seconds = $ENV{LOG_TEST_WATCHDOG} || 300;
    my $give_up = sub {
        syswrite STDERR, "# $0: process $$ is stuck, given up after $seconds seconds\n";
        POSIX::_exit(124);
    };
    POSIX::sigaction( POSIX::SIGALRM(), POSIX::SigAction->new($give_up) );
    alarm $seconds;
    return;
}

watchdog();

my $scratch;

sub scratch {
    my ($name) = @_;
    $scratch //= File::Temp::tempdir( 'log-test-XXXXXXXX', TMPDIR => 1, CLEANUP => 1 );
    return defined $name ? "$scratch/$name" : "$scratch";
}

sub slurp {
    my ($path) = @_;
    open my $in, '<:raw', $path or die "$path: $!";
    local $/;
    my $bytes = <$in>;
    return $bytes // '';
}

# Keeps the inode of a file that is there already.
sub spew {
    my ( $path, $bytes ) = @_;
    open my $out, '>:raw', $path or die "$path: $!";
    print {$out} $bytes or die "$path: $!";
    close $out          or die "$path: $!";
    return $path;
}

sub patch {
    my ( $path, $at, $bytes ) = @_;
    open my $file, '+<:raw', $path or die "$path: $!";
    seek $file, $at, 0 or die "$path: $!";
    print {$file} $bytes or die "$path: $!";
    close $file          or die "$path: $!";
    return;
}

sub replay {
    my ( $log, $pos, @patience ) = @_;
    $pos //= $log->truncation;
    my @entries;
    while ( my ( $data, $next ) = $log->read_entry( $pos, @patience ) ) {
        $next > $pos or die "read_entry($pos) does not move on: $next";
        push @entries, $data;
        $pos = $next;
    }
    return @entries;
}

sub croaks {
    my ( $code, $method, $pattern, $name ) = @_;
    my $file = ( caller 0 )[1];
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $lived = eval { $code->(); 1 };
    return Test::More::fail("$name (nothing was thrown)") if $lived;
    return Test::More::like( $@, qr/^Data::Log::Shared->$method: (?=.*$pattern).* at \Q$file\E line \d+/s, $name );
}

sub in_child {
    my ($code) = @_;
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    watchdog();
    my $lived = eval { $code->(); 1 };
    syswrite STDERR, "# child $$: $@" if !$lived;
    POSIX::_exit( $lived ? 0 : 1 );
}

# What the code returned, as the parent sees it; "died: ..." or "status ..."
# when it did not return.
sub from_child {
    my ($code) = @_;
    pipe my $reader, my $writer or die "pipe: $!";
    my $pid = in_child(
        sub {
            close $reader;
            my $result = eval { $code->() } // "died: $@";
            print {$writer} $result;
            close $writer;
        }
    );
    close $writer;
    local $/;
    my $result = <$reader>;
    waitpid $pid, 0;
    return $? ? "status $?" : $result // '';
}

# As root: in a child that has given up its rights. Otherwise just in a child.
sub as_nobody {
    my ($code) = @_;
    return from_child(
        sub {
            if ( $> == 0 ) {
                $) = '65534 65534';
                POSIX::setgid(65534);
                POSIX::setuid(65534);
                $> == 65534 or die "cannot become an ordinary user\n";
            }
            return $code->();
        }
    );
}

sub reap {
    my @bad;
    for my $pid (@_) {
        waitpid $pid, 0;
        push @bad, "$pid: $?" if $?;
    }
    return !@bad;
}

# Exit status, standard output and standard error of another perl.
sub perl_with_log {
    my ( $program, @args ) = @_;
    my $script = spew( scratch('program.pl'), $program );
    my ( $out, $err ) = map { scratch("program.$_") } qw(out err);
    my @include = map { '-I' . File::Spec->rel2abs($_) } grep { !ref } @INC;
    my $pid     = in_child(
        sub {
            open STDOUT, '>', $out or die $!;
            open STDERR, '>', $err or die $!;
            exec $^X, @include, '-MData::Log::Shared', $script, @args;
        }
    );
    waitpid $pid, 0;
    return ( $?, slurp($out), slurp($err) );
}

sub wait_until {
    my ($condition) = @_;
    select undef, undef, undef, 0.005 until $condition->();
    return 1;
}

sub open_fds {
    opendir my $dir, '/proc/self/fd' or die $!;
    my $own = fileno $dir;
    return join ' ', sort { $a <=> $b } grep { /^\d+$/ && $_ != $own } readdir $dir;
}

sub closes_on_exec {
    my ($fd)    = @_;
    my ($flags) = slurp("/proc/self/fdinfo/$fd") =~ /^flags:\s*([0-7]+)/m;
    return oct($flags) & 02000000;
}

# Starts the program again where nobody else sees what it mounts, which goes away with it.
sub in_own_mounts {
    my $here = readlink '/proc/self/ns/mnt';
    if ( my $before = $ENV{LOG_TEST_MOUNTS} ) {
        return if $before ne $here;
        die "the mounts are those of everybody\n";
    }
    Test::More::plan( skip_all => 'only root can mount' ) if $> != 0;
    Test::More::plan( skip_all => 'no mount namespaces here' )
        if !$here || system 'unshare --mount true 2>/dev/null';
    $ENV{LOG_TEST_MOUNTS} = $here;
    exec 'unshare', '--mount', $^X, ( map { '-I' . File::Spec->rel2abs($_) } grep { !ref } @INC ), $0;
    die "unshare: $!";
}

1;
