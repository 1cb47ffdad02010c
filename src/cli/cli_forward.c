#include "cli/cli_forward.h"

#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/text.h"
#include "cli/cli_parse.h"

#define OP_FORWARD "vm.port-forward"

static bool is_path(const char *at)
{
        return *at == '/' || (*at == '.' && (at[1] == '/' || (at[1] == '.' && at[2] == '/')));
}

static bool is_number(const char *at, size_t n)
{
        return n > 0 && strspn(at, "0123456789") >= n;
}

/* One side from *at on, in its canonical form; *at is behind it and its colon then. NULL: none. */
static char *take_side(const char **at)
{
        const char *start = *at;
        size_t n = *start == '[' ? strcspn(start, "]") : 0, n_port;

        n += strcspn(start + n, ":");
        if (is_path(start)) {
                scoped_free char *path = strndup(start, n), *absolute = path_absolute(path);

                *at = start + n + (start[n] == ':');
                return xasprintf("unix:%s", absolute);
        }
        if (is_number(start, n)) {
                *at = start + n + (start[n] == ':');
                return xasprintf("tcp:127.0.0.1:%.*s", (int) n, start);
        }
        if (start[n] != ':')
                return NULL;
        n_port = strcspn(start + n + 1, ":");
        *at = start + n + 1 + n_port;
        *at += **at == ':';
        if (n == strlen("localhost") && strncmp(start, "localhost", n) == 0)
                return xasprintf("tcp:127.0.0.1:%.*s", (int) n_port, start + n + 1);
        return xasprintf("tcp:%.*s", (int) (n + 1 + n_port), start);
}

static int check_side(const char *side, const char *whose, const char *typed, struct err *err)
{
        struct sockaddr_storage address;
        socklen_t n;
        int r = side ? address_parse(side, &address, &n) : -EINVAL;

        if (r == -ENAMETOOLONG)
                return err_set(err, EINVAL, OP_FORWARD, "'%s': the %s's socket path is longer than 107 bytes",
                               typed, whose);
        if (r < 0)
                return err_set(
                        err, EINVAL, OP_FORWARD,
                        "'%s': the %s's side is not a port (0 to 65535), an IP address with a port, or a "
                        "path; write 8080:80, 127.0.0.1:8080:80, [::1]:8080:80 or /tmp/a.sock:/run/b.sock",
                        typed, whose);
        return 0;
}

int cli_forward_parse(const char *typed, struct cli_forward *ret_forward, struct err *err)
{
        const char *at = typed;
        int r;

        ret_forward->host = take_side(&at);
        ret_forward->guest = *at || !ret_forward->host || text_ends_with(typed, ":")
                                     ? take_side(&at)
                                     : xstrdup(ret_forward->host);
        r = check_side(ret_forward->host, "host", typed, err);
        if (r == 0)
                r = check_side(ret_forward->guest, "guest", typed, err);
        if (r == 0 && *at)
                r = err_set(err, EINVAL, OP_FORWARD, "'%s': '%s' is left over; write HOST:GUEST", typed, at);
        if (r < 0)
                cli_forward_done(ret_forward);
        return r;
}

void cli_forward_done(struct cli_forward *forward)
{
        free(forward->host);
        free(forward->guest);
        *forward = (struct cli_forward){ 0 };
}
