#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "doctor/doctor_checks.h"

/* The helper opens it as root, so that it exists is all that matters here. */
DOCTOR_CHECK(doctor_tun)
{
        struct stat st;

        if (stat(context->tun, &st) < 0)
                doctor_fail(
                        result,
                        "%s: %s; load the module with 'sudo modprobe tun', in a container pass the device "
                        "in (--device %s)",
                        context->tun, strerror(errno), context->tun);
        else if (!S_ISCHR(st.st_mode))
                doctor_fail(result, "%s is no device", context->tun);
        else
                doctor_pass(result, "%s", context->tun);
}
