/* Work disks that were set to a larger size. */
#pragma once

#include "base/err.h"
#include "vm/vm_spec.h"

/*
 * Makes the file of the work disk as large as the spec says; one that is as large already stays. The file system in it is
 * its guest's, which grows it when it mounts it: the host reads no ext4 that a guest has written (ARCHITECTURE.md).
 */
int vm_grow_work_disk(const struct vm_spec *spec, struct err *err);
