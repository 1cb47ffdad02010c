#include "vm/vm_limit.h"

#include <errno.h>

#include "base/scoped.h"
#include "vmm/client/vmm_client.h"

int vm_set_limits(const struct vm_spec *spec, bool *ret_net_waits, struct err *err)
{
        const struct vmm_limit limit = { spec->disk_iops, spec->disk_bandwidth };
        scoped_free char *api = vm_path_api(spec->runtime);
        struct err refused = { 0 };
        int r = vmm_limit_drive(api, VM_ROOT_DRIVE, &limit, err);

        *ret_net_waits = false;
        if (r == 0)
                r = vmm_limit_drive(api, VM_WORK_DRIVE, &limit, err);
        if (r < 0)
                return r;
        r = vmm_limit_network(api, spec->net_bandwidth, &refused);
        if (r == -EIO) { /* one that has no limit and shall have none has it already */
                *ret_net_waits = spec->net_bandwidth > 0;
                return 0;
        }
        *err = r < 0 ? refused : *err;
        return r;
}
