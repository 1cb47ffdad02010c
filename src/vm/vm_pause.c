#include "vm/vm_pause.h"

#include "base/log.h"
#include "base/scoped.h"
#include "guest/client/guest_clock.h"
#include "vm/vm_ledger.h"
#include "vmm/client/vmm_client.h"

#define CLOCK_MS 3000

static int write_paused(const struct vm_spec *spec, bool paused, struct err *err)
{
        struct vm_ledger ledger = { 0 };
        int r = vm_ledger_read(spec->folder, &ledger, err);

        if (r < 0)
                return r;
        ledger.paused = paused;
        return vm_ledger_write(spec->folder, &ledger, err);
}

int vm_pause(const struct vm_spec *spec, struct err *err)
{
        scoped_free char *api = vm_path_api(spec->runtime);
        struct err undo = { 0 };
        int r = write_paused(spec, true, err);

        if (r < 0)
                return r;
        r = vmm_pause(api, err);
        if (r < 0)
                (void) write_paused(spec, false, &undo);
        err_join(err, &undo);
        return r;
}

int vm_resume(const struct vm_spec *spec, struct err *err)
{
        scoped_free char *api = vm_path_api(spec->runtime), *vsock = vm_path_vsock(spec->runtime);
        struct err silent = { 0 };
        int r = vmm_resume(api, err);

        if (r == 0)
                r = write_paused(spec, false, err);
        if (r == 0 && guest_clock_sync(vsock, CLOCK_MS, &silent) < 0)
                log_warn("the clock of a resumed vm could not be set", "{s:s, s:s}", "vm_id", spec->id,
                         "error", silent.message);
        return r;
}
