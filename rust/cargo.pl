# perl rust/cargo.pl CARGO RUSTC TARGET
#
# Builds the library below target/, whatever the user's environment and configuration say about it:
# offline from vendor/ where that is, as in a released tarball, else from the registry.

use strict;
use warnings;

use Cwd 'getcwd';

my ( $cargo, $rustc, $target ) = @ARGV;
my $here = getcwd;

delete @ENV{ grep { /^(?:CARGO_(?!HOME$|HTTP_|NET_|REGISTR)|RUSTC_|RUSTFLAGS$|MAKEFLAGS$|MFLAGS$)/ } keys %ENV };
$ENV{RUSTC} = $rustc;

# Set, though empty: that beats a configuration.
$ENV{$_} = '' for qw(RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER);

my @options;
if ( -d 'vendor' ) {
    my $vendor = "$here/vendor" =~ s/([\\"])/\\$1/gr;
    @options = (
        '--offline',
        '--config' => 'source.crates-io.replace-with = "vendor"',
        '--config' => qq(source.vendor.directory = "$vendor"),
    );

    # Cargo reads the configuration of its home and of every folder above the current one.
    $ENV{CARGO_HOME} = "$here/target/cargo-home";
    chdir '/' or die "/: $!\n";
}

# Before 1.68 cargo reads the registry's index as a git repository of hundreds of megabytes; it has the
# newer way, but keeps it from stable releases.
elsif ( `"$cargo" --version` =~ /^cargo 1\.(\d+)/ && $1 < 68 ) {
    $ENV{RUSTC_BOOTSTRAP} = 1;
    $ENV{CARGO_UNSTABLE_SPARSE_REGISTRY} = 'true';
}

my $registry = ( $ENV{CARGO_HOME} // ( $ENV{HOME} // '' ) . '/.cargo' ) . '/registry';
$ENV{CARGO_ENCODED_RUSTFLAGS} = join "\x1f", "--remap-path-prefix=$registry=registry", "--remap-path-prefix=$here=.";

exec {$cargo} $cargo, qw(build --release --locked --lib), @options,
    '--target'        => $target,
    '--target-dir'    => "$here/target",
    '--manifest-path' => "$here/rust/Cargo.toml"
    or die "$cargo: $!\n";
