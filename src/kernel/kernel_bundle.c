#include <errno.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/scoped.h"
#include "base/text.h"
#include "bundle/bundle.h"
#include "kernel/kernel_archive.h"
#include "kernel/kernel_manifest.h"
#include "kernel/kernel_staging.h"

/* What it says of itself; the kernel's own manifest is written anew. */
static int check_manifest(const char *folder, struct err *err)
{
        scoped_free char *path = xasprintf("%s/" KERNEL_MANIFEST, folder);
        scoped_json_value json_t *manifest = NULL;
        int r = json_read_file(path, (size_t) 64 << 10, &manifest, err);

        if (r == 0 && !json_is_object(manifest))
                r = err_set(err, EBADMSG, "kernel.bundle", "its manifest.json is not an object");
        return r < 0 ? err_wrap(err, "the bundle is refused") : 0;
}

static int unpack(const struct kernel_import *import, const struct kernel_catalog_entry *bundle,
                  const char *folder, struct err *err)
{
        static const struct bundle_entry entries[] = {
                {KERNEL_MANIFEST,     true },
                { KERNEL_VMLINUX,     true },
                { KERNEL_MODULES "/", false},
                { NULL,               false}
        };
        const struct bundle_source source = { .url = bundle->url,
                                              .sha256 = bundle->sha256,
                                              .size = bundle->size,
                                              .max = kernel_fetched_bytes_max };
        const struct bundle_progress progress = { .report = import->progress.report,
                                                  .userdata = import->progress.userdata };
        scoped_close int fd = FD_NONE;
        int r = bundle_fetch(&source, folder, &progress, &fd, err);

        if (r == 0)
                r = bundle_unpack(fd, folder, entries, kernel_fetched_bytes_max, &progress, err);
        return r < 0 ? r : check_manifest(folder, err);
}

int kernel_pull_bundle(const struct kernel_import *import, const struct kernel_catalog_entry *bundle,
                       struct kernel *ret_kernel, struct err *err)
{
        scoped_kernel_staging struct kernel_staging staging = KERNEL_STAGING_NONE;
        scoped_free char *existing = xasprintf("%s/%s", import->kernels_folder, import->name);
        scoped_free char *source = xasprintf("bundle:%s", bundle->url);
        scoped_free char *vmlinux = NULL, *modules = NULL;
        struct kernel_import from_files = *import;
        int r;

        if (!import->replace && access(existing, F_OK) == 0)
                return err_set(err, EEXIST, "kernel.pull", "kernel '%s' is already pulled", import->name);
        r = kernel_staging_begin(import->kernels_folder, &staging, err);
        if (r == 0)
                r = unpack(import, bundle, staging.path, err);
        if (r < 0)
                return r == -ECANCELED ? r : err_wrap(err, "kernel '%s'", import->name);
        vmlinux = xasprintf("%s/" KERNEL_VMLINUX, staging.path);
        modules = xasprintf("%s/" KERNEL_MODULES, staging.path);
        from_files.from = vmlinux;
        from_files.modules_folder = file_is_missing(modules) ? NULL : modules;
        from_files.distro = bundle->distro;
        return kernel_import_from(&from_files, source, ret_kernel, err);
}
