# The protocol under loom and the locks of attaching under Spin, and the mutants of both.
# About two minutes of processor time.
use strict;
use warnings;

use Cwd qw(abs_path);
use File::Temp qw(tempdir);
use Test::More;

my $model = abs_path('rust/model');

# Output of a command, and whether it succeeded.
sub run {
    my ($command) = @_;
    my $output = `$command 2>&1`;
    return ( $output, $? == 0 );
}

subtest 'the protocol, with processes that pause and die at every step' => sub {
    ( run('cargo --version') )[1] or plan skip_all => 'cargo is not installed';
    my $manifest = "--manifest-path $model/Cargo.toml";
    ( run("cargo fetch --quiet --locked $manifest") )[1]
        or plan skip_all => 'loom can not be fetched';
    my ( $log, $built ) = run("cargo build --quiet --release --locked $manifest");
    ok( $built, 'the models are built' ) or return diag $log;
    for my $what ( '', '--mutants' ) {
        my ( $output, $good ) = run("$model/target/release/model $what");
        my ($figures) = $output =~ /^((?:all models|mutants): .*)/m;
        ok( $good, $figures // 'no figures' ) or diag $output;
    }
};

subtest 'the locks of attaching' => sub {
    ( run('spin -V') )[1]     or plan skip_all => 'spin is not installed';
    ( run('cc --version') )[1] or plan skip_all => 'there is no C compiler';
    my $directory = tempdir( CLEANUP => 1 );
    my $search    = sub {
        my ($mutant) = @_;
        my $define = $mutant ? "-D$mutant" : '';
        my ( $output, $good )
            = run("cd $directory && spin -a $define $model/attach.pml"
                . ' && cc -O2 -DSAFETY -o pan pan.c && ./pan -m100000' );
        return diag $output if !$good;
        my ($errors) = $output =~ /errors: (\d+)/;
        my ($states) = $output =~ /(\S+) states, stored/;
        note( ( $mutant // 'as it is' ) . ": $states states, $errors errors" );
        diag $output if $output =~ /max search depth too small/;
        return $errors;
    };
    is( $search->(), 0, 'recovery runs once, alone, and before anybody goes on' );
    open my $source, '<', "$model/attach.pml" or die "attach.pml: $!";
    my %mutants = map { $_ => 1 } map {/^#ifn?def (\w+)/} grep { !/ATTACHERS|DEATHS/ } <$source>;
    cmp_ok( $search->($_), '>', 0, "caught: $_" ) for sort keys %mutants;
};

done_testing;
