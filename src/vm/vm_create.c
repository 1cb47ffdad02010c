#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/scoped.h"
#include "storage/storage_disk.h"
#include "vm/vm_ledger.h"
#include "vm/vm_start.h"

/* Images may be deleted or replaced; how this VM's programs are run goes with its disk. */
static int keep_image_config(const struct vm_spec *spec, struct err *err)
{
        scoped_free char *path = vm_path_image_config(spec->folder);

        return spec->image_config ? file_replace_unsynced(path, spec->image_config,
                                                          strlen(spec->image_config), 0600, err)
                                  : 0;
}

static int folder_begin(void *context, struct err *err)
{
        const struct vm_spec *spec = context;
        const struct vm_ledger ledger = { .phase = VM_PHASE_CREATING };
        int r = file_make_folders(spec->folder, 0700, err);

        if (r < 0)
                return r;
        r = vm_ledger_write(spec->folder, &ledger, err);
        return r < 0 ? r : keep_image_config(spec, err);
}

static void folder_undo(void *context, struct err *err)
{
        const struct vm_spec *spec = context;

        (void) file_remove_tree(spec->folder, err);
}

static int reserve_begin(void *context, struct err *err)
{
        const struct vm_spec *spec = context;
        scoped_free char *rootfs = vm_path_rootfs(spec);
        scoped_free char *work = vm_path_work_disk(spec);
        scoped_free char *seed = NULL;
        int r = disk_reserve(spec->rootfs_path, rootfs, err);

        if (r < 0)
                return r;
        if (!spec->work_seed_path)
                return disk_make_empty(spec->disk_bytes, work, err);
        r = disk_grow_seed(spec->work_seed_path, spec->disk_bytes, &seed, err);
        return r < 0 ? r : disk_reserve(seed, work, err);
}

int vm_fill_disks(const struct vm_spec *spec, struct err *err)
{
        scoped_free char *rootfs = vm_path_rootfs(spec);
        scoped_free char *work = vm_path_work_disk(spec);
        scoped_free char *seed = NULL;
        int r = disk_fill(spec->rootfs_path, rootfs, NULL, err);

        if (r < 0 || !spec->work_seed_path)
                return r;
        r = disk_grow_seed(spec->work_seed_path, spec->disk_bytes, &seed, err);
        return r < 0 ? r : disk_fill(seed, work, NULL, err);
}

int vm_create(const struct vm_spec *spec, const struct vm_step_watch *watch, struct err *err)
{
        static const struct vm_step steps[] = {
                {"folder",   folder_begin,  folder_undo, NULL},
                { "reserve", reserve_begin, NULL,        NULL}, /* in the folder, which goes */
        };

        return vm_steps_run("vm.create", steps, sizeof(steps) / sizeof(steps[0]), (void *) (uintptr_t) spec,
                            watch, err);
}
