use strict;
use warnings;

use FindBin qw($Bin);
use Test::More;
use lib "$Bin/lib";
use Trial;

# All instructions take minutes: --stride 1 --sparse 97 --patient 1.
trial(qw(killed --stride 13));

done_testing;
