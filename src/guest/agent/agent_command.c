/*
 * A login shell reads profiles (S-278); `mise exec` puts the tools of a folder on PATH (S-277). Whether mise is there is
 * decided here, with a few access(2): a `command -v` inside the shell would be slower and could be an alias. Where the
 * shell's environment is known (agent_login.h) the command runs with it and without the shell.
 */
#include "guest/agent/agent_command.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define LOGIN_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define PASSWD_MAX (1U << 20)
#define HOME       "/root"
#define KEPT       "/run/banger" /* of this boot */

static bool keeps_logins;

static int try_file(const char *path)
{
        struct stat st;

        if (stat(path, &st) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode))
                return -EISDIR;
        return access(path, X_OK) < 0 ? -errno : 0;
}

/* In one folder of n bytes of a search path; an empty one is the working folder. */
static char *file_in(const char *folder, size_t n, const char *name)
{
        return n > 0 ? xasprintf("%.*s/%s", (int) n, folder, name) : xasprintf("./%s", name);
}

/* execvp(3)'s search. The file, owned by the caller, or NULL with *ret_error: EACCES beats ENOENT. */
static char *find_program(const char *name, const char *path, int *ret_error)
{
        *ret_error = ENOENT;
        if (strchr(name, '/')) {
                *ret_error = -try_file(name);
                return *ret_error == 0 ? xstrdup(name) : NULL;
        }
        for (size_t n; name[0] != '\0' && *path != '\0'; path += n + (path[n] == ':')) {
                scoped_free char *file = NULL;
                int r;

                n = strcspn(path, ":");
                file = file_in(path, n, name);
                r = try_file(file);
                if (r == 0 || r == -EACCES)
                        *ret_error = -r;
                if (r == 0)
                        return take_ptr(file);
        }
        return NULL;
}

static const char *env_value(const char *const *env, const char *key)
{
        size_t n = strlen(key);

        for (; env && *env; env++)
                if (strncmp(*env, key, n) == 0 && (*env)[n] == '=')
                        return *env + n + 1;
        return NULL;
}

/* root's shell of /etc/passwd (its seventh field, passwd(5)) when it can be executed. */
static char *passwd_shell(void)
{
        scoped_free char *text = NULL;
        struct err err = { 0 };
        char *line, *rest = NULL;

        if (file_read("/etc/passwd", PASSWD_MAX, &text, NULL, &err) < 0)
                return NULL;
        for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
                const char *shell = strrchr(line, ':');

                if (!text_starts_with(line, "root:") || !shell)
                        continue;
                return shell[1] == '/' && try_file(shell + 1) == 0 ? xstrdup(shell + 1) : NULL;
        }
        return NULL;
}

static char *shell_for(const struct agent_user *user, const struct guest_request *request)
{
        int error;
        char *shell = NULL;

        if (!request->argv && !user)
                shell = passwd_shell();
        else if (!request->argv && user->shell && try_file(user->shell) == 0)
                shell = xstrdup(user->shell);

        if (!shell)
                shell = find_program("bash", LOGIN_PATH, &error);
        return shell ? shell : find_program("sh", LOGIN_PATH, &error);
}

static size_t count(const char *const *strings)
{
        size_t n = 0;

        while (strings && strings[n])
                n++;
        return n;
}

static const char *home_of(const struct agent_command *command)
{
        return command->user ? command->user->home : HOME;
}

/* What a login begins with: getty and login set no more (login(1)). */
static void fill_own_env(struct agent_command *command)
{
        const char *name = command->user ? command->user->name : "root";

        command->own_env[0] = xasprintf("HOME=%s", home_of(command));
        command->own_env[1] = xasprintf("USER=%s", name);
        command->own_env[2] = xasprintf("LOGNAME=%s", name);
        command->own_env[3] = xstrdup("PATH=" LOGIN_PATH);
        command->own_env[4] = command->shell ? xasprintf("SHELL=%s", command->shell) : NULL;
}

