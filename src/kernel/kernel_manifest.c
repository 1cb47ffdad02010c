#include "kernel/kernel_manifest.h"

#include <errno.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

#define MANIFEST_MAX ((size_t) 64 << 10)

int kernel_manifest_read(const char *kernels_folder, const char *name, json_t **ret_manifest, struct err *err)
{
        scoped_free char *path = xasprintf("%s/%s/" KERNEL_MANIFEST, kernels_folder, name);
        int r;

        if (!kernel_name_is_valid(name))
                return err_set(err, EINVAL, "kernel.read", "'%.100s' is not a kernel name", name);
        r = json_read_file(path, MANIFEST_MAX, ret_manifest, err);
        if (r == -ENOENT) {
                *err = (struct err){ 0 };
                return err_set(
                        err, ENOENT, "kernel.read",
                        "no kernel named '%s': see 'banger kernel list', or get it with 'banger kernel pull'",
                        name);
        }
        if (r < 0)
                return r;
        if (json_is_object(*ret_manifest))
                return 0;
        json_decref(take_ptr(*ret_manifest));
        return err_set(err, EBADMSG, "kernel.read",
                       "'%s' is not a manifest: delete kernel '%s' and get it again", path, name);
}

int kernel_manifest_write(const char *kernel_folder, const json_t *manifest, struct err *err)
{
        scoped_free char *path = xasprintf("%s/" KERNEL_MANIFEST, kernel_folder);

        return json_write_file(path, manifest, 0644, err);
}
