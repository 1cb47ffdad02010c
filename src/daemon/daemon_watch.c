#include "daemon/daemon_watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/scoped.h"
#include "daemon/daemon_pulse.h"
#include "daemon/daemon_vm.h"

struct daemon_guard *daemon_guard_find(const struct daemon *daemon, const char *vm_id)
{
        for (struct daemon_guard *guard = daemon->guards; guard; guard = guard->next)
                if (strcmp(guard->vm_id, vm_id) == 0)
                        return guard;
        return NULL;
}

static void guard_free(struct daemon_guard *guard)
{
        struct daemon_guard **link = &guard->daemon->guards;

        while (*link && *link != guard)
                link = &(*link)->next;
        if (*link)
                *link = guard->next;
        sd_event_source_disable_unref(guard->source);
        free(guard->vm_id);
        free(guard);
}

static int on_vmm_end(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        struct daemon_guard *guard = userdata;
        struct daemon *daemon = guard->daemon;
        scoped_free char *vm_id = xstrdup(guard->vm_id);

        (void) source;
        (void) fd;
        (void) events;
        log_info("a vm's VMM ended", "{s:s, s:i}", "vm_id", vm_id, "pid", (int) guard->pid);
        guard_free(guard);
        daemon_vm_ended(daemon, vm_id);
        return 0;
}

int daemon_guard_add(struct daemon *daemon, const char *vm_id, pid_t pid, int owned_pidfd, struct err *err)
{
        struct daemon_guard *guard = xcalloc(1, sizeof(*guard));
        int r;

        daemon_guard_remove(daemon, vm_id);
        *guard = (struct daemon_guard){
                .daemon = daemon, .vm_id = xstrdup(vm_id), .pid = pid, .pidfd = owned_pidfd
        };
        r = sd_event_add_io(daemon->event, &guard->source, owned_pidfd, EPOLLIN, on_vmm_end, guard);
        if (r < 0) {
                (void) close(owned_pidfd);
                free(guard->vm_id);
                free(guard);
                return err_set(err, -r, "daemon.guard", "watch process %d: %s", (int) pid, strerror(-r));
        }
        (void) sd_event_source_set_io_fd_own(guard->source, 1);
        guard->next = daemon->guards;
        daemon->guards = guard;
        daemon_pulse_begin(guard);
        return 0;
}

void daemon_guard_remove(struct daemon *daemon, const char *vm_id)
{
        struct daemon_guard *guard = daemon_guard_find(daemon, vm_id);

        if (guard)
                guard_free(guard);
}

pid_t daemon_guard_pid(const struct daemon *daemon, const char *vm_id)
{
        const struct daemon_guard *guard = daemon_guard_find(daemon, vm_id);

        return guard ? guard->pid : 0;
}

int daemon_guard_signal(const struct daemon *daemon, const char *vm_id, int signal)
{
        const struct daemon_guard *guard = daemon_guard_find(daemon, vm_id);

        return guard ? fd_pidfd_signal(guard->pidfd, signal) : -ESRCH;
}

void daemon_guards_done(struct daemon *daemon)
{
        while (daemon->guards)
                guard_free(daemon->guards);
}
