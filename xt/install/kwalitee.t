use 5.026;
use strict;
use warnings;

# The tarball meets the kwalitee metrics, its META files are valid and complete, and its POD is right.

use CPAN::Meta ();
use FindBin    qw($Bin);
use JSON::PP   ();
use Test::More;
use lib "$Bin/lib";
use InstallTest;

mkdir scratch('open') or die $!;
output( "tar -C '" . scratch('open') . "' -xzf '" . tarball() . "'" );
my ($open) = glob "'" . scratch('open') . "'/*";

# The older format has no phase for tests.
my %phases = ( 'META.json' => [qw(configure build test)], 'META.yml' => [qw(configure build)] );
for my $file ( sort keys %phases ) {
    my $meta = CPAN::Meta->load_file("$open/$file");
    is( $meta->name,           'Data-Log-Shared', "$file has the name" );
    is( ( $meta->license )[0], 'perl_5',          "$file has the license" );
    like( ( $meta->author )[0], qr/^[^@]+$/, "$file has an author and no made-up address" );
    like( $meta->abstract, qr/log/, "$file has an abstract" );
    my $prereqs = $meta->effective_prereqs;
    is( $prereqs->requirements_for( 'runtime', 'requires' )->requirements_for_module('perl'), '5.026', "$file has the least perl" );
    ok( $prereqs->requirements_for( $_, 'requires' )->required_modules, "$file has what $_ needs" )
        for @{ $phases{$file} };
    is( $meta->provides->{'Data::Log::Shared'}{version}, $meta->version, "$file has what it provides" );
    my %hidden = map { $_ => 1 } @{ $meta->no_index->{directory} };
    ok( $hidden{$_}, "$file keeps $_ from the index" ) for qw(bench eg rust t vendor xt);
}
is( output("podchecker -warnings -warnings '$open/lib/Data/Log/Shared.pm'") =~ s/.* pod syntax OK\.\n//r, '', 'the POD has no errors and no warnings' );

SKIP: {
    my $perl = <<'PERL';
        my $kwalitee = Module::CPANTS::Analyse->new({ dist => shift });
        $kwalitee->run;
        my $result = $kwalitee->d->{kwalitee};
        my %about = map { $_->{name} => $_ } @{ $kwalitee->mck->get_indicators };
        for my $name (sort keys %about) {
            my $kind = $about{$name}{is_experimental} ? "experimental" : $about{$name}{is_extra} ? "extra" : "core";
            print join("\t", $kind, $name, $result->{$name} // 0, $about{$name}{remedy} =~ s/\s+/ /gr), "\n";
        }
PERL
    my $use = eval { require Module::CPANTS::Analyse; 1 };
    my $out;
    if ($use) {
        $out = output( "$^X -MModule::CPANTS::Analyse -e '$perl' '" . tarball() . "' 2>/dev/null" );
    }
    else {
        $out = debian( 'bookworm', 'perl make cargo libmodule-cpants-analyse-perl', 'Module::CPANTS::Analyse runs',
            "perl -MModule::CPANTS::Analyse -e '$perl' \"\$tarball\" 2>/dev/null" );
    }
    my @metrics = map { [ split /\t/ ] } grep { /^(?:core|extra|experimental)\t/ } split /\n/, $out;
    @metrics or skip 'Module::CPANTS::Analyse cannot run', 1;
    for my $metric (@metrics) {
        my ( $kind, $name, $met, $remedy ) = @$metric;
        $kind eq 'experimental' ? note "$kind: $name ", $met ? 'met' : "not met: $remedy" : ok( $met, "$kind: $name" ) || diag $remedy;
    }
    my %met;
    $met{ $_->[0] }{ $_->[2] ? 'met' : 'not' }++ for @metrics;
    note join '; ', map { "$_: " . ( $met{$_}{met} // 0 ) . ' met, ' . ( $met{$_}{not} // 0 ) . ' not' } sort keys %met;
}

done_testing;
