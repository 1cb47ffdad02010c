/* bangerd-root, which makes taps, the bridge and NAT. */
#include <errno.h>
#include <stdlib.h>

#include "base/scoped.h"
#include "doctor/doctor_checks.h"
#include "privileged/client/priv_client.h"

DOCTOR_CHECK(doctor_helper)
{
        const char *socket = context->layout->helper_socket;
        scoped_free char *version = NULL;
        struct err err = { 0 };
        int r = priv_ping(socket, &version, &err);

        if (r == 0)
                doctor_pass(result, "%s answers (version %s)", socket, version ? version : "unknown");
        else if (r == -ENOTCONN)
                doctor_fail(result, "no helper listens at %s: machines get no network; %s", socket,
                            context->layout->is_installed
                                    ? "run 'sudo banger system restart'"
                                    : "it is started with the first command that needs it, by "
                                      "root or with sudo");
        else
                doctor_fail(result, "%s", err.message);
}
