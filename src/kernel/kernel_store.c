#include "kernel/kernel_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/text.h"
#include "kernel/kernel_manifest.h"
#include "kernel/kernel_staging.h"

#define NAME_MAX_BYTES 64

void kernel_done(struct kernel *kernel)
{
        free(kernel->name);
        free(kernel->version);
        free(kernel->distro);
        free(kernel->source);
        free(kernel->sha256);
        free(kernel->vmlinux_path);
        free(kernel->initramfs_path);
        free(kernel->imported_at);
        *kernel = (struct kernel){ 0 };
}

bool kernel_name_is_valid(const char *name)
{
        size_t n = name ? strlen(name) : 0;

        return n > 0 && n <= NAME_MAX_BYTES && name[0] != '.' &&
               strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

/* What the files occupy, holes not counted. */
static uint64_t add_bytes(int folder_fd, const char *name, uint64_t bytes)
{
        struct stat st;

        return fstatat(folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ? bytes
                                                                      : bytes + (uint64_t) st.st_blocks * 512;
}

static uint64_t count_bytes(const char *kernels_folder, const char *name)
{
        static const char *const subfolders[] = { ".", KERNEL_MODULES };
        uint64_t bytes = 0;

        for (size_t i = 0; i < 2; i++) {
                scoped_free char *path = xasprintf("%s/%s/%s", kernels_folder, name, subfolders[i]);
                DIR *folder = opendir(path);
                const struct dirent *entry;

                while (folder && (entry = readdir(folder)))
                        if (entry->d_type == DT_REG)
                                bytes = add_bytes(dirfd(folder), entry->d_name, bytes);
                if (folder)
                        (void) closedir(folder);
        }
        return bytes;
}

int kernel_read(const char *kernels_folder, const char *name, struct kernel *ret_kernel, struct err *err)
{
        scoped_json_value json_t *manifest = NULL;
        scoped_free char *folder = NULL;
        int r = kernel_manifest_read(kernels_folder, name, &manifest, err);

        if (r < 0)
                return r;
        folder = realpath(kernels_folder, NULL);
        if (!folder)
                return err_errno(err, "kernel.read", "find '%s'", kernels_folder);
        *ret_kernel = (struct kernel){
                .name = xstrdup(name),
                .version = xstrdup(json_text(manifest, "kernel_version")),
                .distro = xstrdup(json_text(manifest, "distro")),
                .source = xstrdup(json_text(manifest, "source")),
                .sha256 = xstrdup(json_text(manifest, "sha256")),
                .vmlinux_path = xasprintf("%s/%s/" KERNEL_VMLINUX, folder, name),
                .initramfs_path = xasprintf("%s/%s/" KERNEL_INITRAMFS, folder, name),
                .imported_at = xstrdup(json_text(manifest, "imported_at")),
                .bytes = count_bytes(folder, name),
                .n_modules = (unsigned) json_array_size(json_object_get(manifest, "modules")),
        };
        return 0;
}

static int keep_kernel_names(const struct dirent *entry)
{
        return kernel_name_is_valid(entry->d_name) &&
               (entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN);
}

static int compare_bytes(const struct dirent **a, const struct dirent **b)
{
        return strcmp((*a)->d_name, (*b)->d_name);
}

int kernel_list(const char *kernels_folder, struct kernel **ret_kernels, unsigned *ret_n, struct err *err)
{
        struct dirent **entries = NULL;
        int n_entries = scandir(kernels_folder, &entries, keep_kernel_names, compare_bytes);
        struct kernel *kernels;
        unsigned n = 0;
        int r = 0;

        if (n_entries < 0 && errno != ENOENT)
                return err_errno(err, "kernel.list", "list '%s'", kernels_folder);
        n_entries = n_entries < 0 ? 0 : n_entries;
        kernels = xcalloc((size_t) n_entries + 1, sizeof(*kernels));
        for (int i = 0; i < n_entries; i++) {
                if (r == 0)
                        r = kernel_read(kernels_folder, entries[i]->d_name, &kernels[n], err);
                n += r == 0;
                if (r == -ENOENT) { /* deleted meanwhile, or somebody else's folder */
                        *err = (struct err){ 0 };
                        r = 0;
                }
                free(entries[i]);
        }
        free(entries);
        if (r < 0) {
                while (n > 0)
                        kernel_done(&kernels[--n]);
                free(kernels);
                return r;
        }
        *ret_kernels = kernels;
        *ret_n = n;
        return 0;
}

int kernel_delete(const char *kernels_folder, const char *name, struct err *err)
{
        scoped_kernel_staging struct kernel_staging staging = KERNEL_STAGING_NONE;
        scoped_json_value json_t *manifest = NULL;
        scoped_free char *source = xasprintf("%s/%s", kernels_folder, name);
        scoped_free char *target = NULL;
        int r = kernel_manifest_read(kernels_folder, name, &manifest, err);

        if (r == -EBADMSG) /* what cannot be read may still be deleted */
                *err = (struct err){ 0 };
        else if (r < 0)
                return r;
        /* Gone in one rename, and only then taken apart: nobody ever finds half a kernel. */
        r = kernel_staging_begin(kernels_folder, &staging, err);
        if (r < 0)
                return r;
        target = xasprintf("%s/deleted", staging.path);
        if (rename(source, target) < 0)
                return err_errno(err, "kernel.delete", "remove kernel '%s'", name);
        return 0;
}

bool kernel_agent_is_same(const json_t *agent, const struct stat *st)
{
        return json_u64(agent, "size", 0) == (uint64_t) st->st_size &&
               json_u64(agent, "inode", 0) == st->st_ino &&
               json_u64(agent, "mtime_ns", 0) ==
                       (uint64_t) st->st_mtim.tv_sec * 1000000000 + (uint64_t) st->st_mtim.tv_nsec;
}

bool kernel_agent_is_current(const char *kernels_folder, const char *name, const char *agent_path)
{
        scoped_json_value json_t *manifest = NULL;
        struct err err = { 0 };
        struct stat st;

        return kernel_manifest_read(kernels_folder, name, &manifest, &err) == 0 &&
               stat(agent_path, &st) == 0 && kernel_agent_is_same(json_object_get(manifest, "agent"), &st);
}

unsigned kernel_sweep(const char *kernels_folder, const char *cache_folder)
{
        return kernel_staging_sweep(kernels_folder) + kernel_staging_sweep(cache_folder);
}
