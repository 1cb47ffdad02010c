/* banger-qemu and the QEMU it drives: what runs guests wherever Firecracker cannot. */
#include <stdlib.h>
#include <string.h>

#include "base/scoped.h"
#include "base/text.h"
#include "doctor/doctor_checks.h"

#define QEMU "qemu-system-x86_64"

static bool is_needed(const struct doctor_context *context)
{
        if (context->vmm == VMM_CHOICE_AUTO) {
                scoped_free char *firecracker = vmm_program_find(
                        context->firecracker_path ? context->firecracker_path : "firecracker");

                return !firecracker || vmm_kvm_check() < 0;
        }
        return context->vmm == VMM_CHOICE_QEMU;
}

static void tell_missing(struct doctor_result *result, bool needed, const char *what, const char *way_out)
{
        if (needed)
                doctor_fail(result, "no program '%s'; %s", what, way_out);
        else
                doctor_pass(result, "no program '%s', and Firecracker is used (%s)", what, way_out);
}

/* "QEMU emulator version 7.2.22 (Debian ...)" is the first line. */
static void tell_qemu(const struct doctor_context *context, struct doctor_result *result, const char *path)
{
        const char *const argv[] = { path, "--version", NULL };
        scoped_free char *output = NULL;
        struct err err = { 0 };

        if (context->runner->run(argv, &output, &err) < 0)
                doctor_fail(result, "%s", err.message);
        else
                doctor_pass(result, "%.*s at %s", (int) strcspn(output, "\n"), output, path);
}

DOCTOR_CHECK(doctor_qemu)
{
        bool needed = is_needed(context);
        scoped_free char *hint =
                doctor_install_hint(doctor_distribution_find(context->os_release), DOCTOR_PACKAGE_QEMU);
        scoped_free char *ours =
                context->qemu_vmm_path ? vmm_program_find(context->qemu_vmm_path) : vmm_qemu_find();
        scoped_free char *qemu = vmm_program_find(QEMU);

        if (ours)
                doctor_pass(result, "%s", ours);
        else
                tell_missing(result, needed, context->qemu_vmm_path ? context->qemu_vmm_path : "banger-qemu",
                             "install banger again");
        if (qemu)
                tell_qemu(context, result, qemu);
        else
                tell_missing(result, needed, QEMU, hint);
}
