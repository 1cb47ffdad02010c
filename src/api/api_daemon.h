/* The daemon itself. */
#pragma once

#include "rpc/rpc_table.h"

/* {"categories":[{"type","n_used","apparent_bytes","real_bytes","shareable_bytes","reclaimable_bytes","items":[...]}]}; an
 * item has name, the first three numbers and used_by. */
extern const struct rpc_method api_daemon_df;

extern const struct rpc_method
        api_ping; /* {"version","commit","built_at","pid","uid","tap_pool":{"size","ready","warming"}} */
extern const struct rpc_method api_shutdown; /* running VMs stay alive */
/* {"image","vcpu","memory_mib","disk_bytes"}: what vm.create does when it is not told (spec 4, layers resolved) */
extern const struct rpc_method api_daemon_defaults;
extern const struct rpc_method api_daemon_operations_list; /* {"operations":[...]} (S-106) */
extern const struct rpc_method
        api_doctor_run; /* {"checks":[{"name","status":"pass|warn|fail","details":[...]}]} */

/* Every method there is, in the order of the reference; ends with NULL (S-089). */
extern const struct rpc_method *const api_methods[];
