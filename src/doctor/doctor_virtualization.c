/* Can guests run on the processor itself, or are they translated. The same answer decides between the VMMs. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/scoped.h"
#include "doctor/doctor_checks.h"

DOCTOR_CHECK(doctor_virtualization)
{
        scoped_close int kvm = open(context->kvm, O_RDWR | O_CLOEXEC);

        if (kvm >= 0) {
                doctor_pass(result, "KVM is usable (%s)", context->kvm);
                return;
        }
        if (errno == EACCES || errno == EPERM)
                doctor_warn(
                        result,
                        "%s may not be opened by this user; add it to the group kvm ('sudo usermod -aG kvm "
                        "<user>'), then log in again",
                        context->kvm);
        else
                doctor_warn(result,
                            "%s: %s; turn virtualization on in the firmware, or nested virtualization in the "
                            "host of this machine",
                            context->kvm, strerror(errno));
        doctor_warn(result, "without KVM guests run on QEMU's translator (TCG): everything works, about ten "
                            "times slower");
}
