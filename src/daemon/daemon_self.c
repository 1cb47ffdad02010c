/* daemon.* and doctor.run, and the table of all bindings. */
#include <unistd.h>

#include "api/api_daemon.h"
#include "api/api_image.h"
#include "api/api_kernel.h"
#include "api/api_registry.h"
#include "api/api_vm.h"
#include "base/json.h"
#include "base/log.h"
#include "base/version.h"
#include "daemon/daemon.h"
#include "daemon/daemon_operation.h"
#include "daemon/daemon_tap_pool.h"

DAEMON_HANDLER(daemon_ping)
{
        (void) params;
        (void) err;
        *ret_result = json_pack("{s:s, s:s, s:s, s:i, s:i, s:o}", "version", BANGER_VERSION, "commit",
                                BANGER_COMMIT, "built_at", BANGER_BUILT_AT, "pid", (int) getpid(), "uid",
                                (int) getuid(), "tap_pool", daemon_tap_pool_object(daemon_of(call)));
        return 0;
}

DAEMON_HANDLER(daemon_shutdown)
{
        (void) params;
        (void) err;
        (void) ret_result;
        log_info("asked to end", "{s:i}", "uid", (int) call->peer.uid);
        (void) sd_event_exit(daemon_of(call)->event, 0);
        return 0;
}

DAEMON_HANDLER(daemon_defaults)
{
        const struct daemon_config *config = &daemon_of(call)->config;

        (void) params;
        (void) err;
        *ret_result = json_pack("{s:s, s:i, s:I, s:I}", "image", config->default_image, "vcpu",
                                (int) config->vcpu, "memory_mib", (json_int_t) config->memory_mib,
                                "disk_bytes", (json_int_t) config->disk_bytes);
        return 0;
}

DAEMON_HANDLER(daemon_operations_list)
{
        (void) params;
        (void) err;
        *ret_result = json_pack("{s:o}", "operations", daemon_operations_snapshot(daemon_of(call)));
        return 0;
}

static void examined(struct daemon_operation *operation, const struct daemon_job_end *end)
{
        if (end->result)
                operation->answer = json_deep_copy(end->result);
        else
                (void) daemon_operation_fail(operation, end->err);
        daemon_operation_end(operation);
}

DAEMON_HANDLER(daemon_doctor_run)
{
        struct daemon *daemon = daemon_of(call);

        (void) params;
        (void) err;
        (void) ret_result;
        daemon_operation_job(daemon_operation_new(daemon, call, "doctor.run"), "doctor", "job.doctor",
                             json_pack("{s:b, s:s}", "is_system", (int) daemon->layout.is_system,
                                       "qemu_vmm_path", daemon->qemu_vmm_path),
                             examined);
        return RPC_LATER;
}

const struct rpc_binding daemon_bindings[] = {
        {&api_ping,                    daemon_ping               },
        { &api_shutdown,               daemon_shutdown           },
        { &api_daemon_defaults,        daemon_defaults           },
        { &api_daemon_operations_list, daemon_operations_list    },
        { &api_daemon_df,              daemon_df                 },
        { &api_doctor_run,             daemon_doctor_run         },
        { &api_vm_create,              daemon_vm_create          },
        { &api_vm_create_begin,        daemon_vm_create_begin    },
        { &api_vm_create_status,       daemon_vm_create_status   },
        { &api_vm_create_cancel,       daemon_vm_create_cancel   },
        { &api_vm_start,               daemon_vm_start           },
        { &api_vm_stop,                daemon_vm_stop            },
        { &api_vm_restart,             daemon_vm_restart         },
        { &api_vm_kill,                daemon_vm_kill            },
        { &api_vm_set,                 daemon_vm_set             },
        { &api_vm_delete,              daemon_vm_delete          },
        { &api_vm_list,                daemon_vm_list            },
        { &api_vm_rows,                daemon_vm_rows            },
        { &api_vm_show,                daemon_vm_show            },
        { &api_vm_connect,             daemon_vm_connect         },
        { &api_vm_logs,                daemon_vm_logs            },
        { &api_vm_stats,               daemon_vm_stats           },
        { &api_vm_top,                 daemon_vm_top             },
        { &api_vm_ports,               daemon_vm_ports           },
        { &api_vm_health,              daemon_vm_health          },
        { &api_vm_ping,                daemon_vm_ping            },
        { &api_vm_pause,               daemon_vm_pause           },
        { &api_vm_resume,              daemon_vm_resume          },
        { &api_vm_workspace_record,    daemon_vm_workspace_record},
        { &api_image_pull,             daemon_image_pull         },
        { &api_image_list,             daemon_image_list         },
        { &api_image_rows,             daemon_image_rows         },
        { &api_image_catalog,          daemon_image_catalog      },
        { &api_image_show,             daemon_image_show         },
        { &api_image_register,         daemon_image_register     },
        { &api_image_promote,          daemon_image_promote      },
        { &api_image_cache_prune,      daemon_image_cache_prune  },
        { &api_image_delete,           daemon_image_delete       },
        { &api_registry_login,         daemon_registry_login     },
        { &api_registry_logout,        daemon_registry_logout    },
        { &api_registry_access,        daemon_registry_access    },
        { &api_kernel_pull,            daemon_kernel_pull        },
        { &api_kernel_import,          daemon_kernel_import      },
        { &api_kernel_list,            daemon_kernel_list        },
        { &api_kernel_catalog,         daemon_kernel_catalog     },
        { &api_kernel_show,            daemon_kernel_show        },
        { &api_kernel_delete,          daemon_kernel_delete      },
        { NULL,                        NULL                      },
};
