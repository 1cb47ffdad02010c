#include "vm/vm_spec.h"

#include <stddef.h>
#include <string.h>

#include "base/layout.h"
#include "base/text.h"

char *vm_path_rootfs(const struct vm_spec *spec)
{
        return layout_join(spec->folder, "rootfs.ext4", NULL);
}

char *vm_path_work_disk(const struct vm_spec *spec)
{
        return layout_join(spec->folder, "root.ext4", NULL);
}

char *vm_path_image_config(const char *folder)
{
        return layout_join(folder, "image.json", NULL);
}

char *vm_path_console_log(const char *folder)
{
        return layout_join(folder, "console.log", NULL);
}

char *vm_path_vmm_log(const char *folder)
{
        return layout_join(folder, "vmm.log", NULL);
}

char *vm_path_gone(const char *folder)
{
        const char *slash = strrchr(folder, '/');
        const char *name = slash ? slash + 1 : folder;

        return xasprintf("%.*s" VM_GONE_PREFIX "%s", (int) (name - folder), folder, name);
}

char *vm_path_ledger(const char *folder)
{
        return layout_join(folder, "handles.json", NULL);
}

char *vm_path_api(const char *runtime)
{
        return layout_join(runtime, "api.sock", NULL);
}

char *vm_path_vsock(const char *runtime)
{
        return layout_join(runtime, "vsock.sock", NULL);
}
