/* What the helper does for each method of the contract: check everything again, then act. */
#pragma once

#include <sys/types.h>

#include "rpc/rpc_server.h"

/* The context of every call. */
struct helper_config {
        uid_t owner_uid;
        gid_t owner_gid;
        const char *runtime_dir; /* borrowed */
};

/* For rpc_serve_one(). */
extern const struct rpc_binding helper_bindings[];
