/* What happens to VMs: the flows of create, start, stop, restart, kill, delete as operations over jobs. */
#pragma once

#include "daemon/daemon.h"
#include "daemon/daemon_operation.h"

/* A running VM's VMM ended by itself: clean, mark stopped. */
void daemon_vm_ended(struct daemon *daemon, const char *vm_id);

/* The params of a job about this VM: {"spec.id":...}. The caller owns them. */
json_t *daemon_vm_job_params(const struct daemon *daemon, const struct store_vm *vm);
/*
 * Runs a job that starts the VM, with a tap of the pool when one is ready; its name goes into vm and its record first. The
 * caller may have put more into the params of daemon_vm_job_params().
 */
void daemon_vm_start_job(struct daemon_operation *operation, struct store_vm *vm, const char *method,
                         json_t *owned_params, daemon_operation_then *then);
/* vm.stop without a client, unless an operation on the VM is in progress. */
void daemon_vm_stop_unasked(struct daemon *daemon, const char *vm_id);
/* EIO, with the way out, unless the VM runs and is not paused. */
int daemon_vm_need_awake(const struct daemon *daemon, const struct store_vm *vm, const char *op,
                         struct err *err);
/* vm.clean without a client; remove: the VM's folder and row go too (S-184). */
void daemon_vm_clean_stale(struct daemon *daemon, const struct store_vm *vm, bool remove);
/* The names of a VM's job queue and folder; owned by the caller. */
char *daemon_vm_key(const char *vm_id);

/*
 * The image and the kernel a new VM needs: pulls what is missing, then goes on (S-167). Fills operation->failure otherwise.
 * *image (owned) may be what a registry calls it; afterwards it is what it is called here.
 */
void daemon_provide_image(struct daemon_operation *operation, char **image, daemon_operation_then *then);
void daemon_provide_kernel(struct daemon_operation *operation, const char *kernel,
                           daemon_operation_then *then);
/* The create in progress that has chosen this image, or this kernel; NULL: none. Its VM need not be on record yet. */
const struct daemon_operation *daemon_vm_create_find(const struct daemon *daemon, const char *image,
                                                     const char *kernel);
