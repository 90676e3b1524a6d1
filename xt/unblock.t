use strict;
use warnings;

use FindBin qw($Bin);
use Test::More;
use lib "$Bin/lib";
use Trial;

# The long form: --rounds 1000 --huge 268435455.
trial(qw(unblock));

done_testing;
