/*
 * Does KVM run guests here? Opening /dev/kvm proves nothing: there are hosts whose /dev/kvm creates a VM and then hangs
 * or aborts it. So a guest of a hundred bytes is booted the way real ones are, through QEMU and the PVH entry, into
 * 64-bit mode, and must say so within a second.
 */
#pragma once

#include <stdbool.h>

#define KVM_PROBE_TIMEOUT_MS 1000

/* qemu: the program. The verdict is kept for the life of the process. */
bool kvm_probe(const char *qemu);

/* The same guest with any accelerator ("tcg"), not remembered: for tests. */
bool kvm_probe_with(const char *qemu, const char *accel, unsigned timeout_ms);
