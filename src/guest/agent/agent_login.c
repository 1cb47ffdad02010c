#include "guest/agent/agent_login.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"
#include "guest/agent/agent_spawn.h"

#define REPORT_MAX ((size_t) 256 << 10)
#define ASK_MS     5000 /* a profile that takes longer is not worth keeping: it waits for something */

/* proc_pid_status(5), proc_pid_limits(5), proc_pid_environ(5): of the process that a command would have become. */
#define SCRIPT "exec cat /proc/self/status /proc/self/limits /proc/self/environ"
#define BEGIN  "Name:\tcat\n" /* anything before it was printed by a profile */

/* The files that bash(1) reads as a login shell, and those they usually read in turn. */
static const char *const of_etc[] = { "profile", "bash.bashrc", "environment" };
static const char *const of_home[] = { ".bash_profile", ".bash_login", ".profile", ".bashrc" };

static void key_add(struct text *key, const char *path)
{
        struct stat st;

        if (stat(path, &st) < 0)
                text_append(key, "- ");
        else /* the time of change moves with the content and cannot be set back (inode(7)) */
                text_appendf(key, "%lx:%lx:%lx.%lx ", (unsigned long) st.st_ino, (unsigned long) st.st_size,
                             (unsigned long) st.st_ctim.tv_sec, (unsigned long) st.st_ctim.tv_nsec);
}

static void key_add_folder(struct text *key, const char *path)
{
        DIR *folder = opendir(path);
        const struct dirent *entry;

        key_add(key, path);
        while (folder && (entry = readdir(folder))) {
                scoped_free char *file = xasprintf("%s/%s", path, entry->d_name);

                if (text_ends_with(file, ".sh"))
                        key_add(key, file);
        }
        if (folder)
                (void) closedir(folder);
}

static void make_key(const struct agent_login_source *source, struct text *key)
{
        scoped_free char *folder = xasprintf("%s/profile.d", source->etc);

        key_add(key, source->shell);
        for (size_t i = 0; i < sizeof(of_etc) / sizeof(of_etc[0]); i++) {
                scoped_free char *path = xasprintf("%s/%s", source->etc, of_etc[i]);

                key_add(key, path);
        }
        for (size_t i = 0; i < sizeof(of_home) / sizeof(of_home[0]); i++) {
                scoped_free char *path = xasprintf("%s/%s", source->home, of_home[i]);

                key_add(key, path);
        }
        key_add_folder(key, folder);
}

static int wait_for(pid_t pid)
{
        scoped_close int pidfd = fd_pidfd_open(pid);
        int status = 0, r = pidfd < 0 ? pidfd : fd_wait(pidfd, POLLIN, ASK_MS);

        if (r < 0)
                (void) kill(-pid, SIGKILL); /* agent_spawn() makes it the leader of a group */
        if (waitpid(pid, &status, 0) < 0)
                return -errno;
        if (r < 0)
                return r;
        return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ENODATA;
}

/* Into a file and not a pipe: what a profile leaves running may keep that open. */
static int run_shell(const struct agent_login_source *source, int report)
{
        scoped_close int input = open("/dev/null", O_RDONLY | O_CLOEXEC);
        const char *const argv[] = { source->shell, "-lc", SCRIPT, NULL };
        const struct agent_spawn spawn = {
                .file = source->shell, .argv = argv, .env = source->env, .fds = {input, report, report}
        };
        pid_t pid = input < 0 ? -errno : agent_spawn(&spawn);

        return pid < 0 ? pid : wait_for(pid);
}

/* Runs the shell in its home, as a login does. The caller frees the report, NUL-terminated. */
static int ask(const struct agent_login_source *source, char **ret_report, size_t *ret_n)
{
        scoped_close int report = memfd_create("login", MFD_CLOEXEC);
        scoped_close int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
        scoped_free char *data = NULL;
        struct stat st;
        int r;

        if (report < 0 || here < 0 || chdir(source->home) < 0)
                return -errno;
        r = run_shell(source, report);
        if (fchdir(here) < 0 && r == 0)
                r = -errno;
        if (r < 0)
                return r;
        if (fstat(report, &st) < 0)
                return -errno;
        if ((size_t) st.st_size > REPORT_MAX)
                return -EFBIG;
        data = xcalloc((size_t) st.st_size + 1, 1);
        if (pread(report, data, (size_t) st.st_size, 0) != st.st_size)
                return -EIO;
        *ret_report = take_ptr(data);
        *ret_n = (size_t) st.st_size;
        return 0;
}

/* The variables that belong to one command and not to the login. */
static bool is_of_one_command(const char *variable)
{
        return text_starts_with(variable, "_=") || text_starts_with(variable, "PWD=") ||
               text_starts_with(variable, "OLDPWD=");
}

