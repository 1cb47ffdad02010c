/* Our nouns as the JSON objects that api/ describes. The caller owns them. */
#pragma once

#include <jansson.h>

#include "daemon/daemon.h"
#include "image/image_store.h"
#include "kernel/kernel_store.h"

/* "paused" for a running VM that stands still, else the name of its state. */
const char *daemon_vm_state(const struct daemon *daemon, const struct store_vm *vm);
/* Appends its object as text, indented by two. */
void daemon_vm_text(const struct daemon *daemon, const struct store_vm *vm, struct text *object);
json_t *daemon_vm_object(const struct daemon *daemon, const struct store_vm *vm);
/* Appends what a table shows of it, as vm.rows has it. */
void daemon_vm_row(const struct daemon *daemon, const struct store_vm *vm, struct text *row);
json_t *daemon_image_object(const struct image *image);
json_t *daemon_kernel_object(const struct kernel *kernel);
