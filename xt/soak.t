use strict;
use warnings;

use FindBin qw($Bin);
use Test::More;
use lib "$Bin/lib";
use Trial;

# The long form: --kills 10000 --seconds 3600.
trial(qw(soak --seconds 30));

done_testing;
