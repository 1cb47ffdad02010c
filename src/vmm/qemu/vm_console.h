/*
 * The guest's serial console on its way to a file. A guest may print for ever; the file may not grow for ever: at
 * VM_CONSOLE_MAX bytes it is cut to its last VM_CONSOLE_KEEP (or to nothing where it cannot be read back). What is not a
 * regular file (a pipe, a terminal) is written without waiting, and loses what does not fit.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VM_CONSOLE_MAX  (8 * 1024 * 1024)
#define VM_CONSOLE_KEEP (1024 * 1024)

struct vm_console {
        int fd;       /* borrowed */
        bool is_file; /* bounded by cutting */
        uint64_t size;
};

void vm_console_init(struct vm_console *console, int fd);
/* Never fails: a full disk or a slow reader costs output, not the VM. */
void vm_console_write(struct vm_console *console, const char *bytes, size_t n);
