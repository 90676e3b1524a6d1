use strict;
use warnings;

# Takes minutes. Tests to run can be named: prove -b xt/valgrind.t :: t/basic.t

use FindBin qw($Bin);
use Test::More;

# A test runs many times slower here; its own watchdog has to know.
BEGIN { $ENV{LOG_TEST_WATCHDOG} = 3600 }
use lib "$Bin/../t/lib";
use LogTest;

`valgrind --version 2>/dev/null` or plan skip_all => 'valgrind is not installed';
-d 'blib'                        or plan skip_all => 'nothing is built';
# What is pure Perl has nothing to find here.
my @tests = @ARGV ? @ARGV : sort grep { !m{/(?:adapters|sink|tool-)} } glob 't/*.t';

# Perl's own Cwd copies a string over itself.
my $known = spew( scratch('perl.supp'), <<'END');
{
   cwd
   Memcheck:Overlap
   fun:*memcpy*
   obj:*/Cwd.so
}
END

$ENV{PERL_DESTRUCT_LEVEL} = 0;
for my $test (@tests) {
    my $folder = scratch( $test =~ s{/}{-}gr );
    mkdir $folder or die "$folder: $!";

    # A log for each process: what a forked child did shows in no exit code.
    my @valgrind = (
        qw(valgrind --quiet --leak-check=no --error-exitcode=99 --vgdb=no),
        "--suppressions=$known", "--log-file=$folder/%p"
    );
    my $output = scratch('output');
    my $pid    = in_child(
        sub {
            open STDOUT, '>',  $output  or die "$output: $!";
            open STDERR, '>&', \*STDOUT or die "$output: $!";
            exec @valgrind, $^X, '-Mblib', $test or die "exec: $!";
        }
    );
    waitpid $pid, 0;
    my $status = $?;
    is( $status, 0, "$test passes under valgrind" ) or diag slurp($output);
    my @logs = glob "$folder/*";
    ok( scalar @logs, "valgrind watched $test" );
    is( join( '', map { slurp($_) } @logs ), '', "no process of $test touches memory wrongly" );
}

done_testing;
