use strict;
use warnings;

use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

ok( Data::Log::Shared->VERSION, 'the module has a version' );

can_ok(
    'Data::Log::Shared',
    qw(new new_memfd new_from_fd append read_entry each_entry tail_offset entry_count data_size available
        wait_for reset truncate truncation sync unlink path memfd fileno eventfd eventfd_set notify
        eventfd_consume stats verify DESTROY)
);

my @taken = grep { defined &{"main::$_"} }
    qw(append truncate unlink reset sync stats path notify new DESTROY truncation verify);
is( "@taken", '', 'loading imports nothing' );

{
    my $path = spew( scratch('plain'), 'x' x 100 );
    truncate $path, 10 or die $!;
    is( -s $path,      10, 'truncate is still the built-in one' );
    is( unlink($path), 1,  'unlink is still the built-in one' );
    ok( !-e $path, '... and removed the file' );
    our $quux = 1;
    reset 'q';
    is( $quux, undef, 'reset is still the built-in one' );
}

done_testing;
