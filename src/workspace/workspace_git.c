#include "workspace/workspace_git.h"

#include <assert.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/spawn.h"

#define ERROR_TEXT_MAX 65536

/*
 * git-config(1) names every key here as one that starts a program, reaches for the network or writes beside what was
 * asked. An empty or false value switches it off, and -c wins over the repository's own file.
 */
static const char *const overrides[] = {
        "core.fsmonitor=false",
        "core.hooksPath=/dev/null",
        "core.untrackedCache=false",
        "core.pager=cat",
        "core.askPass=",
        "core.sshCommand=false",
        "protocol.allow=never",
        "diff.external=",
        "gc.auto=0",
        "maintenance.auto=false",
        "submodule.recurse=false",
        "core.quotePath=true",
        "advice.detachedHead=false",
};

static const char *const variables[] = {
        "LC_ALL=C",
        "GIT_OPTIONAL_LOCKS=0",
        "GIT_TERMINAL_PROMPT=0",
        "GIT_NO_REPLACE_OBJECTS=1",
        "GIT_NO_LAZY_FETCH=1",
};

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

/* The caller's environment without GIT_* (git(1): they redirect everything) and without its locale. */
static const char **make_environment(void)
{
        size_t n = 0, used = 0;
        const char **env;

        while (environ[n])
                n++;
        env = xcalloc(n + N_ELEMENTS(variables) + 1, sizeof(*env));
        for (size_t i = 0; i < n; i++)
                if (!text_starts_with(environ[i], "GIT_") && !text_starts_with(environ[i], "LC_ALL="))
                        env[used++] = environ[i];
        for (size_t i = 0; i < N_ELEMENTS(variables); i++)
                env[used++] = variables[i];
        return env;
}

static const char **make_arguments(const struct git_call *call, const char *git_dir)
{
        const char **argv;
        size_t n_configs = 0, used = 0;

        while (call->configs && call->configs[n_configs])
                n_configs++;
        argv = xcalloc(2 * (N_ELEMENTS(overrides) + n_configs) + GIT_ARGS_MAX + 8, sizeof(*argv));
        argv[used++] = "git";
        argv[used++] = "--no-pager";
        for (size_t i = 0; i < N_ELEMENTS(overrides); i++) {
                argv[used++] = "-c";
                argv[used++] = overrides[i];
        }
        for (size_t i = 0; i < n_configs; i++) {
                argv[used++] = "-c";
                argv[used++] = call->configs[i];
        }
        if (git_dir) {
                argv[used++] = git_dir;
                argv[used++] = "--work-tree=.";
        }
        for (size_t i = 0; call->args[i]; i++) {
                assert(i < GIT_ARGS_MAX);
                argv[used++] = call->args[i];
        }
        return argv;
}

/* A descriptor that holds the text and stands at its beginning; memory, so that no pipe can fill up and block. */
static int memory_from(const struct text *text, struct err *err)
{
        scoped_close int fd = memfd_create("banger-git", MFD_CLOEXEC);
        int r;

        if (fd < 0)
                return err_errno(err, "workspace.git", "memory for git's files");
        r = text && text->n > 0 ? fd_write_full(fd, text->s, text->n) : 0;
        if (r < 0 || lseek(fd, 0, SEEK_SET) < 0) {
                errno = r < 0 ? -r : errno;
                return err_errno(err, "workspace.git", "memory for git's files");
        }
        return take_fd(&fd);
}

static int append_memory(int fd, size_t max, struct text *ret, struct err *err)
{
        struct stat status;
        scoped_free char *data = NULL;
        int r;

        if (fstat(fd, &status) < 0)
                return err_errno(err, "workspace.git", "read git's answer");
        if ((uint64_t) status.st_size > max)
                return err_set(err, EFBIG, "workspace.git", "git's answer is longer than %zu bytes", max);
        if (status.st_size == 0)
                return 0;
        data = xmalloc((size_t) status.st_size);
        if (lseek(fd, 0, SEEK_SET) < 0)
                return err_errno(err, "workspace.git", "read git's answer");
        r = fd_read_full(fd, data, (size_t) status.st_size);
        if (r < 0)
                return err_set(err, -r, "workspace.git", "read git's answer: %s", strerror(-r));
        text_append_bytes(ret, data, (size_t) status.st_size);
        return 0;
}

int git_run(const struct git_call *call, struct text *ret_output, struct text *ret_error, struct err *err)
{
        scoped_free const char **env = make_environment();
        scoped_free char *git_dir = call->git_dir ? xasprintf("--git-dir=%s", call->git_dir) : NULL;
        scoped_free const char **argv = make_arguments(call, git_dir);
        scoped_close int input = memory_from(call->input, err);
        scoped_close int output = input < 0 ? FD_NONE : memory_from(NULL, err);
        scoped_close int error = output < 0 ? FD_NONE : memory_from(NULL, err);
        struct spawn spawn = { .argv = argv,
                               .env = env,
                               .folder = call->folder,
                               .stdin_fd = input,
                               .stdout_fd = output,
                               .stderr_fd = error,
                               .death_signal = SIGKILL };
        int r, status;
        pid_t pid;

        if (error < 0)
                return -err->code;
        r = spawn_start(&spawn, &pid, NULL, err);
        if (r < 0)
                return err->code == ENOENT ? err_wrap(err, "git is needed to send a repository; install it")
                                           : r;
        status = spawn_wait(pid, err);
        if (status < 0)
                return status;
        if (ret_output)
                r = append_memory(output, GIT_OUTPUT_MAX, ret_output, err);
        if (r == 0 && ret_error)
                r = append_memory(error, ERROR_TEXT_MAX, ret_error, err);
        return r < 0 ? r : status;
}

/* git's first complaint, without its "fatal: ". */
static const char *reason_of(struct text *error)
{
        const char *reason = error->n > 0 ? error->s : "it said nothing";
        char *end = error->n > 0 ? strchr(error->s, '\n') : NULL;

        if (end)
                *end = '\0';
        return text_starts_with(reason, "fatal: ") ? reason + strlen("fatal: ") : reason;
}

int git_must(const struct git_call *call, struct text *ret_output, struct err *err)
{
        scoped_text struct text error = { 0 };
        int status = git_run(call, ret_output, &error, err);

        if (status > 0)
                return err_set(err, EIO, "workspace.git", "'git %s' in '%s': %s", call->args[0], call->folder,
                               reason_of(&error));
        return status;
}
