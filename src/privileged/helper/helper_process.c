#include "privileged/helper/helper_process.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/scoped.h"
#include "base/text.h"

#define OP       "priv.process"
#define UNIT     "bangerd-root.service"
#define PROC_MAX ((size_t) 64 << 10) /* more of a command line than any VMM of ours has */

const char *process_api_socket(const char *cmdline, size_t n)
{
        static const char flag[] = "--api-sock";

        for (const char *word = cmdline; word < cmdline + n; word += strlen(word) + 1) {
                const char *next = word + strlen(word) + 1;

                if (text_starts_with(word, flag) && word[sizeof(flag) - 1] == '=')
                        return word + sizeof(flag);
                if (strcmp(word, flag) == 0 || strcmp(word, "-a") == 0)
                        return next < cmdline + n ? next : NULL;
        }
        return NULL;
}

bool process_path_is_under(const char *path, const char *root)
{
        size_t n = strlen(root);

        if (path[0] != '/' || strncmp(path, root, n) != 0 || path[n] != '/' || path[n + 1] == '\0')
                return false;
        for (const char *part = path; part; part = strchr(part + 1, '/'))
                if (text_starts_with(part, "/../") || strcmp(part, "/..") == 0)
                        return false;
        return true;
}

bool process_cgroup_is_ours(const char *cgroup)
{
        static const char part[] = "/" UNIT;

        for (const char *at = strstr(cgroup, part); at; at = strstr(at + 1, part)) {
                char after = at[sizeof(part) - 1];

                if (after == '\0' || after == '\n' || after == '/')
                        return true;
        }
        return false;
}

/* /proc/<pid>/<name>, NUL-terminated. */
static int read_proc(pid_t pid, const char *name, char **ret_text, size_t *ret_n)
{
        struct err ignored = { 0 };
        char path[64];

        (void) snprintf(path, sizeof(path), "/proc/%d/%s", (int) pid, name);
        return file_read(path, PROC_MAX, ret_text, ret_n, &ignored);
}

/* All four of the user ids, so that nothing half changed passes. */
static bool runs_as(pid_t pid, uid_t uid)
{
        static const char label[] = "\nUid:";
        scoped_free char *status = NULL;
        const char *at;
        uint64_t id;
        size_t n;

        if (read_proc(pid, "status", &status, &n) < 0)
                return false;
        at = strstr(status, label);
        if (!at)
                return false;
        at += sizeof(label) - 1;
        for (unsigned i = 0; i < 4; i++)
                if (text_take_u64(&at, UINT32_MAX, &id) < 0 || id != uid)
                        return false;
        return true;
}

/* The kernel keeps 15 bytes of a name (proc(5), comm). A process sets its own, so this is never the only proof. */
static bool has_name_of_vmm(pid_t pid)
{
        static const char *const names[] = { "firecracker\n", "jailer\n", "banger-qemu\n" };
        scoped_free char *comm = NULL;
        size_t n;

        if (read_proc(pid, "comm", &comm, &n) < 0)
                return false;
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (strcmp(comm, names[i]) == 0)
                        return true;
        return false;
}

static bool is_in_unit(pid_t pid)
{
        scoped_free char *cgroup = NULL;
        size_t n;

        return read_proc(pid, "cgroup", &cgroup, &n) == 0 && process_cgroup_is_ours(cgroup);
}

static bool has_api_socket(pid_t pid, const char *runtime_dir)
{
        scoped_free char *cmdline = NULL;
        const char *socket;
        size_t n;

        if (read_proc(pid, "cmdline", &cmdline, &n) < 0)
                return false;
        socket = process_api_socket(cmdline, n);
        return socket && process_path_is_under(socket, runtime_dir);
}

/*
 * The helper itself is in its unit's cgroup too, hence the name in both modes. /proc/<pid>/root proves nothing: after
 * pivot_root it reads "/" (S-143).
 */
static bool is_vmm(pid_t pid, const struct process_rules *rules)
{
        if (!has_name_of_vmm(pid))
                return false;
        if (is_in_unit(pid))
                return true;
        return runs_as(pid, rules->owner_uid) && has_api_socket(pid, rules->runtime_dir);
}

int process_open_vmm(pid_t pid, const struct process_rules *rules, int *ret_pidfd, struct err *err)
{
        scoped_close int pidfd = fd_pidfd_open(pid);

        if (pidfd == -ESRCH)
                return err_set(err, ENOENT, OP, "process %d is gone", (int) pid);
        if (pidfd < 0)
                return err_set(err, -pidfd, OP, "open process %d: %s", (int) pid, strerror(-pidfd));
        if (!is_vmm(pid, rules))
                return err_set(err, EPERM, OP, "process %d is not a virtual machine of banger", (int) pid);
        *ret_pidfd = take_fd(&pidfd);
        return 0;
}
