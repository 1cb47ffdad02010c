#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/agent/agent_init.h"

#define OP_MOUNT       "agent.mount"
#define DEVICE_WAIT_MS 5000
#define DEVICE_STEP_US 2000

struct kernel_mount {
        const char *type, *where, *options;
        unsigned long flags;
        mode_t mode;
};

/* Before the root disk: what the way to it needs. Moved along later. */
static const struct kernel_mount first_mounts[] = {
        {"devtmpfs", "/dev",  "mode=0755", MS_NOSUID,                        0755},
        { "proc",    "/proc", NULL,        MS_NOSUID | MS_NODEV | MS_NOEXEC, 0555},
        { "sysfs",   "/sys",  NULL,        MS_NOSUID | MS_NODEV | MS_NOEXEC, 0555},
};
/* In the real root. systemd keeps those it finds mounted (src/shared/mount-setup.c) and takes nothing amiss. */
static const struct kernel_mount later_mounts[] = {
        {"devpts",   "/dev/pts",       "mode=0620,gid=5,ptmxmode=0666", MS_NOSUID | MS_NOEXEC,            0755 },
        { "tmpfs",   "/dev/shm",       "mode=1777",                     MS_NOSUID | MS_NODEV,             01777},
        { "tmpfs",   "/run",           "mode=0755",                     MS_NOSUID | MS_NODEV,             0755 },
        { "cgroup2", "/sys/fs/cgroup", "nsdelegate",                    MS_NOSUID | MS_NODEV | MS_NOEXEC, 0555 },
};

static void mount_all(const struct kernel_mount *mounts, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                const struct kernel_mount *m = &mounts[i];

                (void) mkdir(m->where, m->mode);
                if (mount(m->type, m->where, m->type, m->flags, m->options) < 0 && errno != EBUSY)
                        agent_say("mount %s at %s: %s", m->type, m->where, strerror(errno));
        }
}

void agent_mount_kernel(void)
{
        mount_all(first_mounts, sizeof(first_mounts) / sizeof(first_mounts[0]));
}

/*
 * The disk is often a copy made a moment ago, of which the host still holds hundreds of MiB in memory: a flush would wait
 * for all of them, 0.2 to 0.5 s at the first write of a superblock. So the disks are mounted without barriers, and get them
 * before anything runs whose data could matter (agent_settle_disks()); what is written until then is written at each start.
 * A journal that is to be replayed is another matter: its order on the disk counts, so that disk is mounted as usual.
 */
#define NO_FLUSH "barrier=0"
#define FLUSH    "barrier=1"

/* docs.kernel.org/filesystems/ext4/globals.html: the superblock's place, its s_feature_incompat, INCOMPAT_RECOVER. */
#define INCOMPAT_AT      (1024 + 0x60)
#define INCOMPAT_RECOVER 0x4

/* What cannot be read is not called clean: mount(2) will say why. */
static bool is_clean(const char *device)
{
        scoped_close int fd = open(device, O_RDONLY | O_CLOEXEC);
        uint8_t incompat; /* the lowest byte of a little-endian word */

        return fd >= 0 && pread(fd, &incompat, 1, INCOMPAT_AT) == 1 && (incompat & INCOMPAT_RECOVER) == 0;
}

/*
 * The host fills a disk while the guest boots and says when it is done. What the kernel has read before (a look for
 * partitions at the disk's start) is not what is there now.
 */
static void forget_cached(const char *device)
{
        scoped_close int fd = open(device, O_RDONLY | O_CLOEXEC);

        if (fd >= 0)
                (void) ioctl(fd, BLKFLSBUF, 0);
}

/* A disk shows up when its driver has probed it, which need not be when its module is loaded. */
static int mount_disk(const char *device, const char *where, struct err *err)
{
        uint64_t deadline_ms = clock_monotonic_ms() + DEVICE_WAIT_MS;

        for (;;) {
                forget_cached(device);
                if (mount(device, where, "ext4", 0, is_clean(device) ? NO_FLUSH : FLUSH) == 0)
                        return 0;
                if ((errno != ENOENT && errno != ENXIO) || clock_left_ms(deadline_ms) == 0)
                        return err_errno(err, OP_MOUNT, "mount '%s' as ext4 at '%s'", device, where);
                (void) usleep(DEVICE_STEP_US);
        }
}

