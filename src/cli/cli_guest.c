#include "cli/cli_guest.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "api/api_vm.h"
#include "base/text.h"
#include "cli/cli_call.h"
#include "cli/cli_exec.h"
#include "cli/cli_signals.h"
#include "guest/client/guest_client.h"

/* The caller's terminal while a guest has it. */
#define CONNECT_TIMEOUT_MS 10000 /* a guest under load answers in a second; a hostile one does not keep us */

struct raw_terminal {
        bool is_raw;
        struct termios before;
};

static void terminal_restore(struct raw_terminal *terminal)
{
        if (terminal->is_raw)
                (void) tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal->before);
        terminal->is_raw = false;
}

static inline void terminal_restore_at_scope_end(struct raw_terminal *terminal)
{
        terminal_restore(terminal);
}

static void terminal_make_raw(struct raw_terminal *terminal)
{
        struct termios raw;

        if (tcgetattr(STDIN_FILENO, &terminal->before) < 0)
                return;
        raw = terminal->before;
        cfmakeraw(&raw);
        terminal->is_raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

static void read_size(struct guest_exec *exec)
{
        struct winsize size;

        if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0)
                return;
        exec->rows = size.ws_row;
        exec->columns = size.ws_col;
}

int cli_connect(struct cli *cli, const char *vm, json_t **ret_vm, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        int r = cli_call(cli, &api_vm_connect, vm_params(vm), &reply, err);

        if (r < 0)
                return r;
        if (reply.n_fds != 1)
                return err_set(err, EBADMSG, "cli.connect", "bangerd sent no connection to '%s'", vm);
        r = guest_connect_on(reply.fds[0], CONNECT_TIMEOUT_MS, err);
        if (r < 0)
                return err_wrap(err, "vm '%s'", vm);
        if (ret_vm)
                *ret_vm = json_incref(reply.result);
        reply.n_fds = 0;
        return reply.fds[0];
}

int cli_run_in_guest(int fd, const struct cli_run *run, struct err *err)
{
        scoped(terminal_restore) struct raw_terminal terminal = { 0 };
        struct sigaction ignore = { .sa_handler = SIG_IGN }, before;
        const struct cli_exec *options = run->options ? run->options : &(struct cli_exec){ 0 };
        enum guest_timeout timeout = GUEST_TIMEOUT_NONE;
        struct guest_exec exec = { .argv = run->argv,
                                   .env = options->env,
                                   .user = options->user,
                                   .timeout_ms = options->timeout_ms,
                                   .ret_timeout = &timeout,
                                   .folder = options->workdir ? options->workdir : run->folder,
                                   .image = run->image,
                                   .login_shell = run->login_shell,
                                   .terminal = isatty(STDIN_FILENO) == 1,
                                   .term = getenv("TERM"),
                                   .stdin_fd = STDIN_FILENO,
                                   .stdout_fd = STDOUT_FILENO,
                                   .stderr_fd = STDERR_FILENO };
        int r;

        /* a closed pipe must not end this process: there may be a VM to delete */
        (void) sigaction(SIGPIPE, &ignore, &before);
        exec.signal_fd = signals_begin(exec.terminal);
        if (exec.terminal) {
                read_size(&exec);
                terminal_make_raw(&terminal);
        }
        r = guest_exec(fd, &exec, err);
        terminal_restore(&terminal);
        signals_end(exec.signal_fd);
        (void) sigaction(SIGPIPE, &before, NULL);
        if (timeout != GUEST_TIMEOUT_NONE)
                cli_exec_tell_timeout(options, timeout == GUEST_TIMEOUT_ENDED);
        if (r == -EPIPE) { /* nobody reads any more: what a local command would have died of */
                *err = (struct err){ 0 };
                return 128 + SIGPIPE;
        }
        return r;
}

int cli_run_quietly(struct cli *cli, const char *vm, const char *script, int output_fd, struct err *err)
{
        const char *const argv[] = { "sh", "-c", script, NULL };
        scoped_close int fd = cli_connect(cli, vm, NULL, err);
        struct guest_exec exec = { .argv = argv,
                                   .stdin_fd = FD_NONE,
                                   .stdout_fd = output_fd,
                                   .stderr_fd = output_fd,
                                   .signal_fd = FD_NONE };
        int r, signal;

        if (fd < 0)
                return fd;
        signals_guard(fd);
        r = guest_exec(fd, &exec, err);
        signal = signals_unguard();
        if (signal != 0)
                cli->signal = signal;
        return r;
}
