#include "cli/cli_exec.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

#define OP_EXEC        "cli.exec"
#define ENV_FILE_MAX   (1U << 20)
#define TIMEOUT_MAX_MS (UINT64_C(366) * 24 * 3600 * 1000)

static bool is_name(const char *text, size_t n)
{
        if (n == 0 || isdigit((unsigned char) text[0]))
                return false;
        for (size_t i = 0; i < n; i++)
                if (!isalnum((unsigned char) text[i]) && text[i] != '_' && text[i] != '.' && text[i] != '-')
                        return false;
        return text[0] != '-';
}

/* "NAME=VALUE", or "NAME" for the caller's own value; a name that is not set here is left out, as docker does. */
static int add_variable(struct cli_exec *exec, const char *typed, const char *where, struct err *err)
{
        size_t n = strcspn(typed, "=");
        scoped_free char *name = strndup(typed, n);
        const char *own;

        if (!is_name(typed, n))
                return err_set(err, EINVAL, OP_EXEC,
                               "%s: '%.100s' is not a variable; write NAME=VALUE, or NAME for its value here",
                               where, typed);
        if (typed[n] == '=') {
                text_append_bytes(&exec->strings, typed, strlen(typed) + 1);
                return 0;
        }
        own = getenv(name);
        if (own) {
                text_appendf(&exec->strings, "%s=%s", name, own);
                text_append_bytes(&exec->strings, "", 1);
        }
        return 0;
}

static int add_file(struct cli_exec *exec, const char *path, struct err *err)
{
        scoped_free char *text = NULL;
        unsigned number = 0;
        size_t n;
        int r = file_read(path, ENV_FILE_MAX, &text, &n, err);

        if (r < 0)
                return err_wrap(err, "--env-file");
        if (strlen(text) != n)
                return err_set(err, EINVAL, OP_EXEC, "--env-file: '%s' is not text: it holds a NUL", path);
        for (char *line = text, *next; line; line = next) {
                scoped_free char *where = xasprintf("%s:%u", path, ++number);

                next = strchr(line, '\n');
                if (next)
                        *next++ = '\0';
                line += strspn(line, " \t");
                line[strcspn(line, "\r")] = '\0';
                if (*line == '\0' || *line == '#')
                        continue;
                r = add_variable(exec, line, where, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* getenv(3) finds the first of a name and people mean the last: only that one goes on. */
static void fill_env(struct cli_exec *exec)
{
        const char *end = exec->strings.s + exec->strings.n;
        size_t n = 0;

        for (const char *s = exec->strings.s; s < end; s += strlen(s) + 1)
                n++;
        exec->env = xcalloc(n + 1, sizeof(*exec->env));
        n = 0;
        for (const char *s = exec->strings.s; s < end; s += strlen(s) + 1) {
                size_t length = strcspn(s, "=") + 1, i = 0;

                while (i < n && strncmp(exec->env[i], s, length) != 0)
                        i++;
                exec->env[i] = s;
                n += i == n;
        }
}

/* "1.5m" in ms; timeout(1)'s suffixes. */
static int parse_time(const char *typed, uint64_t *ret_ms)
{
        static const struct {
                const char *suffix;
                double ms;
        } units[] = {
                {"",    1000       },
                { "s",  1000       },
                { "ms", 1          },
                { "m",  60e3       },
                { "h",  3600e3     },
                { "d",  24 * 3600e3}
        };
        size_t n = strspn(typed, "0123456789.");
        char *end;
        double number, ms;

        if (n == 0)
                return -EINVAL;
        number = strtod(typed, &end);
        if (end != typed + n)
                return -EINVAL;
        for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
                if (strcmp(end, units[i].suffix) != 0)
                        continue;
                ms = number * units[i].ms;
                if (ms < 1 || ms > (double) TIMEOUT_MAX_MS)
                        return -ERANGE;
                *ret_ms = (uint64_t) ms;
                return 0;
        }
        return -EINVAL;
}

static int read_time(const char *typed, struct cli_exec *exec, struct err *err)
{
        int r = parse_time(typed, &exec->timeout_ms);

        exec->timeout = typed;
        if (r == -ERANGE)
                return err_set(err, EINVAL, OP_EXEC, "--timeout must be 1ms to 366d, not %s", typed);
        if (r < 0)
                return err_set(err, EINVAL, OP_EXEC,
                               "--timeout: '%s' is not a time; write it as 30, 30s, 1.5m, 2h or 1d", typed);
        return 0;
}

static int read_env(const json_t *options, struct cli_exec *exec, struct err *err)
{
        const json_t *value;
        size_t i;

        json_array_foreach (json_object_get(options, "env_file"), i, value)
                if (add_file(exec, json_string_value(value), err) < 0)
                        return -err->code;
        json_array_foreach (json_object_get(options, "env"), i, value)
                if (add_variable(exec, json_string_value(value), "--env", err) < 0)
                        return -err->code;
        if (exec->strings.n > 0)
                fill_env(exec);
        return 0;
}

bool cli_exec_is_given(const json_t *options)
{
        static const char *const names[] = { "env", "env_file", "workdir", "user", "timeout" };

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (json_object_get(options, names[i]))
                        return true;
        return false;
}

int cli_exec_read(const json_t *options, struct cli_exec *ret_exec, struct err *err)
{
        const char *workdir = json_text(options, "workdir"), *timeout = json_text(options, "timeout");
        int r;

        *ret_exec = (struct cli_exec){ 0 };
        ret_exec->user = json_string_value(json_object_get(options, "user"));
        if (json_object_get(options, "workdir"))
                ret_exec->workdir = workdir;
        if (ret_exec->workdir && workdir[0] != '/')
                return err_set(err, EINVAL, OP_EXEC, "--workdir: '%s' is not an absolute path in the guest",
                               workdir);
        if (ret_exec->user && (!*ret_exec->user || *ret_exec->user == ':'))
                return err_set(err, EINVAL, OP_EXEC, "--user: '%s' names no user", ret_exec->user);
        r = json_object_get(options, "timeout") ? read_time(timeout, ret_exec, err) : 0;
        return r < 0 ? r : read_env(options, ret_exec, err);
}

void cli_exec_done(struct cli_exec *exec)
{
        free(exec->env);
        text_done(&exec->strings);
        *exec = (struct cli_exec){ 0 };
}

void cli_exec_tell_timeout(const struct cli_exec *exec, bool is_sure)
{
        (void) fprintf(
                stderr,
                is_sure ? "banger: the time of --timeout %s was over; the command and all it started were "
                          "ended\n"
                        : "banger: the time of --timeout %s was over; the guest does not say whether the "
                          "command has ended\n",
                exec->timeout);
}
