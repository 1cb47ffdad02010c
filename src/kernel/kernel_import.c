/* From a file of somebody else's to a kernel of ours: a table of stages, all within a staging folder. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"
#include "kernel/kernel_archive.h"
#include "kernel/kernel_image.h"
#include "kernel/kernel_initramfs.h"
#include "kernel/kernel_manifest.h"
#include "kernel/kernel_modules.h"
#include "kernel/kernel_staging.h"
#include "kernel/kernel_store.h"

#define KERNEL_FILE_MAX ((size_t) 512 << 20)
#define TREE            "tree"
#define SPARSE_BLOCK    ((size_t) 4096)

struct importing {
        const struct kernel_import *import;
        const char *source; /* borrowed */
        struct kernel_staging staging;
        char *tree;           /* owned: what will be the kernel's folder */
        char *kernel_path;    /* owned */
        char *modules_folder; /* owned; NULL: drivers built in */
        char version[KERNEL_VERSION_TEXT_MAX];
        char sha256[KERNEL_SHA256_TEXT_MAX];
        bool has_pvh;
        struct kernel_modules modules;
        json_t *agent; /* owned */
};

static void importing_done(struct importing *importing)
{
        kernel_staging_end(&importing->staging);
        kernel_modules_done(&importing->modules);
        free(importing->tree);
        free(importing->kernel_path);
        free(importing->modules_folder);
        json_decref(importing->agent);
}
#define scoped_importing __attribute__((__cleanup__(importing_done)))

static int report(const struct importing *importing, const char *stage, struct err *err)
{
        return kernel_report(&importing->import->progress, stage, 0, 0, err);
}

static void dir_free(DIR *folder)
{
        if (folder)
                (void) closedir(folder);
}
SCOPED_FUNC(DIR *, dir_free);

/* The only name in folder that starts with prefix and is of the type: 0 with NULL when there is none. */
static int find_only(const char *folder, const char *prefix, mode_t type, char **ret_path, struct err *err)
{
        scoped(dir_free) DIR *dir = opendir(folder);
        scoped_free char *found = NULL;
        const struct dirent *entry;

        while (dir && (entry = readdir(dir))) {
                struct stat st;

                if (entry->d_name[0] == '.' || !text_starts_with(entry->d_name, prefix) ||
                    fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
                    (st.st_mode & S_IFMT) != type)
                        continue;
                if (found)
                        return err_set(err, EINVAL, "kernel.import",
                                       "'%s' holds more than one kernel: name the kernel file and its "
                                       "modules folder",
                                       folder);
                found = xasprintf("%s/%s", folder, entry->d_name);
        }
        *ret_path = take_ptr(found);
        return 0;
}

static int find_in_folder(struct importing *importing, const char *folder, struct err *err)
{
        static const char *const modules_folders[] = { "lib/modules", "usr/lib/modules" };
        scoped_free char *boot = xasprintf("%s/boot", folder);
        int r = find_only(boot, "vmlinu", S_IFREG, &importing->kernel_path, err);

        if (r == 0 && !importing->kernel_path)
                return err_set(err, ENOENT, "kernel.import",
                               "there is no boot/vmlinuz-* or boot/vmlinux-* in it");
        for (size_t i = 0; r == 0 && i < 2 && !importing->modules_folder; i++) {
                scoped_free char *modules = xasprintf("%s/%s", folder, modules_folders[i]);

                r = find_only(modules, "", S_IFDIR, &importing->modules_folder, err);
        }
        return r;
}

static int is_deb(const char *path, bool *ret_is, struct err *err)
{
        scoped_close int fd = open(path, O_RDONLY | O_CLOEXEC);
        char magic[8] = "";

        if (fd < 0)
                return err_errno(err, "kernel.import", "open it");
        *ret_is = read(fd, magic, sizeof(magic)) == (ssize_t) sizeof(magic) &&
                  memcmp(magic, "!<arch>\n", 8) == 0;
        return 0;
}

