/*
 * --config-file: a document in the shape of GET /vm/config. It is taken apart into the requests it stands for, so that
 * a file and an API client meet the same checks.
 */
#pragma once

#include "base/err.h"
#include "vmm/qemu/vm_instance.h"

/* Configures and starts. EINVAL names the section. */
int config_file_apply(struct vm_instance *instance, const char *path, struct err *err);