static char *find_mise(const struct agent_command *command)
{
        scoped_free char *path = xasprintf(LOGIN_PATH ":%s/.local/bin", home_of(command));
        int error;

        return find_program("mise", path, &error);
}

/* The login environment below the request's: what the request sets is not set twice. */
static void fill_env(struct agent_command *command, const struct guest_request *request)
{
        size_t n = count(request->env), n_own = 0;

        command->env = xcalloc(n + AGENT_OWN_ENV + 1, sizeof(*command->env));
        for (size_t i = 0; i < AGENT_OWN_ENV; i++) {
                const char *own = command->own_env[i];
                scoped_free char *key = own ? strndup(own, strcspn(own, "=")) : NULL;

                if (key && !env_value(request->env, key))
                        command->env[n_own++] = own;
        }
        for (size_t i = 0; i < n; i++)
                command->env[n_own + i] = request->env[i];
}

void agent_command_keep_logins(void)
{
        keeps_logins = mkdir(KEPT, 0700) == 0 || errno == EEXIST;
}

/* Read ahead: every dynamic program begins with these (ld.so(8)), wherever a distribution keeps them. */
static void read_libraries_ahead(void)
{
        static const char *const paths[] = { "/etc/ld.so.cache", "/lib64/ld-linux-x86-64.so.2",
                                             "/lib/x86_64-linux-gnu/libc.so.6", "/lib64/libc.so.6",
                                             "/lib/ld-musl-x86_64.so.1" };

        for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
                scoped_close int fd = open(paths[i], O_RDONLY | O_CLOEXEC);
                struct stat st;

                if (fd >= 0 && fstat(fd, &st) == 0)
                        (void) readahead(fd, 0, (size_t) st.st_size);
        }
}

/* The login's environment, the folder it runs in. A shell without a terminal gets nothing else from its login. */
static void fill_login_env(struct agent_command *command)
{
        scoped_free char *here = realpath(".", NULL);
        size_t n = 0;

        while (command->login.env[n])
                n++;
        command->env = xcalloc(n + 2, sizeof(*command->env));
        memcpy(command->env, command->login.env, n * sizeof(*command->env));
        if (here)
                command->env[n] = command->pwd = xasprintf("PWD=%s", here);
}

/*
 * False: the shell has to run. Not for a terminal, nor where the request sets variables: a profile may look at both. Nor
 * for a program that is not found: it may be since, and if not, the shell says so.
 */
static bool use_login(struct agent_command *command, const struct guest_request *request, size_t n)
{
        const char *env[AGENT_OWN_ENV + 1] = { 0 };
        const struct agent_login_source source = {
                .shell = command->shell,
                .env = env,
                .home = HOME,
                .etc = "/etc",
                .cache = KEPT "/login",
                .shipped = "/usr/lib/banger/login",
        };
        const char *path;
        size_t at = 0;
        int error;

        memcpy(env, command->own_env, sizeof(command->own_env));
        if (!keeps_logins || command->user || request->terminal || (request->env && request->env[0]) ||
            agent_login_get(&source, &command->login) < 0)
                return false;
        path = env_value(command->login.env, "PATH");
        command->mise = find_mise(command);
        command->file = command->mise ? xstrdup(command->mise)
                                      : find_program(request->argv[0], path ? path : LOGIN_PATH, &error);
        if (!command->file) {
                agent_login_done(&command->login);
                return false;
        }
        command->argv = xcalloc(n + 4, sizeof(*command->argv));
        if (command->mise) {
                command->argv[at++] = command->mise;
                command->argv[at++] = "exec";
                command->argv[at++] = "--";
        }
        memcpy(command->argv + at, request->argv, n * sizeof(*command->argv));
        fill_login_env(command);
        return true;
}

