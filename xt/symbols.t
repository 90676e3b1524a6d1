use strict;
use warnings;

use Test::More;

my $object = 'blib/arch/auto/Data/Log/Shared/Shared.so';
-e $object                 or plan skip_all => "$object is not built";
`nm --version 2>/dev/null` or plan skip_all => 'nm is not installed';

open my $nm, '-|', qw(nm -D --defined-only), $object or die "nm: $!";
my @symbols = map { (split)[-1] } <$nm>;
ok( close $nm, "nm reads $object" );
is_deeply( \@symbols, ['boot_Data__Log__Shared'], 'the object exports its boot function and nothing else' );

done_testing;
