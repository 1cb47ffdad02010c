/* The initramfs for another agent. Apart from the store, because it writes archives, which starting a VM does not. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "kernel/kernel_initramfs.h"
#include "kernel/kernel_manifest.h"
#include "kernel/kernel_staging.h"
#include "kernel/kernel_store.h"

#define MODULE_MAX    ((size_t) 64 << 20)
#define N_MODULES_MAX 99

static int read_modules(const char *folder, const json_t *names, struct kernel_modules *modules,
                        struct err *err)
{
        size_t n = json_array_size(names);

        if (n > N_MODULES_MAX)
                return err_set(err, EBADMSG, "kernel.refresh", "the manifest in '%s' names too many modules",
                               folder);
        modules->modules = xcalloc(n + 1, sizeof(*modules->modules));
        for (size_t i = 0; i < n; i++) {
                const char *name = json_string_value(json_array_get(names, i));
                struct kernel_module *module = &modules->modules[i];
                scoped_free char *file = NULL;
                scoped_free char *path = NULL;
                int r;

                if (!name || strchr(name, '/'))
                        return err_set(err, EBADMSG, "kernel.refresh", "the manifest in '%s' is damaged",
                                       folder);
                file = kernel_initramfs_module_name((unsigned) i, name);
                path = xasprintf("%s/" KERNEL_MODULES "/%s", folder, file);
                r = file_read(path, MODULE_MAX, &module->data, &module->n, err);
                if (r < 0)
                        return r;
                module->name = xstrdup(name);
                modules->n++;
        }
        return 0;
}

/* Written in the staging folder, then renamed over the old one: a VM that starts meanwhile has one of the two. */
static int remake_initramfs(const char *kernels_folder, const char *folder, const char *agent_path,
                            const json_t *manifest, struct err *err)
{
        scoped_kernel_staging struct kernel_staging staging = KERNEL_STAGING_NONE;
        scoped_kernel_modules struct kernel_modules modules = { 0 };
        scoped_free char *target = xasprintf("%s/" KERNEL_INITRAMFS, folder);
        scoped_free char *made = NULL;
        int r = read_modules(folder, json_object_get(manifest, "modules"), &modules, err);

        if (r == 0)
                r = kernel_staging_begin(kernels_folder, &staging, err);
        if (r < 0)
                return r;
        made = xasprintf("%s/" KERNEL_INITRAMFS, staging.path);
        r = kernel_initramfs_write(made, agent_path, &modules, err);
        if (r == 0 && rename(made, target) < 0)
                r = err_errno(err, "kernel.refresh", "replace '%s'", target);
        return r;
}

int kernel_refresh_agent(const char *kernels_folder, const char *name, const char *agent_path,
                         struct err *err)
{
        scoped_free char *folder = xasprintf("%s/%s", kernels_folder, name);
        scoped_json_value json_t *manifest = NULL;
        scoped_json_value json_t *agent = NULL;
        const json_t *known;
        struct stat st;
        int r = kernel_manifest_read(kernels_folder, name, &manifest, err);

        if (r < 0)
                return r;
        known = json_object_get(manifest, "agent");
        if (stat(agent_path, &st) < 0)
                return err_errno(err, "kernel.refresh", "the guest's agent '%s'", agent_path);
        if (kernel_agent_is_same(known, &st))
                return 0;
        r = kernel_agent_describe(agent_path, &agent, err);
        if (r == 0 && strcmp(json_text(agent, "sha256"), json_text(known, "sha256")) != 0)
                r = remake_initramfs(kernels_folder, folder, agent_path, manifest, err);
        if (r < 0)
                return r;
        /* Last: a kill before this line only makes the next call do the same again. */
        (void) json_object_set(manifest, "agent", agent);
        return kernel_manifest_write(folder, manifest, err);
}
