/*
 * The VMM's own log in Firecracker's format: `2018-09-09T12:52:00.123456789 [ID:main(:LEVEL)(:FILE:LINE)] text`. Goes to
 * standard output until a path is set. A full FIFO loses lines, it never stops the VMM.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "vmm/contract/vmm_api.h"

void vm_log_init(const char *id); /* borrowed for ever */
/* Opens (creates) the file; replaces the one before. */
int vm_log_open(const char *path, struct err *err);
void vm_log_set(enum vmm_log_level level, bool show_level, bool show_origin);
void vm_log_apply(const struct vmm_logger *logger); /* only what was given */

#define vm_log(level, ...) vm_log_at((level), ERR_WHERE, __VA_ARGS__)
#define vm_log_info(...)   vm_log(VMM_LOG_INFO, __VA_ARGS__)
#define vm_log_warn(...)   vm_log(VMM_LOG_WARN, __VA_ARGS__)
#define vm_log_error(...)  vm_log(VMM_LOG_ERROR, __VA_ARGS__)
void vm_log_at(enum vmm_log_level level, const char *where, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
