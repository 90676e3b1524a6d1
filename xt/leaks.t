use strict;
use warnings;

# Repeats each operation, the failing ones included, and looks for descriptors,
# mappings, heap and scalars that pile up.

use Data::Log::Shared qw(log_append log_next log_read);
use FindBin           qw($Bin);
use List::Util        qw(min);
use POSIX             qw(mkfifo);
use Test::More;
use Time::HiRes qw(time ualarm);
BEGIN { $ENV{LOG_TEST_WATCHDOG} ||= 1800 }
use lib "$Bin/../t/lib";
use LogTest;

my $class     = 'Data::Log::Shared';
my $leaktrace = eval { require Test::LeakTrace; 1 };
diag 'Test::LeakTrace is not installed: scalars are not looked at' if !$leaktrace;

my $path = scratch('log');
my $full = $class->new( undef, 64 );
1 while defined $full->append('x');
my $log      = $class->new( undef, 1_000_000 );
my $file     = $class->new( $path, 100_000 );
my $readonly = $class->new_readonly($path);
my $memfd    = $class->new_memfd( 'leaks', 10_000 );
my $dead     = $class->new( undef, 1000 );
$dead->DESTROY;

my $number = 0;
my $forged = bless \$number, $class;
my $closer = do {

    package Overloaded;
    use overload '""' => sub { die "no string\n" }, '0+' => sub { die "no number\n" }, fallback => 1;
    bless {};
};

spew( scratch('magic'), 'not a log at all, ' x 1000 );
spew( scratch('short'), 'x' );
spew( scratch('LOG1'),  'LOG1' . 'x' x 8188 );
symlink $path, scratch('symlink') or die "symlink: $!";
mkfifo( scratch('fifo'), 0600 ) or die "mkfifo: $!";
open my $plain, '<', scratch('magic') or die "open: $!";

sub refill {
    my ($wanted) = @_;
    $wanted->reset;
    $wanted->append_multi( ('entry') x 50 );
    return;
}

sub room {
    my ($wanted) = @_;
    $wanted->reset if $wanted->available < 1000;
    return $wanted;
}

# A handler that dies out of wait_for.
sub interrupted {
    local $SIG{ALRM} = sub { die "interrupted\n" };
    ualarm 500;
    my $lived = eval { $log->wait_for( $log->entry_count, 60 ); 1 };
    ualarm 0;
    die $@ if !$lived;
    return;
}

