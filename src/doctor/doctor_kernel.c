#include <errno.h>
#include <stdlib.h>

#include "base/scoped.h"
#include "doctor/doctor_checks.h"
#include "kernel/kernel_store.h"

DOCTOR_CHECK(doctor_kernel)
{
        scoped_free char *folder = layout_join(context->layout->state, "kernels", NULL);
        struct kernel kernel = { 0 };
        struct err err = { 0 };
        int r;

        if (!context->kernel) {
                doctor_pass(result, "the default image is not from the catalog; it names its kernel itself");
                return;
        }
        r = kernel_read(folder, context->kernel, &kernel, &err);
        if (r == 0)
                doctor_pass(result, "%s (%s)", kernel.name, kernel.version);
        else if (r == -ENOENT)
                doctor_warn(result,
                            "%s is not here yet: the first machine pulls it, or 'banger kernel pull %s'",
                            context->kernel, context->kernel);
        else
                doctor_fail(result, "%s", err.message);
        kernel_done(&kernel);
}
