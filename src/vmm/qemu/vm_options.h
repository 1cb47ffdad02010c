/* The command line: Firecracker's, and three options of our own. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "vmm/qemu/vm_config.h"
#include "vmm/qemu/vm_instance.h"

struct vm_options {
        const char *api_sock, *id, *config_file, *metadata, *log_path, *level, *module, *metrics_path, *qemu,
                *accel_name;
        bool no_api, show_level, show_log_origin, no_seccomp, boot_timer, version, help;
        uint64_t payload_max, mmds_max; /* bytes */
        enum vm_accel accel;
        unsigned log_level;            /* enum vmm_log_level */
        const char *taps[VM_TAPS_MAX]; /* NAME=FD */
        size_t n_taps;
};

/* Strings borrow from argv. EINVAL: one sentence on what is wrong. */
int vm_options_parse(int argc, char **argv, struct vm_options *ret_options, struct err *err);
void vm_options_print_help(FILE *out);
