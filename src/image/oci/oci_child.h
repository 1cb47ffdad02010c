/*
 * Processes that read a stranger's bytes (oci_confine.h) and end: how one tells what went wrong, and what whoever started it
 * makes of that. Internal to image/oci.
 */
#pragma once

#include <stdatomic.h>

#include "base/err.h"

/* In memory that both have. Written by the process, so read as something that a stranger wrote. */
struct oci_failure {
        _Atomic int code; /* 0: none */
        char message[ERR_MESSAGE_MAX];
};

/* In the process, when it is done: r < 0 leaves err behind. */
__attribute__((noreturn)) void oci_child_end(struct oci_failure *failure, int r, const struct err *err);
/* status: of wait(2). does: "unpacks the layers". EPERM: it was killed, by its confinement or otherwise. */
int oci_child_judge(const struct oci_failure *failure, const char *does, int status, struct err *err);
