#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "base/version.h"
#include "cli/cli_command.h"
#include "cli/cli_complete.h"
#include "cli/cli_help.h"
#include "cli/cli_parse.h"
#include "cli/cli_signals.h"
#include "cli/render_error.h"

static int print_help(const struct cli_command *command)
{
        scoped_text struct text page = { 0 };

        help_write(command, &page);
        (void) fputs(page.s, stdout);
        return 0;
}

/* Options without a command: --version, --help. */
static int run_top(char *const *argv, struct err *err)
{
        scoped_free char *line = version_line("banger");

        if (argv[0] && strcmp(argv[0], "--version") == 0) {
                (void) printf("%s\n", line);
                return 0;
        }
        if (!argv[0] || strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)
                return print_help(NULL);
        return err_set(err, EINVAL, "cli.main",
                       "no option '%s'; options follow a command, see 'banger --help'", argv[0]);
}

static int run_command(struct cli *cli, const struct cli_command *command, char *const *argv, struct err *err)
{
        scoped(parse_args_done) struct cli_args args = { 0 };
        int r = parse_args(command, argv, &args, err);

        if (r < 0)
                return r;
        if (args.wants_help || command_is_group(command))
                return print_help(command);
        return command->run(cli, &args, err);
}

static int run_words(struct cli *cli, char *const *argv, struct err *err)
{
        const struct cli_command *command;
        size_t n_words;
        int r;

        if (argv[0] && argv[1] && strcmp(argv[0], "internal") == 0 && strcmp(argv[1], "complete") == 0) {
                complete_words(cli, argv + (argv[2] && strcmp(argv[2], "--") == 0 ? 3 : 2));
                return 0;
        }
        if (argv[0] && strcmp(argv[0], "help") == 0)
                r = command_find(argv + 1, &command, &n_words, err);
        else
                r = command_find(argv, &command, &n_words, err);
        if (r < 0)
                return r;
        if (argv[0] && strcmp(argv[0], "help") == 0)
                return print_help(command);
        return command ? run_command(cli, command, argv + n_words, err) : run_top(argv, err);
}

int main(int argc, char **argv)
{
        struct cli cli = { 0 };
        struct err err = { 0 };
        int r, signal;

        log_init("banger", LOG_LEVEL_INFO);
        r = run_words(&cli, argv + (argc > 0), &err);
        signal = cli.signal;

        if (fflush(stdout) != 0 && r >= 0 && errno != EPIPE) {
                error_print("", "", "standard output cannot be written");
                r = 1;
        }
        if (r < 0 && signal == 0)
                error_print(cli.code, cli.op_id, err.message);
        if (cli.has_layout)
                layout_done(&cli.layout);
        if (signal != 0)
                signals_die(signal);
        return r < 0 ? 1 : r;
}