static int stage_unpack(struct importing *importing, struct err *err)
{
        const struct kernel_import *import = importing->import;
        scoped_free char *unpacked = xasprintf("%s/unpacked", importing->staging.path);
        bool is_package = false;
        struct stat st;
        int r;

        if (stat(import->from, &st) < 0)
                return err_errno(err, "kernel.import", "look at it");
        if (S_ISDIR(st.st_mode))
                return find_in_folder(importing, import->from, err);
        if (!S_ISREG(st.st_mode))
                return err_set(err, EINVAL, "kernel.import", "it is neither a file nor a folder");
        r = is_deb(import->from, &is_package, err);
        if (r < 0)
                return r;
        if (!is_package) {
                importing->kernel_path = xstrdup(import->from);
                importing->modules_folder = import->modules_folder ? xstrdup(import->modules_folder) : NULL;
                return 0;
        }
        r = kernel_archive_unpack_deb(import->from, unpacked, &import->progress, err);
        return r < 0 ? r : find_in_folder(importing, unpacked, err);
}

static bool is_zero(const char *data, size_t n)
{
        return data[0] == '\0' && memcmp(data, data + 1, n - 1) == 0;
}

/* Holes instead of zeros: a kernel's file has megabytes of them. */
static int write_sparse(int fd, const char *data, size_t n)
{
        for (size_t at = 0; at < n; at += SPARSE_BLOCK) {
                size_t length = n - at < SPARSE_BLOCK ? n - at : SPARSE_BLOCK;
                int r = 0;

                if (is_zero(data + at, length))
                        r = lseek(fd, (off_t) length, SEEK_CUR) < 0 ? -errno : 0;
                else
                        r = fd_write_full(fd, data + at, length);
                if (r < 0)
                        return r;
        }
        return ftruncate(fd, (off_t) n) < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int write_new(const char *path, const char *data, size_t n, struct err *err)
{
        scoped_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        int r = fd < 0 ? -errno : write_sparse(fd, data, n);

        if (r == 0)
                return 0;
        errno = -r;
        return err_errno(err, "kernel.import", "write '%s'", path);
}

static int stage_kernel(struct importing *importing, struct err *err)
{
        scoped_free char *path = xasprintf("%s/" KERNEL_VMLINUX, importing->tree);
        scoped_free char *data = NULL;
        scoped_text struct text vmlinux = { 0 };
        struct kernel_elf elf = { 0 };
        size_t n;
        int r = report(importing, "unpack", err);

        if (r == 0)
                r = file_read(importing->kernel_path, KERNEL_FILE_MAX, &data, &n, err);
        if (r == 0)
                r = kernel_image_unwrap((const uint8_t *) data, n, &vmlinux, &elf, importing->version, err);
        if (r < 0)
                return r;
        importing->has_pvh = elf.has_pvh;
        kernel_sha256(vmlinux.s, vmlinux.n, importing->sha256);
        return write_new(path, vmlinux.s, vmlinux.n, err);
}

/* Kept beside the initramfs, so that it can be made again for another agent. */
static int stage_modules(struct importing *importing, struct err *err)
{
        scoped_free char *folder = xasprintf("%s/" KERNEL_MODULES, importing->tree);
        int r = report(importing, "modules", err);

        if (r < 0 || !importing->modules_folder)
                return r;
        r = kernel_modules_collect(importing->modules_folder, kernel_module_needs, kernel_n_module_needs,
                                   &importing->import->progress, &importing->modules, err);
        if (r < 0)
                return err_wrap(err, "kernel %s", importing->version);
        if (mkdir(folder, 0755) < 0)
                return err_errno(err, "kernel.import", "create '%s'", folder);
        for (unsigned i = 0; r == 0 && i < importing->modules.n; i++) {
                const struct kernel_module *module = &importing->modules.modules[i];
                scoped_free char *name = kernel_initramfs_module_name(i, module->name);
                scoped_free char *path = xasprintf("%s/%s", folder, name);

                r = write_new(path, module->data, module->n, err);
        }
        return r;
}

static int stage_initramfs(struct importing *importing, struct err *err)
{
        scoped_free char *path = xasprintf("%s/" KERNEL_INITRAMFS, importing->tree);
        int r = report(importing, "publish", err);

        if (r == 0)
                r = kernel_agent_describe(importing->import->agent_path, &importing->agent, err);
        return r < 0 ? r
                     : kernel_initramfs_write(path, importing->import->agent_path, &importing->modules, err);
}

static int stage_manifest(struct importing *importing, struct err *err)
{
        const struct kernel_import *import = importing->import;
        scoped_free char *source =
                importing->source ? xstrdup(importing->source) : xasprintf("file:%s", import->from);
        scoped_json_value json_t *manifest = NULL;
        scoped_json_value json_t *modules = json_array();
        char imported_at[CLOCK_TEXT_MAX];

        clock_format(clock_real_ns(), imported_at);
        for (unsigned i = 0; i < importing->modules.n; i++)
                (void) json_array_append_new(modules, json_string(importing->modules.modules[i].name));
        manifest = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:O, s:O}", "name", import->name,
                             "distro", import->distro ? import->distro : "", "arch", "x86_64",
                             "kernel_version", importing->version, "sha256", importing->sha256, "source",
                             source, "imported_at", imported_at, "pvh", (int) importing->has_pvh, "modules",
                             modules, "agent", importing->agent);
        if (!manifest)
                return err_set(err, EINVAL, "kernel.import", "'%s' is not valid UTF-8", source);
        return kernel_manifest_write(importing->tree, manifest, err);
}

