use 5.026;
use strict;
use warnings;

# The Rust library compiles for musl, and leaves the C library to perl.
# Needs Rust's standard library for musl: rustup target add x86_64-unknown-linux-musl. Debian packages
# none, nor a perl that is linked to musl, which is why the rest is not tried.

use FindBin qw($Bin);
use Test::More;
use lib "$Bin/lib";
use InstallTest;

my $target = 'x86_64-unknown-linux-musl';
needs(qw(cargo rustc readelf));
chomp( my $std = output("rustc --print target-libdir --target $target") );
glob "$std/libstd-*" or plan skip_all => "needs Rust's standard library for $target";

mkdir scratch('open') or die $!;
output( "tar -C '" . scratch('open') . "' -xzf '" . tarball() . "'" );
my ($open) = glob "'" . scratch('open') . "'/*";

my $said = output("cd '$open' && $^X rust/cargo.pl \$(command -v cargo) \$(command -v rustc) $target");
ok( $? == 0, 'the library compiles for musl' ) or diag $said;

# A C library in the library would be a second one in perl's process.
my %symbols;
for ( split /\n/, output("readelf -sW '$open/target/$target/release/libdata_log_shared.a' 2>/dev/null") ) {
    my ( $section, $name ) = /\b(?:GLOBAL|WEAK)\s+\w+\s+(\w+)\s+(\S+)$/ or next;
    $symbols{ $section eq 'UND' ? 'open' : 'has' }{$name} = 1;
}
ok( $symbols{has}{dls_open}, 'it has our functions' );
ok( $symbols{open}{$_} && !$symbols{has}{$_}, "it leaves $_ to the C library" ) for qw(malloc mmap pthread_create);

done_testing;
