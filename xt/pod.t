use strict;
use warnings;

use Test::More;

eval { require Test::Pod; 1 } or plan skip_all => 'Test::Pod is not installed';
Test::Pod::all_pod_files_ok( Test::Pod::all_pod_files( grep { -e } qw(lib bin eg bench) ) );
