#include "vm/vm_process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/scoped.h"
#include "base/text.h"
#include "vmm/client/vmm_client.h"

#define CMDLINE_MAX 8192

/* Whether a NUL-separated command line of n bytes names the socket. */
static bool names_socket(const char *cmdline, size_t n, const char *api_path)
{
        const char *end = cmdline + n;
        bool value_follows = false;

        for (const char *word = cmdline; word < end; word += strlen(word) + 1) {
                if (value_follows && strcmp(word, api_path) == 0)
                        return true;
                value_follows = strcmp(word, "--api-sock") == 0 || strcmp(word, "-a") == 0;
                if (text_starts_with(word, "--api-sock=") &&
                    strcmp(word + strlen("--api-sock="), api_path) == 0)
                        return true;
        }
        return false;
}

/*
 * The folder /proc/PID belongs to the process's user; the files in it to root once the process is not dumpable, as a
 * confined VMM is (proc(5)).
 */
static bool process_is_of_our_user(pid_t pid)
{
        char path[64];
        struct stat st;

        (void) snprintf(path, sizeof(path), "/proc/%d", (int) pid);
        return stat(path, &st) == 0 && st.st_uid == geteuid();
}

static bool process_names_socket(pid_t pid, const char *api_path)
{
        char path[64], cmdline[CMDLINE_MAX];
        scoped_close int fd = FD_NONE;
        ssize_t n;

        if (!process_is_of_our_user(pid))
                return false;
        (void) snprintf(path, sizeof(path), "/proc/%d/cmdline", (int) pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        n = fd < 0 ? -1 : read(fd, cmdline, sizeof(cmdline) - 1);
        if (n <= 0)
                return false;
        cmdline[n] = '\0';
        return names_socket(cmdline, (size_t) n, api_path);
}

static int find(const char *api_path, pid_t *ret_pid, int *ret_pidfd)
{
        DIR *proc = opendir("/proc");
        const struct dirent *entry;
        int found = -ENOENT;

        if (!proc)
                return -errno;
        while (found < 0 && (entry = readdir(proc))) {
                uint64_t pid;
                int pidfd;

                if (text_parse_u64(entry->d_name, INT32_MAX, &pid) < 0)
                        continue;
                if (!process_names_socket((pid_t) pid, api_path))
                        continue;
                pidfd = fd_pidfd_open((pid_t) pid);
                if (pidfd < 0)
                        continue;
                /* looked at again through the pidfd: the number may have gone to another process meanwhile */
                if (process_names_socket((pid_t) pid, api_path) && fd_pidfd_signal(pidfd, 0) == 0) {
                        *ret_pid = (pid_t) pid;
                        *ret_pidfd = pidfd;
                        found = 0;
                } else {
                        (void) close(pidfd);
                }
        }
        (void) closedir(proc);
        return found;
}

int vm_process_find(const char *api_path, int *ret_pidfd)
{
        pid_t pid;

        return find(api_path, &pid, ret_pidfd);
}

int vm_process_recall(const char *api_path, struct vm_ledger *ledger, int *ret_pidfd)
{
        scoped_close int pidfd = FD_NONE;
        int r = find(api_path, &ledger->pid, &pidfd);

        if (r == 0)
                r = vmm_process_start_time(ledger->pid, &ledger->start_time);
        if (r < 0 || !vmm_process_is_alive(ledger->pid, ledger->start_time, ret_pidfd))
                return r < 0 ? r : -ENOENT;
        ledger->vmm = true;
        return 0;
}

bool vm_process_is_ours(const struct vm_ledger *ledger, const char *api_path, int *ret_pidfd)
{
        int pidfd = FD_NONE;

        if (ledger->pid <= 1 || !vmm_process_is_alive(ledger->pid, ledger->start_time, &pidfd))
                return false;
        if (process_names_socket(ledger->pid, api_path)) {
                *ret_pidfd = pidfd;
                return true;
        }
        (void) close(pidfd);
        return false;
}
