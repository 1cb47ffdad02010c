#include <poll.h>
#include <string.h>

#include "api/api_vm.h"
#include "base/fd.h"
#include "base/json.h"
#include "cli/cli_call.h"
#include "cli/cli_commands.h"

#define FOLLOW_MS 200

enum {
        LOG_CONSOLE,
        LOG_VMM
}; /* the order of vm.logs' descriptors */

/* What a guest prints is bytes of a stranger; to a terminal go only those that cannot steer it. */
static void make_harmless(char *bytes, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                unsigned char c = (unsigned char) bytes[i];

                if ((c < ' ' && c != '\n' && c != '\t' && c != '\r') || c == 0x7f)
                        bytes[i] = '?';
        }
}

/* Everything there is, then, when following, whatever comes, until it is interrupted. */
static int copy_log(int fd, bool follow, struct err *err)
{
        bool to_terminal = isatty(STDOUT_FILENO) == 1;
        char buffer[16384];

        for (;;) {
                ssize_t got = read(fd, buffer, sizeof(buffer));
                int r;

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return err_errno(err, "vm.logs", "read the log");
                if (got == 0 && !follow)
                        return 0;
                if (got == 0) {
                        (void) poll(NULL, 0, FOLLOW_MS);
                        continue;
                }
                if (to_terminal)
                        make_harmless(buffer, (size_t) got);
                r = fd_write_full(STDOUT_FILENO, buffer, (size_t) got);
                if (r < 0)
                        return r == -EPIPE ? 0 : err_set(err, -r, "vm.logs", "write: %s", strerror(-r));
        }
}

int cmd_vm_logs(struct cli *cli, const struct cli_args *args, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        int r = cli_call(cli, &api_vm_logs, json_incref(args->params), &reply, err);

        if (r < 0)
                return r;
        if (reply.n_fds != 2)
                return err_set(err, EBADMSG, "vm.logs", "bangerd sent no logs");
        return copy_log(reply.fds[json_flag(args->options, "vmm") ? LOG_VMM : LOG_CONSOLE],
                        json_flag(args->options, "follow"), err);
}
