use strict;
use warnings;

use Config;
use FindBin qw($Bin);
use Test::More;
use lib "$Bin/../t/lib";
use LogTest;

# The tests of the tool once more, with what make install puts into another folder.
-e 'Makefile' or plan skip_all => 'run Makefile.PL first';
my $root = scratch('root');
is( system("$Config{make} install DESTDIR='$root' >'$root.out' 2>&1"), 0, 'make install' )
    or BAIL_OUT( slurp("$root.out") );

chomp( my @files = `find '$root' -type f` );
my ($tool)   = grep { m{/bin/log-shared\z} } @files;
my ($manual) = grep { m{/man1/log-shared\.1\w*\z} } @files;
my ($object) = grep { m{/Shared\.so\z} } @files;
ok( $tool && -x $tool, 'the tool is installed' );
ok( $manual,           '... with its manual' );
ok( $object,           '... and the module' );
is( ( grep { m{/man3/Data::Log::Shared::Tool} } @files ), 0, 'what is internal has no manual' );

my ($library) = map { m{(.*)/auto/} } $object;
ok( -e "$library/Data/Log/Shared.pm", '... beside it' );
for my $test ( sort glob 't/tool-*.t' ) {
    local $ENV{LOG_SHARED_TOOL} = $tool;
    local $ENV{PERL5LIB}        = $library;
    my $output = `'$^X' -It/lib '$test' 2>&1`;
    is( $?, 0, "$test with the installed tool" ) or diag $output;
}

done_testing;
