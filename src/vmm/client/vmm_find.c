/* Which VMM this host can run, and where it is. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/scoped.h"
#include "base/text.h"
#include "base/version.h"
#include "vmm/client/vmm_client.h"

static const char *const kind_names[] = { "firecracker", "qemu" };
static_assert(sizeof(kind_names) / sizeof(kind_names[0]) == VMM_N_KINDS, "a name for every kind");
static const char *const choice_names[] = { "auto", "firecracker", "qemu" };
static_assert(sizeof(choice_names) / sizeof(choice_names[0]) == VMM_N_CHOICES, "a name for every choice");

const char *vmm_kind_name(enum vmm_kind kind)
{
        return kind < VMM_N_KINDS ? kind_names[kind] : "unknown";
}

int vmm_choice_from_name(const char *name, enum vmm_choice *ret_choice)
{
        for (unsigned i = 0; i < VMM_N_CHOICES; i++)
                if (strcmp(name, choice_names[i]) == 0) {
                        *ret_choice = (enum vmm_choice) i;
                        return 0;
                }
        return -EINVAL;
}

void vmm_done(struct vmm *vmm)
{
        free(vmm->path);
        *vmm = (struct vmm){ 0 };
}

int vmm_kvm_check(void)
{
        scoped_close int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

        return kvm < 0 ? -errno : 0;
}

char *vmm_program_find(const char *name)
{
        const char *folders = getenv("PATH");

        if (strchr(name, '/'))
                return access(name, X_OK) == 0 ? xstrdup(name) : NULL;
        while (folders && *folders != '\0') {
                size_t n = strcspn(folders, ":");
                scoped_free char *path = xasprintf("%.*s/%s", (int) n, folders, name);

                if (n > 0 && access(path, X_OK) == 0)
                        return take_ptr(path);
                folders += n + (folders[n] == ':');
        }
        return NULL;
}

char *vmm_qemu_find(void)
{
        char self[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

        if (n > 0) {
                scoped_free char *beside = NULL;
                const char *slash;

                self[n] = '\0';
                slash = strrchr(self, '/');
                beside = xasprintf("%.*s/banger-qemu", (int) (slash ? slash - self : 0), self);
                if (access(beside, X_OK) == 0)
                        return take_ptr(beside);
        }
        return vmm_program_find("banger-qemu");
}

/* Firecracker without regard to KVM. */
static int find_firecracker(const struct vmm_search *search, struct vmm *ret_vmm, struct err *err)
{
        const char *name = search->firecracker_path ? search->firecracker_path : "firecracker";
        struct vmm_version version;
        scoped_free char *path = vmm_program_find(name);
        int r;

        if (!path)
                return err_set(
                        err, ENOENT, "vmm.find",
                        "no program '%s'; install Firecracker ('banger doctor' says how) or choose qemu",
                        name);
        r = vmm_version_query(&vmm_runner_real, path, &version, err);
        if (r < 0)
                return r;
        if (vmm_version_support(&version) == VMM_SUPPORT_TOO_OLD)
                return err_set(err, EPROTO, "vmm.find", "'%s' is v%u.%u.%u; at least v%u.%u.%u is needed",
                               path, version.major, version.minor, version.patch, vmm_version_minimum.major,
                               vmm_version_minimum.minor, vmm_version_minimum.patch);
        *ret_vmm = (struct vmm){ .kind = VMM_FIRECRACKER, .path = take_ptr(path), .accelerated = true };
        (void) snprintf(ret_vmm->version, sizeof(ret_vmm->version), "%u.%u.%u", version.major, version.minor,
                        version.patch);
        return 0;
}

/* It belongs to this build, so its version is ours and it is not asked: that costs a start of a program. */
static int find_qemu(const struct vmm_search *search, struct vmm *ret_vmm, struct err *err)
{
        scoped_free char *path = search->qemu_path ? vmm_program_find(search->qemu_path) : vmm_qemu_find();

        if (!path)
                return err_set(err, ENOENT, "vmm.find", "no program '%s'; install banger again",
                               search->qemu_path ? search->qemu_path : "banger-qemu");
        *ret_vmm =
                (struct vmm){ .kind = VMM_QEMU, .path = take_ptr(path), .accelerated = vmm_kvm_check() == 0 };
        (void) snprintf(ret_vmm->version, sizeof(ret_vmm->version), "%s", BANGER_VERSION);
        return 0;
}

int vmm_find(const struct vmm_search *search, struct vmm *ret_vmm, struct err *err)
{
        int kvm = search->choice == VMM_CHOICE_QEMU ? 0 : vmm_kvm_check();

        if (search->choice == VMM_CHOICE_QEMU)
                return find_qemu(search, ret_vmm, err);
        if (search->choice == VMM_CHOICE_FIRECRACKER && kvm < 0)
                return err_set(err, -kvm, "vmm.find",
                               "Firecracker needs /dev/kvm, which cannot be opened: %s; "
                               "choose qemu or see 'banger doctor'",
                               strerror(-kvm));
        if (search->choice == VMM_CHOICE_FIRECRACKER)
                return find_firecracker(search, ret_vmm, err);
        if (kvm == 0) {
                struct err unusable = { 0 };

                if (find_firecracker(search, ret_vmm, &unusable) == 0)
                        return 0;
        }
        return find_qemu(search, ret_vmm, err);
}