/* What is kept: the umask, then the variables, each with its NUL. -ENODATA: this login does more than set variables. */
static int digest(const struct agent_login_source *source, const char *report, size_t n, struct text *kept)
{
        scoped_free char *limits = NULL, *pwd = xasprintf("PWD=%s", source->home);
        struct err ignored = { 0 };
        size_t n_limits;
        const char *mask = strstr(report, "\nUmask:\t"), *variables;
        bool stayed = false;

        if (file_read("/proc/self/limits", REPORT_MAX, &limits, &n_limits, &ignored) < 0 || n_limits == 0)
                return -ENODATA;
        variables = memmem(report, n, limits, n_limits); /* absent: the profile set other limits */
        if (!text_starts_with(report, BEGIN) || !mask || !variables)
                return -ENODATA;
        text_append_bytes(kept, mask + strlen("\nUmask:\t"), 4);
        text_append_bytes(kept, "", 1);
        for (const char *v = variables + n_limits; v < report + n; v += strlen(v) + 1) {
                stayed = stayed || strcmp(v, pwd) == 0;
                if (!is_of_one_command(v))
                        text_append_bytes(kept, v, strlen(v) + 1);
        }
        return stayed ? 0 : -ENODATA;
}

/* Readers see the old or the new file; two writers write the same. Lost when it cannot be written: asked again. */
static void store(const char *path, const struct text *key, const struct text *kept)
{
        scoped_free char *temporary = xasprintf("%s.%d", path, (int) getpid());
        scoped_close int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        if (fd < 0)
                return;
        if (fd_write_full(fd, key->s, key->n + 1) < 0 ||
            (kept->n > 0 && fd_write_full(fd, kept->s, kept->n) < 0) || rename(temporary, path) < 0)
                (void) unlink(temporary);
}

/* kept is owned by the login afterwards. */
static int use(const char *kept, size_t n, struct agent_login *login)
{
        size_t n_env = 0;

        if (n == 0)
                return -ENODATA;
        login->kept = xmalloc(n);
        memcpy(login->kept, kept, n);
        for (size_t i = 0; i < n; i++)
                n_env += login->kept[i] == '\0';
        login->env = xcalloc(n_env + 1, sizeof(*login->env));
        login->mask = (mode_t) strtoul(login->kept, NULL, 8);
        n_env = 0;
        for (const char *v = login->kept + strlen(login->kept) + 1; v < login->kept + n; v += strlen(v) + 1)
                login->env[n_env++] = v;
        return 0;
}

static void append_file(struct text *profiles, const char *folder, const char *name)
{
        scoped_free char *path = xasprintf("%s/%s", folder, name);
        scoped_free char *content = NULL;
        struct err ignored = { 0 };
        size_t n;

        if (file_read(path, REPORT_MAX, &content, &n, &ignored) < 0)
                return;
        text_appendf(profiles, "== %s\n", path);
        text_append_bytes(profiles, content, n);
}

static int is_script(const struct dirent *entry)
{
        return text_ends_with(entry->d_name, ".sh");
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
        return strcmp((*a)->d_name, (*b)->d_name);
}

static void append_scripts(struct text *profiles, const char *folder)
{
        struct dirent **scripts = NULL;
        int n = scandir(folder, &scripts, is_script, by_bytes);

        for (int i = 0; i < n; i++) {
                append_file(profiles, folder, scripts[i]->d_name);
                free(scripts[i]);
        }
        free(scripts);
}

/* What the answer depends on, written out: an image's build writes the same (catalog/, the golden image's script). */
static void write_profiles(const struct agent_login_source *source, struct text *profiles)
{
        scoped_free char *folder = xasprintf("%s/profile.d", source->etc);

        for (const char *const *v = source->env; *v; v++)
                text_appendf(profiles, "%s\n", *v);
        for (size_t i = 0; i < sizeof(of_etc) / sizeof(of_etc[0]); i++)
                append_file(profiles, source->etc, of_etc[i]);
        for (size_t i = 0; i < sizeof(of_home) / sizeof(of_home[0]); i++)
                append_file(profiles, source->home, of_home[i]);
        append_scripts(profiles, folder);
}

/* An answer that came with the image holds as long as every profile is, byte for byte, what it was made from. */
static int take_shipped(const struct agent_login_source *source, struct text *kept)
{
        scoped_text struct text profiles = { 0 };
        scoped_free char *shipped = NULL;
        struct err ignored = { 0 };
        size_t n;

        if (!source->shipped || file_read(source->shipped, 2 * REPORT_MAX, &shipped, &n, &ignored) < 0)
                return -ENOENT;
        write_profiles(source, &profiles);
        if (n <= profiles.n + 1 || memcmp(shipped, profiles.s, profiles.n + 1) != 0)
                return -ESTALE;
        text_append_bytes(kept, shipped + profiles.n + 1, n - profiles.n - 1);
        return 0;
}

int agent_login_get(const struct agent_login_source *source, struct agent_login *ret_login)
{
        scoped_text struct text key = { 0 }, kept = { 0 };
        scoped_free char *old = NULL, *report = NULL;
        struct err ignored = { 0 };
        size_t n;

        *ret_login = (struct agent_login){ 0 };
        make_key(source, &key);
        if (file_read(source->cache, 2 * REPORT_MAX, &old, &n, &ignored) == 0 && n > key.n &&
            memcmp(old, key.s, key.n + 1) == 0)
                return use(old + key.n + 1, n - key.n - 1, ret_login);
        if (take_shipped(source, &kept) < 0 &&
            (ask(source, &report, &n) < 0 || digest(source, report, n, &kept) < 0))
                kept.n = 0; /* remembered too: not to be asked in vain each time */
        store(source->cache, &key, &kept);
        return use(kept.s, kept.n, ret_login);
}

void agent_login_done(struct agent_login *login)
{
        free(login->env);
        free(login->kept);
        *login = (struct agent_login){ 0 };
}
