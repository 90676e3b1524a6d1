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

my ($version) = `"$cargo" --version` =~ /^cargo 1\.(\d+)/;

# Before 1.68 cargo reads the registry's index as a git repository of hundreds of megabytes; it has the
# newer way, but keeps it from stable releases.
if ( $version < 68 && !-d "$here/vendor" ) {
    $ENV{RUSTC_BOOTSTRAP} = 1;
    $ENV{CARGO_UNSTABLE_SPARSE_REGISTRY} = 'true';
}

# Beside an rlib, which only Rust's programs need, a staticlib is not optimized as a whole; cargo can leave
# it out since 1.64.
my @library = $version < 64 ? qw(build --lib) : qw(rustc --lib --crate-type staticlib);

my $registry = ( $ENV{CARGO_HOME} // ( $ENV{HOME} // '' ) . '/.cargo' ) . '/registry';
$ENV{CARGO_ENCODED_RUSTFLAGS} = join "\x1f", "--remap-path-prefix=$registry=registry", "--remap-path-prefix=$here=.";

exec {$cargo} $cargo, @library, qw(--release --locked), @options,
    '--target'        => $target,
    '--target-dir'    => "$here/target",
    '--manifest-path' => "$here/rust/Cargo.toml"
    or die "$cargo: $!\n";