my %works = (
    'new, anonymous'             => sub { $class->new( undef, 10_000 ) },
    'new, checksummed'           => sub { $class->new( undef, 10_000, 0600, checksum => 1 )->append('x') },
    'new, a file and its unlink' => sub { $class->new( scratch('new'), 10_000 )->unlink },
    'new, attached'              => sub { $class->new( $path,          1 )->entry_count },
    'new_readonly'               => sub { $class->new_readonly($path)->entry_count },
    'new_memfd'                  => sub { $class->new_memfd( 'leak', 10_000 ) },
    'new_from_fd'                => sub { $class->new_from_fd( $memfd->memfd )->entry_count },
    'DESTROY, early and twice'   => sub { my $l = $class->new( undef, 1000 ); $l->DESTROY; $l->DESTROY },
    'append'                     => sub { room($log)->append('some data') },
    'append, characters'         => sub { room($log)->append("\x{263a}\x{100}") },
    'append, full'               => sub { $full->append('x') },
    'append, to a file'          => sub { room($file)->append('some data') },
    'log_append'                 => sub { log_append( room($log), 'some data' ) },
    'log_read'                   => sub { my ( $data, $next ) = log_read( $file, 0 ) },
    'log_next'                   => sub { my $data    = log_next( $file->cursor ) },
    'append_multi'               => sub { my @offsets = room($log)->append_multi( 'a' .. 'e' ) },
    'append_multi, full'         => sub { my @offsets = $full->append_multi( 'a' .. 'e' ) },
    'read_entry'                 => sub { my ( $data, $next ) = $file->read_entry(0) },
    'read_entry, nothing there'  => sub { my ( $data, $next ) = $file->read_entry( $file->tail_offset ) },
    'each_entry'                 => sub {
        my $n = 0;
        $log->each_entry( sub { $n += length $_[0] } );
    },
    'each_entry, entries kept' => sub {
        my @kept;
        $file->each_entry( sub { push @kept, \$_[0] } );
    },
    'each_entry, nested' => sub {
        my $n = 0;
        $readonly->each_entry(
            sub {
                $readonly->each_entry( sub { $n++ } );
            }
        );
    },
    'each_entry, a return out of loops' => sub {
        $log->each_entry(
            sub {
                for ( 1 .. 3 ) {
                    for ( 1 .. 3 ) { return }
                }
            }
        );
    },
    'each_entry, the log dropped' => sub {
        my $l = $class->new( undef, 1000 );
        $l->append($_) for 1 .. 3;
        $l->each_entry( sub { undef $l } );
    },
    'cursor' => sub {
        my $cursor = $log->cursor;
        $cursor->next;
        my @rest = $cursor->next_multi(10);
        my @all  = ( $cursor->offset, $cursor->position, $cursor->lag, $cursor->missed );
        $cursor->seek(0);
        $cursor->next(0);
    },
    'cursor, outliving its log' => sub {
        my $cursor = $class->new( undef, 1000 )->cursor;
        eval { $cursor->next };
    },
    'wait_for, a poll'      => sub { $log->wait_for( $log->entry_count, 0 ) },
    'wait_for, a timeout'   => sub { $log->wait_for( $log->entry_count, 1e-4 ) },
    'wait_for, new entries' => sub { $log->wait_for(-1) },
    'eventfd'               => sub {
        my $l = $class->new( undef, 1000 );
        $l->eventfd;
        $l->notify;
        $l->eventfd_consume;
        $l->eventfd_consume;
    },
    'eventfd_set' => sub {
        my $l = $class->new( undef, 1000 );
        $l->eventfd;
        $l->eventfd_set( $memfd->eventfd );
    },
    'status' => sub {
        my @all = map { $file->$_ } qw(tail_offset entry_count data_size available truncation path memfd fileno);
    },
    'stats'    => sub { $log->stats },
    'verify'   => sub { $file->verify },
    'verify with a callback' => sub { $file->verify( sub { } ) },
    'sync'     => sub { $file->sync },
    'truncate' => sub { $log->truncate( $log->tail_offset ) },
    'reset'    => sub { refill($log) },
);

