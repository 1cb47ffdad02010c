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

void daemon_provide_image(struct daemon_operation *operation, const char *image, daemon_operation_then *then)
{
        scoped_free char *key = daemon_image_key(image);
        struct daemon *daemon = operation->daemon;
        struct image found = { 0 };
        struct err err = { 0 };
        json_auto_t *nothing = json_object();

        if (image_read(daemon->images_folder, image, &found, &err) == 0) {
                image_done(&found);
                then(operation, &(struct daemon_job_end){ .result = nothing, .err = &no_error });
                return;
        }
        if (err.code == ENOENT) {
                err = no_error;
                if (check_catalog(daemon_image_is_in_catalog(image), "image", image, &err) == 0) {
                        operation->provided = then;
                        daemon_operation_shared_job(operation, key, "job.image.pull",
                                                    daemon_image_job_params(daemon, image, image, 0, false),
                                                    provided);
                        return;
                }
        }
        then(operation, &(struct daemon_job_end){ .err = &err });
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
