package ToolTest;

# Runs log-shared as it was built or installed; LOG_SHARED_TOOL names another one.

use strict;
use warnings;

use Exporter 'import';
use File::Spec ();
use LogTest;
use POSIX 'WNOHANG';
use Time::HiRes qw(sleep time);

our @EXPORT = qw(tool tool_with_input start_tool start_program ends tool_command tool_words shell);

my $tool = $ENV{LOG_SHARED_TOOL};
if ( !defined $tool ) {
    my ($built) = grep { m{\bblib\W+lib\W*\z} } @INC;
    $tool = File::Spec->rel2abs( ( $built ? "$built/.." : 'blib' ) . '/script/log-shared' );
}
-x $tool or die "$tool is not there; run make first\n";

$ENV{PERL5LIB} = join ':', map { File::Spec->rel2abs($_) } grep { !ref && -d } @INC
    if !$ENV{LOG_SHARED_TOOL};
delete @ENV{qw(NO_COLOR PERL5OPT)};

sub tool_command { return ( $^X, $tool ) }

# The same with arguments, for a shell.
sub tool_words { return join ' ', map { s/'/'\\''/gr =~ s/(.*)/'$1'/sr } tool_command(), @_ }

# Exit status (negative: the signal), standard output, standard error.
sub tool { return tool_with_input( '', @_ ) }

sub tool_with_input {
    my ( $input, @arguments ) = @_;
    my ( $in, $out, $err ) = map { scratch("tool.$_") } qw(in out err);
    spew( $in, $input );
    my $pid = start_tool( { in => $in, out => $out, err => $err }, @arguments );
    waitpid $pid, 0;
    return ( status(), slurp($out), slurp($err) );
}

sub status { return $? & 127 ? -( $? & 127 ) : $? >> 8 }

sub start_tool {
    my ( $files, @arguments ) = @_;
    return start_program( $files, tool_command(), @arguments );
}

sub start_program {
    my ( $files, @command ) = @_;
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    my %is = ( in => '/dev/null', %$files );
    ( !defined $is{in} || open STDIN, '<', $is{in} )   or die "$is{in}: $!";
    ( !defined $is{out} || open STDOUT, '>', $is{out} ) or die "$is{out}: $!";
    ( !defined $is{err} || open STDERR, '>', $is{err} ) or die "$is{err}: $!";
    alarm 0;
    # A shell's background jobs ignore some of them.
    $SIG{$_} = 'DEFAULT' for qw(HUP INT PIPE TERM);
    exec @command or die "exec: $!";
}

# The status of a process that ends by itself; undef if it does not.
sub ends {
    my ($pid) = @_;
    my $until = time + 20;
    until ( waitpid $pid, WNOHANG ) {
        if ( time > $until ) {
            kill KILL => $pid;
            waitpid $pid, 0;
            return;
        }
        sleep 0.02;
    }
    return $?;
}

# A line for bash in which log-shared is the tool.
sub shell {
    my ($line) = @_;
    my $function = 'log-shared() { ' . tool_words() . ' "$@"; }';
    my ( $out, $err ) = map { scratch("shell.$_") } qw(out err);
    my $pid = start_program( { out => $out, err => $err }, 'bash', '-c', "$function; $line" );
    waitpid $pid, 0;
    return ( status(), slurp($out), slurp($err) );
}

1;
