/* Commands that were started with vm exec -d: their output, their end, a list of them, a signal. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/signal_name.h"
#include "base/text.h"
#include "cli/cli_commands.h"
#include "cli/cli_guest.h"
#include "cli/cli_signals.h"
#include "cli/render_progress.h"
#include "cli/render_table.h"
#include "guest/client/guest_client.h"

#define NS_PER_MS 1000000U

static int follow(struct cli *cli, const struct cli_args *args, bool quiet, struct err *err)
{
        const char *vm = args->operands[0], *id = args->operands[1];
        scoped_close int fd = cli_connect(cli, vm, NULL, err);
        uint64_t lost = 0;
        bool is_detached = false;
        struct guest_exec exec = { .session = id,
                                   .quiet = quiet,
                                   .ret_detached = &is_detached,
                                   .ret_lost = &lost,
                                   .stdin_fd = FD_NONE,
                                   .stdout_fd = STDOUT_FILENO,
                                   .stderr_fd = STDERR_FILENO };
        int r;

        if (fd < 0)
                return fd;
        exec.signal_fd = signals_begin(false);
        r = guest_exec(fd, &exec, err);
        signals_end(exec.signal_fd);
        if (lost > 0 && !quiet)
                (void) fprintf(
                        stderr,
                        "banger: the first %llu bytes of output were dropped; the guest keeps the last MiB\n",
                        (unsigned long long) lost);
        if (is_detached)
                (void) fprintf(stderr,
                               "banger: detached; the command goes on: banger vm session attach %s %s\n", vm,
                               id);
        return r < 0 ? err_wrap(err, "vm '%s'", vm) : r;
}

int cmd_vm_session_attach(struct cli *cli, const struct cli_args *args, struct err *err)
{
        return follow(cli, args, false, err);
}

int cmd_vm_session_wait(struct cli *cli, const struct cli_args *args, struct err *err)
{
        return follow(cli, args, true, err);
}

int cmd_vm_session_kill(struct cli *cli, const struct cli_args *args, struct err *err)
{
        const char *name = json_text(args->options, "signal");
        scoped_close int fd = FD_NONE;
        int signal = SIGTERM, r;

        if (*name && signal_from_name(name, &signal) < 0)
                return err_set(err, EINVAL, "vm.session.kill", "--signal: '%s' is none of " SIGNAL_NAMES,
                               name);
        fd = cli_connect(cli, args->operands[0], NULL, err);
        if (fd < 0)
                return fd;
        r = guest_session_kill(fd, args->operands[1], signal, err);
        return r < 0 ? err_wrap(err, "vm '%s'", args->operands[0]) : 0;
}

/* A guest's words: what is not printable is shown as such by the table. */
static void add_row(struct table *table, const json_t *session)
{
        uint64_t started = json_u64(session, "started_ns", 0),
                 ended = json_u64(session, "ended_ns", clock_real_ns());
        const char *state = json_text(session, "state");
        char elapsed[ELAPSED_MAX];
        scoped_free char *end =
                strcmp(state, "exited") == 0
                        ? xasprintf("exited %u", (unsigned) json_u64(session, "status", 0))
                : strcmp(state, "killed") == 0
                        ? xasprintf("killed by signal %u", (unsigned) json_u64(session, "status", 0))
                        : xstrdup(state);

        elapsed_format(ended > started ? (ended - started) / NS_PER_MS : 0, elapsed);
        table_add(table, json_text(session, "id"));
        table_add(table, end);
        table_add(table, elapsed);
        table_add(table, json_text(session, "command"));
}

int cmd_vm_session_list(struct cli *cli, const struct cli_args *args, struct err *err)
{
        static const char *const titles[] = { "SESSION", "STATE", "TIME", "COMMAND" };
        scoped(table_done) struct table table = { .n_columns = sizeof(titles) / sizeof(titles[0]) };
        scoped_close int fd = cli_connect(cli, args->operands[0], NULL, err);
        json_auto_t *answer = NULL;
        const json_t *list, *session;
        size_t i;
        int r;

        if (fd < 0)
                return fd;
        r = guest_sessions(fd, &answer, err);
        if (r < 0)
                return err_wrap(err, "vm '%s'", args->operands[0]);
        list = json_object_get(answer, "sessions");
        if (!json_is_array(list))
                return err_set(err, EBADMSG, "vm.session.list",
                               "vm '%s': the guest's agent does not keep to the protocol", args->operands[0]);
        if (json_flag(args->options, "json")) {
                print_json(list);
                return 0;
        }
        for (i = 0; i < sizeof(titles) / sizeof(titles[0]); i++)
                table_add(&table, titles[i]);
        json_array_foreach (list, i, session)
                add_row(&table, session);
        table_print(&table, stdout);
        return 0;
}
