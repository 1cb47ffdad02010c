/*
 * Images and kernels on demand. A waiter whose turn comes after a peer's success finds the thing there: the job's
 * "already exists" counts as its own success (S-114, S-115, S-117, S-257, S-264).
 */
#include <errno.h>
#include <string.h>

#include "base/scoped.h"
#include "daemon/daemon_stores.h"
#include "daemon/daemon_vm.h"

static const struct err no_error;

/* Not found here: 0 when the catalog has it, else the error says so. */
static int check_catalog(bool known, const char *what, const char *name, struct err *err)
{
        if (known)
                return 0;
        return err_set(err, ENOENT, "provide",
                       "no %s named '%s', neither here nor in the catalog ('banger %s list' shows both)",
                       what, name, what);
}

static void provided(struct daemon_operation *operation, const struct daemon_job_end *end)
{
        json_auto_t *nothing = json_object();

        if (!end->result && end->err->code == EEXIST)
                operation->provided(operation,
                                    &(struct daemon_job_end){ .result = nothing, .err = &no_error });
        else
                operation->provided(operation, end);
}

void daemon_provide_image(struct daemon_operation *operation, char **image, daemon_operation_then *then)
{
        scoped(image_wanted_done) struct image_wanted wanted = { 0 };
        const struct image_wish wish = { .word = *image, .local_first = true };
        struct daemon *daemon = operation->daemon;
        struct err err = { 0 };
        json_auto_t *nothing = json_object();
        scoped_free char *key = NULL;
        json_t *params;

        if (image_wanted_find(daemon->images_folder, &wish, &wanted, &err) < 0) {
                then(operation, &(struct daemon_job_end){ .err = &err });
                return;
        }
        free(*image);
        *image = xstrdup(wanted.name);
        if (wanted.is_here) {
                then(operation, &(struct daemon_job_end){ .result = nothing, .err = &no_error });
                return;
        }
        key = daemon_image_key(wanted.name);
        params = wanted.reference ? daemon_reference_job_params(daemon, &wanted, 0, NULL)
                                  : daemon_image_job_params(daemon, wanted.name, wanted.name, 0, false);
        operation->provided = then;
        daemon_operation_shared_job(operation, key, "job.image.pull", params, provided);
}

void daemon_provide_kernel(struct daemon_operation *operation, const char *kernel,
                           daemon_operation_then *then)
{
        scoped_free char *key = daemon_kernel_key(kernel);
        struct daemon *daemon = operation->daemon;
        struct kernel found = { 0 };
        struct err err = { 0 };
        json_auto_t *nothing = json_object();

        if (kernel_read(daemon->kernels_folder, kernel, &found, &err) == 0) {
                kernel_done(&found);
                if (kernel_agent_is_current(daemon->kernels_folder, kernel, daemon->agent_path)) {
                        then(operation, &(struct daemon_job_end){ .result = nothing, .err = &no_error });
                        return;
                }
                operation->provided = then;
                daemon_operation_shared_job(operation, key, "job.kernel.refresh",
                                            daemon_kernel_job_params(daemon, kernel, false), provided);
                return;
        }
        if (err.code == ENOENT) {
                err = no_error;
                if (check_catalog(daemon_kernel_is_in_catalog(kernel), "kernel", kernel, &err) == 0) {
                        operation->provided = then;
                        daemon_operation_shared_job(operation, key, "job.kernel.pull",
                                                    daemon_kernel_job_params(daemon, kernel, false),
                                                    provided);
                        return;
                }
        }
        then(operation, &(struct daemon_job_end){ .err = &err });
}
