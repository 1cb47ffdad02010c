#include "daemon/daemon_logs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/scoped.h"
#include "daemon/daemon_watch.h"
#include "vm/vm_spec.h"

#define BLOCK 4096

int daemon_log_bound(int fd, uint64_t max, uint64_t keep)
{
        struct stat st;
        uint64_t size, front;

        if (fstat(fd, &st) < 0)
                return -errno;
        size = (uint64_t) st.st_size;
        if ((uint64_t) st.st_blocks * 512 <= max || size <= keep)
                return 0;
        front = (size - keep) / BLOCK * BLOCK;
        return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t) front) < 0 ? -errno : 0;
}

static void bound(char *owned_path)
{
        scoped_free char *path = owned_path;
        scoped_close int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

        /* a file system that cannot make holes (none that we run on): the log then goes whole, which bounds it too */
        if (fd >= 0 && daemon_log_bound(fd, DAEMON_LOG_MAX, DAEMON_LOG_KEEP) == -EOPNOTSUPP)
                (void) ftruncate(fd, 0);
}

static void mark_add(struct daemon_log_marks *marks, uint64_t real_ns, uint64_t size)
{
        if (marks->n > 0 && size < marks->marks[marks->n - 1].size)
                marks->n = 0; /* the log was cut: the places are others now */
        if (marks->n > 0 && size == marks->marks[marks->n - 1].size) {
                marks->marks[marks->n - 1].real_ns = real_ns; /* nothing came meanwhile */
                return;
        }
        if (marks->n == DAEMON_LOG_MARKS_MAX) { /* every second one goes */
                for (size_t i = 0; i < DAEMON_LOG_MARKS_MAX / 2; i++)
                        marks->marks[i] = marks->marks[2 * i];
                marks->n = DAEMON_LOG_MARKS_MAX / 2;
        }
        marks->marks[marks->n].real_ns = real_ns;
        marks->marks[marks->n++].size = size;
}

static void mark_console(struct daemon_guard *guard, const char *folder)
{
        scoped_free char *path = vm_path_console_log(folder);
        struct stat st;

        if (stat(path, &st) == 0)
                mark_add(&guard->console, clock_real_ns(), (uint64_t) st.st_size);
}

void daemon_logs_begin(struct daemon_guard *guard)
{
        scoped_free char *folder = layout_join(guard->daemon->vms_folder, guard->vm_id, NULL);

        mark_console(guard, folder);
}

void daemon_logs_beat(struct daemon_guard *guard)
{
        scoped_free char *folder = layout_join(guard->daemon->vms_folder, guard->vm_id, NULL);

        mark_console(guard, folder);
        bound(vm_path_console_log(folder));
        bound(vm_path_vmm_log(folder));
}

uint64_t daemon_logs_place(const struct daemon_guard *guard, uint64_t since_real_ns)
{
        uint64_t place = 0;

        for (size_t i = 0; i < guard->console.n && guard->console.marks[i].real_ns <= since_real_ns; i++)
                place = guard->console.marks[i].size;
        return place;
}
