use 5.026;
use strict;
use warnings;

# The tarball meets the kwalitee metrics, its META files are valid and complete, and its POD is right.

use CPAN::Meta ();
use File::Find qw(find);
use FindBin    qw($Bin);
use JSON::PP   ();
use Test::More;
use lib "$Bin/lib";
use InstallTest;

mkdir scratch('open') or die $!;
output( "tar -C '" . scratch('open') . "' -xzf '" . tarball() . "'" );
my ($open) = glob "'" . scratch('open') . "'/*";

# Of the files below a folder whose names match.
sub files {
    my ( $folder, $pattern ) = @_;
    my @files;
    find( { no_chdir => 1, wanted => sub { push @files, s{^\Q$open\E/}{}r if -f && /$pattern/ } }, "$open/$folder" );
    @files = sort @files;
    return @files;
}

# What they cannot do without: what is loaded in an eval is optional.
sub used {
    my %used;
    for my $file (@_) {
        my $code = output("sed '/^__END__/,\$d' '$open/$file'");
        $used{$1} = 1 while $code =~ /^\s*(?:use|require) +([A-Z]\w*(?:::\w+)*)\b/mg;
    }
    return grep { $_ ne 'Config' && !/^(?:Data::Log::Shared|LogTest|ToolTest)\b/ } sort keys %used;
}

my @modules = files( 'lib', qr/\.pm$/ );

# Frameworks are there for those who use an adapter.
my %used = (
    runtime => [ used( 'bin/log-shared', grep { !m{^lib/(?:Log|MojoX)/} } @modules ) ],
    test    => [ used( files( 't', qr{\.pm$|/(?!adapters)[^/]+\.t$} ) ) ],
);

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
    for my $phase ( grep { $used{$_} } 'runtime', @{ $phases{$file} } ) {
        my %listed = map { $_ => 1 } map { $prereqs->requirements_for( $_, 'requires' )->required_modules } 'runtime', $phase;
        is( join( ' ', grep { !$listed{$_} } @{ $used{$phase} } ), '', "$file has all that is used at $phase" );
    }

    my %hidden = map { $_ => 1 } @{ $meta->no_index->{directory} };
    ok( $hidden{$_}, "$file keeps $_ from the index" ) for qw(bench eg rust t vendor xt);
    my $provides = $meta->provides;
    for my $module (@modules) {
        my $name = $module =~ s{^lib/|\.pm$}{}gr =~ s{/}{::}gr;
        my $public = $name !~ /^Data::Log::Shared::Tool\b/;
        is( !!$meta->should_index_package($name), $public, "$file " . ( $public ? 'lets' : 'keeps' ) . " $name " . ( $public ? 'into' : 'from' ) . ' the index' );
        is_deeply( $provides->{$name}, $public ? { file => $module, version => $meta->version } : undef, "$file has what provides $name" );
    }
    is( $provides->{'Data::Log::Shared::Cursor'}{version}, $meta->version, "$file provides the cursor" );
}

for my $file ( 'bin/log-shared', files( 'lib', qr/\.(?:pm|pod)$/ ) ) {
    next if $file =~ m{/Tool\b};    # these have none
    my $strict = $file =~ /^lib/ ? '-warnings -warnings' : '-warnings';    # two commands have one option
    is( output("podchecker $strict '$open/$file'"), "$open/$file pod syntax OK.\n", "$file: POD without errors and warnings" );
}

open my $changes, '<', "$open/Changes" or die "Changes: $!";
my @releases = map { /^(\d\S*)/ } <$changes>;
ok( scalar @releases, 'Changes has releases' );
ok( scalar files( 't/golden', qr{/\Q$_\E-} ), "there are golden logs of $_" ) for @releases;

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
