use strict;
use warnings;

use ExtUtils::Manifest qw(maniread maniskip);
use Test::More;

-e '.git' or plan skip_all => 'not a git checkout';

open my $git, '-|', qw(git ls-files -z) or die "git: $!";
my @tracked = do {
    local $/ = "\0";
    map { s/\0\z//r } <$git>;
};
close $git or plan skip_all => 'git ls-files does not work here';

my $listed  = maniread;
my $skipped = maniskip;

is_deeply( [ grep { !exists $listed->{$_} && !$skipped->($_) } @tracked ],
    [], 'every tracked file is in MANIFEST or skipped' );
is_deeply( [ grep { !-e } sort keys %$listed ],            [], 'every file in MANIFEST exists' );
is_deeply( [ grep { $skipped->($_) } sort keys %$listed ], [], 'no file in MANIFEST is skipped' );

open my $manifest, '<', 'MANIFEST' or die "MANIFEST: $!";
my @lines = map { (split)[0] // () } grep { !/^#/ } <$manifest>;
is_deeply( \@lines, [ sort @lines ], 'MANIFEST is sorted' );
is( @lines, keys %$listed, 'MANIFEST names no file twice' );

done_testing;
