/* Letting a VM stand still and go on. */
#pragma once

#include "base/err.h"
#include "vm/vm_spec.h"

/* The ledger says so before it is so: a VM that is written down as paused and runs can always be resumed. */
int vm_pause(const struct vm_spec *spec, struct err *err);
/* Its clock, which stood still too, is right when this returns, unless its agent is silent. */
int vm_resume(const struct vm_spec *spec, struct err *err);
