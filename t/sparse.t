use strict;
use warnings;

use IO::Handle ();
use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

my $SIZE = 8 * 2**20;
delete local $ENV{DATA_LOG_SHARED_SPARSE};

sub allocated { return 512 * ( stat $_[0] )[12] }

{
    open my $file, '>', scratch('hole') or die $!;
    truncate $file, $SIZE or die $!;
    close $file;
    plan skip_all => 'files cannot be sparse here' if allocated( scratch('hole') ) > $SIZE / 2;
}

subtest 'a file reserves its space' => sub {
    open my $zeros, '>', scratch('zeros') or die $!;
    print {$zeros} "\0" x $SIZE;
    $zeros->flush;
    $zeros->sync;
    plan skip_all => 'this file system stores zeros as nothing' if allocated( scratch('zeros') ) < $SIZE;
    my $path = scratch('full');
    my $log  = Data::Log::Shared->new( $path, $SIZE );
    cmp_ok( allocated($path), '>=', $SIZE, 'by default' );
    is( $log->stats->{sparse}, 0, '... and says so' );
    Data::Log::Shared->new( scratch('asked'), $SIZE, 0600, sparse => 0 );
    cmp_ok( allocated( scratch('asked') ), '>=', $SIZE, 'when asked to' );
};

subtest 'a sparse file does not' => sub {
    my $path = scratch('sparse');
    my $log  = Data::Log::Shared->new( $path, $SIZE, 0600, sparse => 1 );
    cmp_ok( allocated($path), '<', $SIZE / 2, 'it takes little' );
    is( -s $path,              4096 + $SIZE, '... but is as long as any' );
    is( $log->stats->{sparse}, 1,            '... and says what it is' );
    my @texts = map { "entry $_ " . 'x' x 5000 } 1 .. 40;
    $log->append($_) // die for @texts;
    ok( $log->sync, 'it can be synced' );
    undef $log;
    my $again = Data::Log::Shared->new( $path, $SIZE );
    is_deeply( [ replay($again) ], \@texts, '... and keeps what is written' );
    cmp_ok( allocated($path), '<', $SIZE / 2, '... attaching does not fill it' );
};

subtest 'the environment' => sub {
    for my $case ( [ 1, 1 ], [ 0, 0 ], [ '', 0 ] ) {
        my ( $value, $sparse ) = @$case;
        local $ENV{DATA_LOG_SHARED_SPARSE} = $value;
        my $path = scratch("environment-$value");
        my $log  = Data::Log::Shared->new( $path, $SIZE );
        is( $log->stats->{sparse},                $sparse, qq{of "$value"} );
        is( allocated($path) < $SIZE / 2 ? 1 : 0, $sparse, '... is heeded' );
    }
};

subtest 'memory' => sub {
    is( Data::Log::Shared->new( undef, 1000 )->stats->{sparse},     1, 'is sparse by default' );
    is( Data::Log::Shared->new_memfd( 'x', 1000 )->stats->{sparse}, 1, '... as memfd, too' );
    my $log = Data::Log::Shared->new( undef, 100_000, 0600, sparse => 0 );
    is( $log->stats->{sparse}, 0, 'need not be' );
    $log->append("entry $_") for 1 .. 10;
    is( $log->entry_count, 10, '... and works' );

    my $huge = Data::Log::Shared->new( undef, 2**32 );
    is( $huge->data_size, 2**32, 'a log of 4 GiB takes no memory' );
    $huge->append( 'x' x 100_000 ) for 1 .. 10;
    is( $huge->entry_count, 10, '... until it fills' );
};

# A damaged tail has a reset zero what the file holds, which a limit may forbid to write: by a signal.
subtest 'a limit on the size of files does not keep a damaged tail from being reset' => sub {
    my $path = scratch('limited');
    my $log  = Data::Log::Shared->new( $path, 1 << 20, 0600, sparse => 1 );
    $log->append( 'x' x 5000 ) for 1 .. 100;
    patch( $path, 128, 'no tail.' );
    my @perl  = ( $^X, ( map { "-I$_" } grep { !ref } @INC ), '-MData::Log::Shared' );
    my $reset = 'Data::Log::Shared->new( shift, 1 )->reset';
    is( system( 'sh', '-c', 'ulimit -f 100; exec "$@"', 'sh', @perl, '-e', $reset, $path ), 0, 'no signal' );
    is( substr( slurp($path), 4096 ) =~ tr/x//, 0, '... and no entry is left' );
    is( $log->append('y'),      0,   'it goes on' );
    is( join( '', replay($log) ), 'y', '... from the beginning' );
};

done_testing;
