#include "vmm/qemu/guest_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/scoped.h"

#define HUGE_MIB 2 /* of x86-64 */

static int write_map(const char *path, const char *text)
{
        scoped_close int fd = open(path, O_WRONLY | O_CLOEXEC);

        return fd < 0 ? -errno : fd_write_full(fd, text, strlen(text));
}

/* A user namespace in which our own ids are all there is, and with it the right to mount (user_namespaces(7)). */
static int enter_namespaces(void)
{
        char map[32];
        unsigned uid = getuid(), gid = getgid();
        int r;

        /* /proc/self is not ours to write while we are not dumpable (proc(5)) */
        if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
                return -errno;
        (void) snprintf(map, sizeof(map), "%u %u 1", uid, uid);
        r = write_map("/proc/self/uid_map", map);
        if (r == 0)
                r = write_map("/proc/self/setgroups", "deny");
        (void) snprintf(map, sizeof(map), "%u %u 1", gid, gid);
        return r == 0 ? write_map("/proc/self/gid_map", map) : r;
}

static int make_file(uint64_t mib)
{
        scoped_close int fs = fsopen("tmpfs", FSOPEN_CLOEXEC), mount = FD_NONE, file = FD_NONE;
        uint64_t whole_mib = (mib + HUGE_MIB - 1) / HUGE_MIB * HUGE_MIB;
        char size[32];

        (void) snprintf(size, sizeof(size), "%" PRIu64 "M", whole_mib);
        if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "huge", "always", 0) < 0 ||
            fsconfig(fs, FSCONFIG_SET_STRING, "size", size, 0) < 0 ||
            fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return -errno;
        mount = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
        if (mount < 0)
                return -errno;
        file = openat(mount, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (file < 0 || ftruncate(file, (off_t) (mib << 20)) < 0)
                return -errno;
        return take_fd(&file);
}

__attribute__((noreturn)) static void make_and_send(int sock, uint64_t mib)
{
        int r = enter_namespaces(), file = r < 0 ? r : make_file(mib);

        r = file < 0 ? file : 0;
        (void) fd_send_with(sock, &r, sizeof(r), &file, file < 0 ? 0 : 1);
        _exit(0);
}

/* Its answer: the file, or why there is none. */
static int receive(int sock)
{
        int files[FD_PASS_MAX], answer = 0;
        size_t n_files = 0;
        ssize_t n = fd_receive_with(sock, &answer, sizeof(answer), files, &n_files);

        if (n == (ssize_t) sizeof(answer) && answer == 0 && n_files == 1)
                return files[0];
        for (size_t i = 0; n >= 0 && i < n_files; i++)
                (void) close(files[i]);
        return answer < 0 ? answer : -EIO;
}

/* In a child, which alone is in the namespaces. */
int guest_memory_open(uint64_t mib)
{
        int pair[2], r = fd_unix_pair(pair);
        pid_t child;

        if (r < 0)
                return r;
        child = fork();
        if (child == 0)
                make_and_send(pair[1], mib);
        r = child < 0 ? -errno : 0;
        (void) close(pair[1]);
        if (r == 0) {
                r = receive(pair[0]);
                (void) waitpid(child, NULL, 0);
        }
        (void) close(pair[0]);
        return r;
}
