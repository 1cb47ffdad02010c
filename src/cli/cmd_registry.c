#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "api/api_registry.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/cli_call.h"
#include "cli/cli_commands.h"

#define SECRET_MAX 8192

/* One line of standard input, without echo when that is a terminal. The caller owns it. */
static int read_secret(const char *registry, bool from_input, char **ret_secret, struct err *err)
{
        bool is_terminal = isatty(STDIN_FILENO) == 1;
        struct termios before, quiet;
        char line[SECRET_MAX] = "";
        const char *got;

        if (!is_terminal && !from_input)
                return err_set(err, EINVAL, "registry.login",
                               "there is no terminal to ask for the secret; give it on standard input with "
                               "--password-stdin");
        if (is_terminal && tcgetattr(STDIN_FILENO, &before) == 0) {
                quiet = before;
                quiet.c_lflag &= ~(tcflag_t) ECHO;
                (void) tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
                (void) fprintf(stderr, "password or token for %s: ", registry);
        }
        got = fgets(line, sizeof(line), stdin);
        if (is_terminal) {
                (void) tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
                (void) fputc('\n', stderr);
        }
        line[strcspn(line, "\r\n")] = '\0';
        if (!got || line[0] == '\0')
                return err_set(err, EINVAL, "registry.login", "no secret was given");
        *ret_secret = xstrdup(line);
        explicit_bzero(line, sizeof(line));
        return 0;
}

int cmd_registry_login(struct cli *cli, const struct cli_args *args, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        json_t *params = json_deep_copy(args->params);
        scoped_free char *secret = NULL;
        int r = read_secret(json_text(params, "registry"), json_flag(args->options, "password_stdin"),
                            &secret, err);

        if (r == 0) {
                (void) json_object_set_new(params, "secret", json_string(secret));
                explicit_bzero(secret, strlen(secret));
                r = cli_call(cli, &api_registry_login, params, &reply, err);
        } else {
                json_decref(params);
        }
        if (r == 0)
                (void) printf("logged in to %s\n", json_text(args->params, "registry"));
        return r;
}

int cmd_registry_logout(struct cli *cli, const struct cli_args *args, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };

        return cli_call(cli, &api_registry_logout, json_incref(args->params), &reply, err);
}
