#include "kernel/kernel_initramfs.h"

#include <archive.h>
#include <archive_entry.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/file.h"
#include "base/text.h"

#define AGENT_MAX ((size_t) 64 << 20)

static void writer_free(struct archive *archive)
{
        if (archive)
                (void) archive_write_free(archive);
}
SCOPED_FUNC(struct archive *, writer_free);

static void entry_free(struct archive_entry *entry)
{
        if (entry)
                archive_entry_free(entry);
}
SCOPED_FUNC(struct archive_entry *, entry_free);

struct member {
        const char *path;
        mode_t mode; /* with the file type */
        dev_t device;
        const void *data;
        size_t n;
};

/* Owner 0, time 0: the bytes depend on nothing but the content. */
static int add(struct archive *archive, const struct member *member, struct err *err)
{
        scoped(entry_free) struct archive_entry *entry = archive_entry_new();

        if (!entry)
                return err_set(err, ENOMEM, "kernel.initramfs", "out of memory");
        archive_entry_set_pathname(entry, member->path);
        archive_entry_set_mode(entry, member->mode);
        archive_entry_set_nlink(entry, 1);
        archive_entry_set_mtime(entry, 0, 0);
        archive_entry_set_rdev(entry, member->device);
        archive_entry_set_size(entry, (la_int64_t) member->n);
        if (archive_write_header(archive, entry) != ARCHIVE_OK ||
            (member->n > 0 && archive_write_data(archive, member->data, member->n) != (la_ssize_t) member->n))
                return err_set(err, EIO, "kernel.initramfs", "write '%s': %.200s", member->path,
                               archive_error_string(archive));
        return 0;
}

static int add_fixed(struct archive *archive, struct err *err)
{
        static const char *const folders[] = { "dev", "proc", "sys", "newroot", "modules" };
        struct member console = { "dev/console", S_IFCHR | 0600, makedev(5, 1), NULL, 0 }; /* console(4) */
        int r = 0;

        for (size_t i = 0; r == 0 && i < sizeof(folders) / sizeof(folders[0]); i++) {
                struct member folder = { folders[i], S_IFDIR | 0755, 0, NULL, 0 };

                r = add(archive, &folder, err);
        }
        return r < 0 ? r : add(archive, &console, err);
}

char *kernel_initramfs_module_name(unsigned index, const char *name)
{
        return xasprintf("%02u-%s.ko", index, name);
}

/* The files that say which modules are loaded when, by stage. */
static int add_lists(struct archive *archive, const struct text lists[MODULE_N_STAGES], struct err *err)
{
        static const char *const paths[] = {
                [MODULE_FOR_CALL] = "modules/call",
                [MODULE_FOR_DISK] = "modules/disk",
                [MODULE_FOR_REST] = "modules/rest",
                [MODULE_LATER] = "modules/later",
        };
        int r = 0;

        static_assert(sizeof(paths) / sizeof(paths[0]) == MODULE_N_STAGES, "a list for every stage");
        for (unsigned stage = 0; r == 0 && stage < MODULE_N_STAGES; stage++) {
                struct member list = { paths[stage], S_IFREG | 0644, 0, lists[stage].s, lists[stage].n };

                r = add(archive, &list, err);
        }
        return r;
}

static int add_files(struct archive *archive, const struct kernel_modules *modules,
                     struct text lists[MODULE_N_STAGES], struct err *err)
{
        scoped_free enum kernel_module_stage *stages = xcalloc(modules->n + 1, sizeof(*stages));

        kernel_modules_stages(modules, stages);
        for (unsigned i = 0; i < modules->n; i++) {
                const struct kernel_module *module = &modules->modules[i];
                scoped_free char *name = kernel_initramfs_module_name(i, module->name);
                scoped_free char *path = xasprintf("modules/%s", name);
                struct member file = { path, S_IFREG | 0644, 0, module->data, module->n };
                int r = add(archive, &file, err);

                if (r < 0)
                        return r;
                text_appendf(&lists[stages[i]], "%s\n", name);
        }
        return 0;
}

static int add_modules(struct archive *archive, const struct kernel_modules *modules, struct err *err)
{
        struct text lists[MODULE_N_STAGES] = { 0 };
        int r = add_files(archive, modules, lists, err);

        if (r == 0)
                r = add_lists(archive, lists, err);
        for (unsigned stage = 0; stage < MODULE_N_STAGES; stage++)
                text_done(&lists[stage]);
        return r;
}

static int add_all(struct archive *archive, const char *agent_path, const struct kernel_modules *modules,
                   struct err *err)
{
        scoped_free char *agent = NULL;
        struct member init = { "init", S_IFREG | 0755, 0, NULL, 0 };
        int r = file_read(agent_path, AGENT_MAX, &agent, &init.n, err);

        if (r < 0)
                return err_wrap(err, "the guest's agent");
        init.data = agent;
        r = add_fixed(archive, err);
        if (r == 0)
                r = add(archive, &init, err);
        return r < 0 ? r : add_modules(archive, modules, err);
}

int kernel_initramfs_write(const char *path, const char *agent_path, const struct kernel_modules *modules,
                           struct err *err)
{
        scoped_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        scoped(writer_free) struct archive *archive = archive_write_new();
        int r;

        if (fd < 0)
                return err_errno(err, "kernel.initramfs", "create '%s'", path);
        if (!archive)
                return err_set(err, ENOMEM, "kernel.initramfs", "out of memory");
        (void) archive_write_set_format_cpio_newc(archive);
        (void) archive_write_set_bytes_in_last_block(archive, 1); /* no padding to 10 KiB */
        if (archive_write_open_fd(archive, fd) != ARCHIVE_OK)
                return err_set(err, EIO, "kernel.initramfs", "%.200s", archive_error_string(archive));
        r = add_all(archive, agent_path, modules, err);
        if (r < 0) {
                (void) archive_write_fail(archive);
                return r;
        }
        if (archive_write_close(archive) != ARCHIVE_OK)
                return err_set(err, EIO, "kernel.initramfs", "write '%s': %.200s", path,
                               archive_error_string(archive));
        return fsync(fd) < 0 ? err_errno(err, "kernel.initramfs", "sync '%s'", path) : 0;
}
