/* A VM is held to its memory and processors by cgroups where the daemon was given some to make. */
#include "base/cgroup.h"
#include "base/scoped.h"
#include "doctor/doctor_checks.h"

DOCTOR_CHECK(doctor_cgroup)
{
        scoped_free char *root = NULL, *controllers = NULL;
        struct err err = { 0 };

        (void) context;
        if (cgroup_claimed(&root, &err) < 0) {
                doctor_pass(
                        result,
                        "VMs run without limits on the host's side (%s); where cgroup v2 is, 'systemd-run "
                        "--user -p Delegate=yes bangerd' gives them",
                        err.message);
                return;
        }
        controllers = cgroup_controllers(root);
        if (controllers[0] != '\0')
                doctor_pass(result, "VMs are held to their size in '%s': %s", root, controllers);
        else
                doctor_warn(result, "none of cpu, memory and pids is delegated to '%s'", root);
}
