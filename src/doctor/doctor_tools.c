/* Programs of the host that a command of ours starts. */
#include <stdlib.h>

#include "base/scoped.h"
#include "doctor/doctor_checks.h"

static const struct {
        const char *program, *purpose;
        enum doctor_package package;
        bool required; /* by vm run, and not only by one command */
} tools[] = {
        {"git",         "vm run and the workspace commands", DOCTOR_PACKAGE_GIT,        true },
        { "tar",        "vm cp",                             DOCTOR_PACKAGE_TAR,        false},
        { "ssh",        "vm ssh",                            DOCTOR_PACKAGE_SSH,        false},
        { "mmdebstrap", "image pull from the catalog",       DOCTOR_PACKAGE_MMDEBSTRAP, false},
};

DOCTOR_CHECK(doctor_tools)
{
        enum doctor_distribution distribution = doctor_distribution_find(context->os_release);

        for (size_t i = 0; i < sizeof(tools) / sizeof(tools[0]); i++) {
                scoped_free char *path = vmm_program_find(tools[i].program);
                scoped_free char *hint = doctor_install_hint(distribution, tools[i].package);

                if (path)
                        doctor_pass(result, "%s", path);
                else if (tools[i].required)
                        doctor_fail(result, "no %s, needed by %s: %s", tools[i].program, tools[i].purpose,
                                    hint);
                else
                        doctor_warn(result, "no %s, needed by %s: %s", tools[i].program, tools[i].purpose,
                                    hint);
        }
}
