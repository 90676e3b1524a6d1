use strict;
use warnings;

use FindBin qw($Bin);
use Test::More;
use lib "$Bin/lib";
use Trial;

# The long form: --handoffs 1000000 --killed 500 --rounds 100.
trial(qw(waiters));

done_testing;
