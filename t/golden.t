use 5.026;
use strict;
use warnings;

# Logs that released versions made (xt/install/golden) are read by this one.

use Config;
use FindBin qw($Bin);
use Test::More;
use lib "$Bin/lib";
use Data::Log::Shared;
use LogTest;

my @wanted = ( "za\x{17e}lut\x{ed}, \x{263a}", 'third', "fourth\0\xff", 'after the sync' );

my @golden = sort glob 't/golden/*.log';
ok( scalar @golden, 'there are logs of earlier versions' );

for my $golden (@golden) {

    # Another inode than the log was made with: opening it recovers it.
    my $copy = spew( scratch( $golden =~ s{.*/}{}r ), slurp($golden) );
    if ( $Config{byteorder} !~ /^1234/ ) {
        croaks( sub { Data::Log::Shared->new( $copy, 256 ) }, 'new', qr/byte order/, "$golden is refused" );
        next;
    }
    my $log = Data::Log::Shared->new( $copy, 256 );
    is( $log->stats->{recoveries}, 1,   "$golden is recovered" );
    is( $log->data_size,           256, "$golden has its size" );
    is( $log->truncation,          16,  "$golden is truncated where it was" );
    is_deeply( [ replay($log) ], \@wanted, "$golden has its entries" );
    is( $log->entry_count,       5, "$golden has the count of all" );
    is( $log->verify->{damaged}, 0, "$golden is not damaged" );
    my $offset = $log->append('new');
    is( ( $log->read_entry($offset) )[0], 'new', "$golden takes new entries" );
}

done_testing;
