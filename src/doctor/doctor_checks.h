/* The checks, and what more than one of them needs. Inside of doctor/. */
#pragma once

#include "doctor/doctor.h"

#define DOCTOR_CHECK(name) void name(const struct doctor_context *context, struct doctor_result *result)

DOCTOR_CHECK(doctor_version);
DOCTOR_CHECK(doctor_install);
DOCTOR_CHECK(doctor_architecture);
DOCTOR_CHECK(doctor_virtualization);
DOCTOR_CHECK(doctor_firecracker);
DOCTOR_CHECK(doctor_qemu);
DOCTOR_CHECK(doctor_helper);
DOCTOR_CHECK(doctor_tun);
DOCTOR_CHECK(doctor_folders);
DOCTOR_CHECK(doctor_store);
DOCTOR_CHECK(doctor_disk);
DOCTOR_CHECK(doctor_image);
DOCTOR_CHECK(doctor_kernel);
DOCTOR_CHECK(doctor_tools);
DOCTOR_CHECK(doctor_namespaces);
DOCTOR_CHECK(doctor_cgroup);

enum doctor_distribution {
        DOCTOR_DEBIAN, /* and Ubuntu, Mint, ... */
        DOCTOR_FEDORA, /* and its kin */
        DOCTOR_ARCH,
        DOCTOR_NIXOS,
        DOCTOR_OTHER, /* also when nothing says what it is: a wrong guess sends people astray (S-289) */
        DOCTOR_N_DISTRIBUTIONS
};
/* By ID and ID_LIKE of os-release(5). */
enum doctor_distribution doctor_distribution_find(const char *os_release);

enum doctor_package {
        DOCTOR_PACKAGE_QEMU,
        DOCTOR_PACKAGE_GIT,
        DOCTOR_PACKAGE_TAR,
        DOCTOR_PACKAGE_SSH,
        DOCTOR_PACKAGE_MMDEBSTRAP,
        DOCTOR_N_PACKAGES
};
/* "sudo apt-get install qemu-system-x86", owned by the caller; in words where the distribution is not known. */
char *doctor_install_hint(enum doctor_distribution distribution, enum doctor_package package);
/* The same for Firecracker, which some distributions do not package (S-288, S-289). */
const char *doctor_firecracker_hint(enum doctor_distribution distribution);