int agent_mount_disks(const json_t *config, struct err *err)
{
        const char *root = json_text(config, "root_device"), *work = json_text(config, "work_device");
        int r;

        (void) mkdir(AGENT_NEW_ROOT, 0755);
        r = mount_disk(root[0] != '\0' ? root : "/dev/vda", AGENT_NEW_ROOT, err);
        if (r < 0 || work[0] == '\0')
                return r;
        (void) mkdir(AGENT_NEW_ROOT "/root", 0755);
        return mount_disk(work, AGENT_NEW_ROOT "/root", err);
}

static void remount(const char *where)
{
        if (mount(NULL, where, NULL, MS_REMOUNT, FLUSH) < 0)
                agent_say("turn the barriers of %s on: %s", where, strerror(errno));
}

/* docs.kernel.org/filesystems/ext4/globals.html: s_log_block_size, s_blocks_count_lo, s_blocks_count_hi; little-endian. */
#define SUPER_AT      1024
#define BLOCKS_LO_AT  (SUPER_AT + 0x4)
#define BLOCK_SIZE_AT (SUPER_AT + 0x18)
#define BLOCKS_HI_AT  (SUPER_AT + 0x150)
#define RESIZE_FS     _IOW('f', 16, uint64_t) /* EXT4_IOC_RESIZE_FS, fs/ext4/ext4.h */

static uint32_t word_at(int fd, off_t at)
{
        uint8_t bytes[4] = { 0 };

        if (pread(fd, bytes, sizeof(bytes), at) != (ssize_t) sizeof(bytes))
                return 0;
        return (uint32_t) bytes[0] | (uint32_t) bytes[1] << 8 | (uint32_t) bytes[2] << 16 |
               (uint32_t) bytes[3] << 24;
}

/* A disk that was set to a larger size: only its guest may touch the file system in it. Without a change it costs two reads. */
static void grow(const char *device, const char *where)
{
        scoped_close int disk = open(device, O_RDONLY | O_CLOEXEC);
        scoped_close int folder = open(where, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        uint64_t bytes = 0, blocks, wanted;
        uint32_t shift;

        if (disk < 0 || folder < 0 || ioctl(disk, BLKGETSIZE64, &bytes) < 0)
                return;
        shift = 10 + word_at(disk, BLOCK_SIZE_AT);
        blocks = (uint64_t) word_at(disk, BLOCKS_HI_AT) << 32 | word_at(disk, BLOCKS_LO_AT);
        wanted = shift <= 16 ? bytes >> shift : 0;
        if (blocks != 0 && wanted > blocks && ioctl(folder, RESIZE_FS, &wanted) < 0)
                agent_say("grow the file system at %s: %s", where, strerror(errno));
}

void agent_settle_disks(const json_t *config)
{
        const char *work = json_text(config, "work_device");

        remount("/");
        if (work[0] == '\0')
                return;
        remount("/root");
        grow(work, "/root");
}

int agent_switch_root(struct err *err)
{
        struct err ignored = { 0 };

        /* The running program stays mapped; the modules' memory is what this is about. */
        (void) file_remove_tree("/modules", &ignored);
        (void) unlink("/init");
        for (size_t i = 0; i < sizeof(first_mounts) / sizeof(first_mounts[0]); i++) {
                scoped_free char *where = xasprintf(AGENT_NEW_ROOT "%s", first_mounts[i].where);

                (void) mkdir(where, first_mounts[i].mode);
                if (mount(first_mounts[i].where, where, NULL, MS_MOVE, NULL) < 0)
                        return err_errno(err, OP_MOUNT, "move '%s' to the root disk", first_mounts[i].where);
        }
        if (chdir(AGENT_NEW_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
            chdir("/") < 0)
                return err_errno(err, OP_MOUNT, "make the root disk the root");
        mount_all(later_mounts, sizeof(later_mounts) / sizeof(later_mounts[0]));
        if (mkdir("/tmp", 01777) == 0)
                (void) chmod("/tmp", 01777);
        return 0;
}
