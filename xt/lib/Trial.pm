package Trial;

use strict;
use warnings;

use Exporter 'import';
use Test::More;

our @EXPORT = qw(trial);

my $manifest = 'rust/trials/Cargo.toml';
my $built;

# Runs a program of rust/trials; it says what it found and exits non-zero when a promise is broken,
# or with 77 and a reason where it can't run.
sub trial {
    my ( $name, @options ) = @_;
    if ( !defined $built ) {
        my $version = `cargo --version 2>/dev/null`;
        plan skip_all => 'cargo is not installed' unless $version;
        $built = system( qw(cargo build --quiet --release --manifest-path), $manifest ) == 0;
        ok( $built, 'the trials build' ) or BAIL_OUT('nothing to run');
    }
    my $output = `rust/trials/target/release/$name @options 2>&1`;
    my $status = $?;
    if ( $status == 77 << 8 ) {
        SKIP: { skip $output =~ s/\n.*//sr, 1 }
        return;
    }
    note($output) if $status == 0;
    is( $status, 0, "$name @options" ) or diag($output);
    return;
}

1;