my %croaks = (
    'new without a size'                 => sub { $class->new(undef) },
    'new with size 0'                    => sub { $class->new( undef,           0 ) },
    'new with a size that is no number'  => sub { $class->new( undef,           'abc' ) },
    'new with a size beyond the limit'   => sub { $class->new( undef,           2**50 ) },
    'new with an unknown option'         => sub { $class->new( undef,           1000, 0600, nonsense => 1 ) },
    'new with an odd number of options'  => sub { $class->new( undef,           1000, 0600, 'sparse' ) },
    'new with a mode that is a string'   => sub { $class->new( scratch('mode'), 1000, '0660' ) },
    'new with a NUL in the path'         => sub { $class->new( "$path\0",                1000 ) },
    'new with a path that dies'          => sub { $class->new( $closer,                  1000 ) },
    'new on a file without magic'        => sub { $class->new( scratch('magic'),         1000 ) },
    'new on a file that is too small'    => sub { $class->new( scratch('short'),         1000 ) },
    'new on a log of another make'       => sub { $class->new( scratch('LOG1'),          1000 ) },
    'new on a symlink'                   => sub { $class->new( scratch('symlink'),       1000 ) },
    'new on a folder'                    => sub { $class->new( scratch(),                1000 ) },
    'new on a fifo'                      => sub { $class->new( scratch('fifo'),          1000 ) },
    'new in a folder that is not there'  => sub { $class->new( scratch('none') . '/log', 1000 ) },
    'new_readonly on nothing'            => sub { $class->new_readonly( scratch('none') ) },
    'new_readonly on a file that is not' => sub { $class->new_readonly( scratch('magic') ) },
    'new_memfd without a size'           => sub { $class->new_memfd('leak') },
    'new_from_fd on a file that is not'  => sub { $class->new_from_fd( fileno $plain ) },
    'new_from_fd on a closed descriptor' => sub { $class->new_from_fd(987_654) },
    'append of nothing'                  => sub { $log->append('') },
    'append of undef'                    => sub { $log->append(undef) },
    'append of data that dies'           => sub { $log->append($closer) },
    'append to a read-only log'          => sub { $readonly->append('x') },
    'append to a dead log'               => sub { $dead->append('x') },
    'append to a forged log'             => sub { $class->can('append')->( $forged, 'x' ) },
    'log_append to no log'               => sub { log_append( 'nothing', 'x' ) },
    'log_next of no cursor'              => sub { log_next($log) },
    'append_multi with an empty element' => sub { $log->append_multi( 'a', '', 'b' ) },
    'append_multi with one that dies'    => sub { $log->append_multi( 'a', $closer ) },
    'read_entry of no number'            => sub { $log->read_entry('abc') },
    'each_entry without a callback'      => sub { $log->each_entry('abc') },
    'each_entry with one that dies'      => sub {
        $file->each_entry( sub { die "enough\n" } );
    },
    'each_entry, nested, that dies' => sub {
        $file->each_entry(
            sub {
                $file->each_entry( sub { die "enough\n" } );
            }
        );
    },
    'cursor of a dead log'              => sub { $dead->cursor },
    'next_multi of no number'           => sub { $log->cursor->next_multi('abc') },
    'wait_for no number'                => sub { $log->wait_for('abc') },
    'wait_for left by a signal handler' => \&interrupted,
    'truncate below 0'                  => sub { $log->truncate(-1) },
    'sync of a read-only log'           => sub { $readonly->sync },
    'unlink of a log in memory'         => sub { $log->unlink },
    'eventfd_set of no number'          => sub { $log->eventfd_set('abc') },
);

# All that is mapped, the heap included.
sub mapped {
    no warnings 'portable';
    my ( $count, $bytes ) = ( 0, 0 );
    for my $line ( split /\n/, slurp('/proc/self/maps') ) {
        my ( $from, $to ) = $line =~ /^([0-9a-f]+)-([0-9a-f]+) / or next;
        $count++;
        $bytes += hex($to) - hex $from;
    }
    return "$count maps of $bytes bytes";
}

# The heap may grow for once, by what perl itself keeps. A leak grows in each
# of the rounds.
sub piles_up {
    my ( $code, $repeats ) = @_;
    $code->() for 1 .. 20;
    my $fds = open_fds();
    my @seen;
    for my $round ( 1 .. 5 ) {
        push @seen, mapped();
        $code->() for 1 .. $repeats;
        return "descriptors $fds became " . open_fds() if open_fds() ne $fds;
        return ''                                      if mapped() eq $seen[-1];
    }
    return join ', then ', @seen;
}

sub check {
    my ( $name, $code ) = @_;
    refill($_) for $log, $file;
    my $start = time;
    $code->();

    # What takes its time, as a disk may, is repeated less often.
    my $repeats = 3000 + int 1 / ( time - $start + 1e-4 );
    is( piles_up( $code, $repeats ), '', "$name ($repeats times)" );
    cmp_ok( min( map { Test::LeakTrace::leaked_count($code) } 1 .. 3 ), '<=', 0, "$name: scalars" ) if $leaktrace;
    return;
}

{
    my @leaked;
    isnt( piles_up( sub { push @leaked, 'x' x 100 },     5000 ), '', 'leaked memory would be seen' );
    isnt( piles_up( sub { push @leaked, POSIX::dup(0) }, 10 ),   '', 'a leaked descriptor would be seen' );
    POSIX::close($_) for grep { /^[0-9]+\z/ } @leaked;
}

check( $_, $works{$_} ) for sort keys %works;
for my $name ( sort keys %croaks ) {
    my $survive = sub {
        eval { $croaks{$name}->(); 1 };
    };
    ok( !$survive->(), "$name croaks" ) and check( $name, $survive );
}

done_testing;
