use strict;
use warnings;

use Test::More;

eval { require Test::Pod::Coverage; 1 } or plan skip_all => 'Test::Pod::Coverage is not installed';
require Data::Log::Shared;

# The cursor has no file of its own; its methods are documented with the log's.
my $pod = $INC{'Data/Log/Shared.pm'};
$INC{'Data/Log/Shared/Cursor.pm'} //= $pod if Data::Log::Shared::Cursor->can('next');

for my $package ( 'Data::Log::Shared', 'Data::Log::Shared::Cursor' ) {
    Test::Pod::Coverage::pod_coverage_ok(
        $package,
        { pod_from => $pod, also_private => [ qr/^_/, qr/^(?:CLONE|CLONE_SKIP|dl_load_flags)$/ ] },
        "every public method of $package is documented"
    );
}

done_testing;
