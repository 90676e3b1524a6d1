package InstallTest;

# What the tests of installing share.

use 5.026;
use strict;
use warnings;

use Cwd            qw(abs_path);
use Exporter       qw(import);
use File::Basename qw(dirname);
use File::Temp     ();
use Test::More;

our @EXPORT = qw(checkout debian needs output scratch tarball);

my $top = abs_path( dirname(__FILE__) . '/../../..' );
chdir $top or die "$top: $!";

sub scratch {
    state $folder = File::Temp->newdir( 'install-test-XXXXXXXX', TMPDIR => 1 );
    return "$folder" . ( @_ ? "/$_[0]" : '' );
}

# What a shell command said, and its status in $?.
sub output {
    my ($command) = @_;
    open my $pipe, '-|', 'bash', '-c', "exec 2>&1 </dev/null; set -e; $command" or die "bash: $!";
    local $/;
    my $said = <$pipe> // '';
    close $pipe;
    return $said;
}

sub needs {
    for my $program (@_) {
        output("command -v $program");
        plan skip_all => "needs $program" if $? != 0;
    }
    return;
}

# What is committed, in a folder of its own.
sub checkout {
    my ($folder) = @_;
    my $said = output("git clone --quiet . '$folder'");
    $? == 0 or BAIL_OUT("git clone: $said");
    return $folder;
}

# Of what is committed, unless a tarball to test is named in the environment.
sub tarball {
    state $made = $ENV{LOG_TEST_TARBALL} // do {
        needs(qw(git cargo make));
        my $folder = checkout( scratch('tarball') );
        my $said   = output("cd '$folder' && $^X Makefile.PL && make dist");
        my ($file) = glob "$folder/*.tar.gz";
        $file or BAIL_OUT("make dist: $said");
        $file;
    };
    return $made;
}

# Tests that a command succeeds in a Debian without a network; its folder /tmp/in has the tarball.
sub debian {
    my ( $suite, $packages, $name, $command ) = @_;
    my ( $folder, $file ) = tarball() =~ m{^(.*)/([^/]+)$};
    open my $pipe, '-|', 'bash', '-c', 'cd "$1" && exec "$0" "${@:3}" 2>&1 </dev/null',
        "$top/xt/install/debian", $folder, $file, $suite, $packages,
        "tarball=/tmp/in/$file\nexport PERL_CPANM_HOME=/tmp/cpanm\n$command"
        or die "bash: $!";
    my $said = do { local $/; <$pipe> } // '';
    close $pipe;
SKIP: {
        chomp( my $why = $said );
        skip $why, 1 if $? >> 8 == 77;
        ok( $? == 0, "$suite: $name" ) or diag $said;
    }
    return $said;
}

1;
