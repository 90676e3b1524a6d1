package Data::Log::Shared::Tool::Completion;

# completion: a script for bash, made of what the commands themselves accept.

use 5.026;
use strict;
use warnings;

use Data::Log::Shared::Tool ();

our %COMMANDS = ( completion => { arguments => [ 0, 1 ], options => [], run => \&completion } );

sub completion {
    my @commands = Data::Log::Shared::Tool::command_names();
    my $cases    = '';
    for my $command (@commands) {
        my @words = map { options_of($_) } @{ Data::Log::Shared::Tool::command($command)->{options} };
        $cases .= "        $command) options='" . join( ' ', sort @words, '--help' ) . "' ;;\n";
    }
    my $script = do { local $/; <DATA> };
    $script =~ s/COMMANDS/@commands/;
    $script =~ s/ *CASES\n/$cases/;
    print $script;
    return 0;
}

sub options_of {
    my ($specification) = @_;
    my ($names) = $specification =~ /\A([\w|-]+)/;
    return map { ( length == 1 ? '-' : '--' ) . $_ } split /\|/, $names;
}

1;

__DATA__
# bash completion for log-shared

_log_shared() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command= options= i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        [[ ${COMP_WORDS[i]} == -* ]] || { command=${COMP_WORDS[i]}; break; }
    done
    case $command in
        '' | help)
            options='COMMANDS'
            [[ $command ]] || options+=' help --help --version'
            mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
            return ;;
        CASES
    esac
    case $before in
        --color | --colour) mapfile -t COMPREPLY < <(compgen -W 'auto always never' -- "$word"); return ;;
        --pid) mapfile -t COMPREPLY < <(compgen -W "$(cd /proc && echo [0-9]*)" -- "$word"); return ;;
    esac
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
    else
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    fi
}
complete -F _log_shared log-shared