static int stage_publish(struct importing *importing, struct err *err)
{
        int r = report(importing, "publish", err);

        return r < 0 ? r
                     : kernel_staging_publish(&importing->staging, TREE, importing->import->name,
                                              importing->import->replace, err);
}

static int begin(struct importing *importing, struct err *err)
{
        const struct kernel_import *import = importing->import;
        scoped_free char *existing = xasprintf("%s/%s", import->kernels_folder, import->name);
        int r;

        if (!kernel_name_is_valid(import->name))
                return err_set(err, EINVAL, "kernel.import",
                               "'%.100s' is not a kernel name: letters, digits and . - _, at most 64, no "
                               "leading dot",
                               import->name);
        /* The rename at the end decides; this only spares the work. */
        if (!import->replace && access(existing, F_OK) == 0)
                return err_set(err, EEXIST, "kernel.import", "kernel '%s' is already pulled", import->name);
        r = kernel_staging_begin(import->kernels_folder, &importing->staging, err);
        if (r < 0)
                return r;
        importing->tree = xasprintf("%s/" TREE, importing->staging.path);
        return mkdir(importing->tree, 0755) < 0
                       ? err_errno(err, "kernel.import", "create '%s'", importing->tree)
                       : 0;
}

int kernel_import_from(const struct kernel_import *import, const char *source, struct kernel *ret_kernel,
                       struct err *err)
{
        static int (*const stages[])(struct importing * importing, struct err * err) = {
                stage_unpack, stage_kernel, stage_modules, stage_initramfs, stage_manifest, stage_publish,
        };
        scoped_importing struct importing importing = { .import = import,
                                                        .source = source,
                                                        .staging = KERNEL_STAGING_NONE };
        int r = begin(&importing, err);

        for (size_t i = 0; r == 0 && i < sizeof(stages) / sizeof(stages[0]); i++) {
                r = stages[i](&importing, err);
                if (r < 0 && r != -EEXIST && r != -ECANCELED)
                        r = err_wrap(err, "import kernel '%s' from '%s'", import->name, import->from);
        }
        return r < 0 ? r : kernel_read(import->kernels_folder, import->name, ret_kernel, err);
}

int kernel_import(const struct kernel_import *import, struct kernel *ret_kernel, struct err *err)
{
        return kernel_import_from(import, NULL, ret_kernel, err);
}