/* Variables of the request beside the terminal's: profiles may set the same, so they are set once more behind them. */
static bool sets_variables(const struct guest_request *request)
{
        for (const char *const *env = request->env; env && *env; env++)
                if (!text_starts_with(*env, "TERM="))
                        return true;
        return false;
}

static void fill_wrapped(struct agent_command *command, const struct guest_request *request, size_t n)
{
        size_t at = 0, n_env = count(request->env);
        int error;

        command->mise = find_mise(command);
        if (sets_variables(request))
                command->env_program = find_program("env", LOGIN_PATH, &error);
        command->argv = xcalloc(n + n_env + 9, sizeof(*command->argv));
        command->argv[at++] = command->shell_name;
        command->argv[at++] = "-lc";
        command->argv[at++] = "exec \"$@\"";
        command->argv[at++] = command->shell_name;
        if (command->env_program) {
                command->argv[at++] = command->env_program;
                memcpy(command->argv + at, request->env, n_env * sizeof(*command->argv));
                at += n_env;
        }
        if (command->mise) {
                command->argv[at++] = command->mise;
                command->argv[at++] = "exec";
                command->argv[at++] = "--";
        }
        memcpy(command->argv + at, request->argv, n * sizeof(*command->argv));
}

void agent_command_warm(void)
{
        const char *const argv[] = { "sh", NULL };
        const struct guest_request request = { .argv = argv, .login_shell = true };
        struct agent_command command = { 0 };

        read_libraries_ahead();
        agent_command_init(&command, &request, NULL);
        agent_command_done(&command);
}

void agent_command_init(struct agent_command *command, const struct guest_request *request,
                        const struct agent_user *user)
{
        const char *path = env_value(request->env, "PATH");
        bool wrapped = request->argv && request->login_shell;
        size_t n = count(request->argv);

        *command = (struct agent_command){ .user = user, .shell = shell_for(user, request) };
        fill_own_env(command);
        if (command->shell) {
                command->shell_name = xstrdup(strrchr(command->shell, '/') + 1);
                command->login_name = xasprintf("-%s", command->shell_name);
        }
        if (command->shell && wrapped && use_login(command, request, n))
                return;
        fill_env(command, request);
        if (command->shell && wrapped) {
                fill_wrapped(command, request, n);
                command->file = xstrdup(command->shell);
        } else if (request->argv) {
                command->argv = xcalloc(n + 2, sizeof(*command->argv));
                memcpy(command->argv, request->argv, n * sizeof(*command->argv));
                command->file = find_program(request->argv[0], path ? path : LOGIN_PATH, &command->error);
        } else {
                command->argv = xcalloc(2, sizeof(*command->argv));
                if (request->login_shell && command->login_name)
                        command->argv[0] = command->login_name;
                else
                        command->argv[0] = command->shell_name ? command->shell_name : "sh";
                command->file = command->shell ? xstrdup(command->shell) : NULL;
                command->error = command->shell ? 0 : ENOENT;
        }
}

void agent_command_as_script(struct agent_command *command)
{
        size_t n = 0;
        const char **argv;

        while (command->argv[n])
                n++;
        argv = xcalloc(n + 3, sizeof(*argv));
        argv[0] = "sh";
        argv[1] = command->file;
        for (size_t i = 1; i < n; i++)
                argv[i + 1] = command->argv[i];
        free(command->argv);
        command->argv = argv;
        free(command->login_name); /* the file stays reachable from argv: kept in the slot of a name no longer used */
        command->login_name = command->file;
        command->file = xstrdup("/bin/sh");
}

void agent_command_done(struct agent_command *command)
{
        free(command->file);
        free(command->argv);
        free(command->env);
        free(command->shell);
        free(command->shell_name);
        free(command->env_program);
        for (size_t i = 0; i < AGENT_OWN_ENV; i++)
                free(command->own_env[i]);
        free(command->mise);
        free(command->login_name);
        free(command->pwd);
        agent_login_done(&command->login);
        *command = (struct agent_command){ 0 };
}
