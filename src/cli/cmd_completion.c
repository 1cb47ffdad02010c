#include <stdio.h>
#include <string.h>

#include "cli/cli_commands.h"

/* The scripts know nothing of banger's commands: they ask the program itself, which has the table. */

static const char bash_script[] =
        "_banger() {\n"
        "        local line IFS=$'\\n'\n"
        "        COMPREPLY=()\n"
        "        while read -r line; do\n"
        "                if [ \"$line\" = :files ]; then\n"
        "                        compopt -o filenames\n"
        "                        COMPREPLY=($(compgen -f -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
        "                else\n"
        "                        COMPREPLY+=(\"$line\")\n"
        "                fi\n"
        "        done < <(banger internal complete -- \"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null)\n"
        "}\n"
        "complete -F _banger banger\n";

static const char zsh_script[] = "#compdef banger\n"
                                 "_banger() {\n"
                                 "        local -a candidates\n"
                                 "        candidates=(${(f)\"$(banger internal complete -- "
                                 "\"${(@)words[2,CURRENT]}\" 2>/dev/null)\"})\n"
                                 "        if [[ ${candidates[1]} == :files ]]; then\n"
                                 "                _files\n"
                                 "        else\n"
                                 "                compadd -a candidates\n"
                                 "        fi\n"
                                 "}\n"
                                 "if [[ ${zsh_eval_context[-1]} == loadautofunc ]]; then _banger \"$@\"; "
                                 "else compdef _banger banger; fi\n";

static const char fish_script[] =
        "function __banger_complete\n"
        "        set -l words (commandline -opc) (commandline -ct)\n"
        "        set -l candidates (banger internal complete -- $words[2..-1] 2>/dev/null)\n"
        "        if test \"$candidates[1]\" = ':files'\n"
        "                __fish_complete_path (commandline -ct)\n"
        "        else\n"
        "                printf '%s\\n' $candidates\n"
        "        end\n"
        "end\n"
        "complete -c banger -f -a '(__banger_complete)'\n";

int cmd_completion(struct cli *cli, const struct cli_args *args, struct err *err)
{
        static const struct {
                const char *shell, *script;
        } scripts[] = {
                {"bash",  bash_script},
                { "zsh",  zsh_script },
                { "fish", fish_script},
        };

        (void) cli;
        for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++)
                if (strcmp(scripts[i].shell, args->operands[0]) == 0) {
                        (void) fputs(scripts[i].script, stdout);
                        return 0;
                }
        return err_set(err, EINVAL, "cli.completion", "no completion for '%s'; there is bash, zsh and fish",
                       args->operands[0]);
}
