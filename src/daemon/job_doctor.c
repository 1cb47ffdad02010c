#include <string.h>

#include "base/json.h"
#include "base/scoped.h"
#include "daemon/daemon_config.h"
#include "daemon/job.h"
#include "doctor/doctor.h"
#include "image/image_store.h"

static const struct rpc_field doctor_params[] = {
        RPC_FIELD(struct job_doctor_params, is_system, "look at the system folders"),
        RPC_FIELD(struct job_doctor_params, qemu_vmm_path, "banger-qemu"),
        RPC_END,
};

const struct rpc_method job_doctor = {
        .name = "job.doctor",
        .doc = "Look at the host.",
        .params_size = sizeof(struct job_doctor_params),
        .params = doctor_params,
};

/* The kernel that the image goes with; NULL when the catalog does not know the image. */
static const char *kernel_of(const char *image)
{
        unsigned n = 0;
        const struct image_catalog_entry *entries = image_catalog(&n);

        for (unsigned i = 0; i < n; i++)
                if (strcmp(entries[i].name, image) == 0)
                        return entries[i].kernel;
        return NULL;
}

static int examine(const struct layout *layout, const struct job_doctor_params *p, json_t **ret_result,
                   struct err *err)
{
        struct daemon_config config;
        struct doctor_context context;
        int r = daemon_config_read(layout->config, layout->owner_home, &config, err);

        if (r < 0)
                return r;
        doctor_context_init(layout, &context);
        (void) vmm_choice_from_name(config.vmm, &context.vmm);
        context.firecracker_path = config.firecracker_bin;
        context.qemu_vmm_path = p->qemu_vmm_path;
        context.image = config.default_image;
        context.kernel = kernel_of(config.default_image);
        *ret_result = json_pack("{s:o}", "checks", doctor_run_all(&context));
        daemon_config_done(&config);
        return 0;
}

int job_doctor_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        const struct job_doctor_params *p = params;
        struct layout layout;
        int r = layout_find(p->is_system, &layout, err);

        (void) call;
        if (r < 0)
                return r;
        r = examine(&layout, p, ret_result, err);
        layout_done(&layout);
        return r;
}
