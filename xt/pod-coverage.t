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

# What the frameworks call is in their manuals.
my %private = ( 'Log::Any::Adapter::Data::Log::Shared' => [qr/^(?:init|structured|is_[a-z]+)$/] );
my %framework = (
    'Log::Any::Adapter::Data::Log::Shared'       => 'Log::Any',
    'Log::Dispatch::Data::Log::Shared'           => 'Log::Dispatch',
    'Log::Log4perl::Appender::Data::Log::Shared' => 'Log::Log4perl',
    'MojoX::Log::Data::Log::Shared'              => 'Mojolicious',
);
for my $package ( 'Data::Log::Shared::PSGI', 'Data::Log::Shared::Sink', sort keys %framework ) {
    my $framework = $framework{$package};
SKIP: {
        skip "$framework is not installed", 1 if $framework && !eval "require $framework; 1";
        Test::Pod::Coverage::pod_coverage_ok(
            $package,
            { also_private => $private{$package} // [] },
            "every public method of $package is documented"
        );
    }
}

done_testing;
