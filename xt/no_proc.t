use strict;
use warnings;

# Without /proc nobody can open a descriptor's file anew, and there is no boot id.

use FindBin qw($Bin);
use lib "$Bin/../t/lib";
use LogTest;
use Test::More;

use Data::Log::Shared;

in_own_mounts();

my $path = scratch('log');
Data::Log::Shared->new( $path, 1000 )->append('made before');
system( 'mount', '-t', 'tmpfs', 'none', '/proc' ) == 0 or die 'mount failed';
ok( !-e '/proc/self', '/proc is not there' );

# Its life lock could be had exclusively, since all descriptors shared one description; so recovery cut
# off what others were writing.
subtest 'attaching a memfd recovers nothing' => sub {
    my $log     = Data::Log::Shared->new_memfd( 'shared', 10_000 );
    my @offsets = map { $log->append("entry $_") } 1 .. 4;

    # As if the second writer had not committed yet.
    open my $memory, '+<&', $log->memfd or die $!;
    my $slot = sub {
        my ($word) = @_;
        sysseek $memory, 4096 + $offsets[1], 0 or die $!;
        sysread $memory, my $before, 4;
        sysseek $memory, 4096 + $offsets[1], 0 or die $!;
        syswrite $memory, $word;
        return $before;
    };
    my $committed = $slot->( pack 'L', 1 << 30 | ( $offsets[2] - $offsets[1] ) / 4 );
    my $second    = Data::Log::Shared->new_from_fd( $log->memfd );
    is( $second->stats->{recoveries}, 0,                 'none is counted' );
    is( $second->tail_offset,         $log->tail_offset, 'the tail is where it was' );
    $slot->($committed);
    is_deeply( [ replay($second) ], [ map { "entry $_" } 1 .. 4 ], 'what is committed later is read' );
    is( from_child( sub { $second->append('by a child') } ), $offsets[3] + 16, 'appending goes on behind it' );
    is( $log->entry_count,                                   5,                '... for all' );
};

# Reset had no way to a lock of its own.
subtest 'reset' => sub {
    my %logs = (
        'memory'  => Data::Log::Shared->new( undef, 1000 ),
        'a memfd' => Data::Log::Shared->new_memfd( 'x', 1000 ),
        'a file'  => Data::Log::Shared->new( scratch('new'), 1000 ),
    );
    for my $what ( sort keys %logs ) {
        my $log = $logs{$what};
        $log->append('old') for 1 .. 3;
        is( eval { $log->reset },                                   1, "works for $what" ) or diag $@;
        is( from_child( sub { $log->append('new'); $log->reset } ), 1, '... in a child as well' );
        is( $log->entry_count,                                      0, '... and empties it' );
        my $before = $log->stats->{generation};
        my @pids   = map {
            in_child( sub { $log->reset for 1 .. 200 } )
        } 1 .. 3;
        ok( reap(@pids), '... also several at once' );
        is( $log->stats->{generation}, $before + 600, '... one after the other' );
    }
};

subtest 'files' => sub {
    my $log = Data::Log::Shared->new( $path, 1000 );
    is_deeply( [ replay($log) ], ['made before'], 'are attached by path' );
    my $second = Data::Log::Shared->new( $path, 1000 );
    is( $second->append('more') > 0, 1, '... while others have them open' );
    open my $file, '+<', $path or die $!;
    croaks( sub { Data::Log::Shared->new_from_fd( fileno $file ) },
        'new_from_fd', qr{/proc}, 'but not by descriptor, which is said' );
    is_deeply( [ replay($log) ], [ 'made before', 'more' ], '... and done without harm' );
};

done_testing;
