use strict;
use warnings;

use FindBin qw($Bin);
use Test::More;
use lib "$Bin/../t/lib";
use LogTest;

# Another version lays the same header out differently.
my $wanted = '0.29.2';

my $found = `cbindgen --version 2>/dev/null` or plan skip_all => 'cbindgen is not installed';
is( $found, "cbindgen $wanted\n", "cbindgen is version $wanted" );

my $fresh = scratch('data_log_shared.h');
is( system( qw(cbindgen --quiet --config rust/cbindgen.toml --output), $fresh, 'rust/src/lib.rs' ),
    0, 'cbindgen generates the header' );
is( slurp($fresh), slurp('rust/include/data_log_shared.h'), 'the committed header is what cbindgen generates' );

done_testing;
