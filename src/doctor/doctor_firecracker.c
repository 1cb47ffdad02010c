/* Firecracker: needed only where the configuration asks for it; used by itself where KVM is (S-286 to S-289). */
#include <stdlib.h>

#include "base/scoped.h"
#include "doctor/doctor_checks.h"

#define V(v) (v).major, (v).minor, (v).patch

static void tell_missing(const struct doctor_context *context, struct doctor_result *result, const char *name)
{
        const char *hint = doctor_firecracker_hint(doctor_distribution_find(context->os_release));

        if (context->vmm == VMM_CHOICE_FIRECRACKER) {
                doctor_fail(result, "no program '%s', and the configuration says vmm = \"firecracker\"",
                            name);
                doctor_fail(result, "install it: %s", hint);
        } else if (vmm_kvm_check() == 0) {
                doctor_warn(result,
                            "no program '%s'; this host has KVM, where it starts guests faster than QEMU",
                            name);
                doctor_warn(result, "install it: %s", hint);
        } else {
                doctor_pass(result, "not installed; without KVM it could not run here (%s)", hint);
        }
}

static void tell_version(struct doctor_result *result, const char *path, const struct vmm_version *version)
{
        static const char form[] = "v%u.%u.%u at %s (%s; min v%u.%u.%u, tested v%u.%u.%u)";

        switch (vmm_version_support(version)) {
        case VMM_SUPPORT_TOO_OLD:
                doctor_fail(result, form, V(*version), path, "too old", V(vmm_version_minimum),
                            V(vmm_version_tested));
                break;
        case VMM_SUPPORT_TESTED:
                doctor_pass(result, form, V(*version), path, "within tested range", V(vmm_version_minimum),
                            V(vmm_version_tested));
                break;
        case VMM_SUPPORT_PROMISED:
                doctor_pass(result, form, V(*version), path, "within Firecracker's promise of compatibility",
                            V(vmm_version_minimum), V(vmm_version_tested));
                break;
        case VMM_SUPPORT_UNKNOWN:
        case VMM_N_SUPPORTS:
                doctor_warn(result, form, V(*version), path, "newer than tested", V(vmm_version_minimum),
                            V(vmm_version_tested));
                break;
        }
}

DOCTOR_CHECK(doctor_firecracker)
{
        const char *name = context->firecracker_path ? context->firecracker_path : "firecracker";
        scoped_free char *path = vmm_program_find(name);
        struct vmm_version version;
        struct err err = { 0 };

        if (context->vmm == VMM_CHOICE_QEMU)
                doctor_pass(result, "not used: the configuration says vmm = \"qemu\"");
        else if (!path)
                tell_missing(context, result, name);
        else if (vmm_version_query(context->runner, path, &version, &err) < 0)
                doctor_fail(result, "%s", err.message);
        else
                tell_version(result, path, &version);
}
