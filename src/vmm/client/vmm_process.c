/* VMM processes that outlive ours: found again by pid and start time, held by pidfd. */
#include "vmm/client/vmm_process.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"
#include "vmm/client/vmm_client.h"

#define STAT_MAX 4096
/* proc(5): fields are counted from 1; the command in field 2 may contain anything, so counting starts behind its ')'. */
#define START_TIME_FIELD 22

int vmm_process_start_time(pid_t pid, uint64_t *ret_start_time)
{
        scoped_free char *path = xasprintf("/proc/%d/stat", (int) pid);
        scoped_free char *text = NULL;
        struct err err = { 0 };
        char *field, *rest = NULL;
        int r = file_read(path, STAT_MAX, &text, NULL, &err);

        if (r < 0)
                return r;
        field = strrchr(text, ')');
        field = field ? strtok_r(field + 1, " ", &rest) : NULL;
        for (int i = 3; field && i < START_TIME_FIELD; i++)
                field = strtok_r(NULL, " ", &rest);
        return field ? text_parse_u64(field, UINT64_MAX, ret_start_time) : -EBADMSG;
}

bool vmm_process_is_alive(pid_t pid, uint64_t start_time, int *ret_pidfd)
{
        scoped_close int pidfd = pid > 1 ? fd_pidfd_open(pid) : FD_NONE;
        uint64_t found = 0;

        /* the descriptor first: what is read after it belongs to the process it holds, or the poll shows its end */
        if (pidfd < 0 || vmm_process_start_time(pid, &found) < 0 || found != start_time)
                return false;
        if (fd_wait(pidfd, POLLIN, 0) != -ETIMEDOUT)
                return false;
        if (ret_pidfd)
                *ret_pidfd = take_fd(&pidfd);
        return true;
}

int vmm_process_kill(int pidfd, uint64_t timeout_ms, struct err *err)
{
        siginfo_t info = { 0 };
        int r = fd_pidfd_signal(pidfd, SIGKILL);

        if (r < 0 && r != -ESRCH) {
                errno = -r;
                return err_errno(err, "vmm.kill", "kill the VMM");
        }
        r = fd_wait(pidfd, POLLIN, timeout_ms > INT_MAX ? INT_MAX : (int) timeout_ms);
        if (r < 0) {
                errno = -r;
                return err_errno(err, "vmm.kill", "wait for the end of the VMM");
        }
        /* only of a child of ours; anybody else's is reaped by its parent */
        (void) waitid(P_PIDFD, (id_t) pidfd, &info, WEXITED | WNOHANG);
        return 0;
}
