#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/scoped.h"
#include "base/text.h"
#include "daemon/daemon_objects.h"
#include "daemon/job.h"
#include "image/image_store.h"
#include "kernel/kernel_store.h"

#define LAYER_SHOWN        12 /* digits */
#define SWEEP_MS           10000
#define SWEEP_PAUSE_MS     20
#define SWEEP_PAUSE_MAX_MS 320

static const struct rpc_field image_params[] = {
        RPC_FIELD(struct job_image_params, image, "catalog name", .required = true),
        RPC_FIELD(struct job_image_params, name, "local name", .required = true),
        RPC_FIELD(struct job_image_params, images_folder, "where images are", .required = true),
        RPC_FIELD(struct job_image_params, cache_folder, "where downloads are", .required = true),
        RPC_FIELD(struct job_image_params, reference, "of an image of a registry or a place"),
        RPC_FIELD(struct job_image_params, input, "what is read for the reference '-'"),
        RPC_FIELD(struct job_image_params, source, "what it is said to come from"),
        RPC_FIELD(struct job_image_params, kernel, "kernel it boots"),
        RPC_FIELD(struct job_image_params, registries, "how registries are reached, as JSON"),
        RPC_FIELD(struct job_image_params, auth_file, "logins of registries"),
        RPC_FIELD(struct job_image_params, home, "the owner's home, for Docker's logins"),
        RPC_FIELD(struct job_image_params, size, "bytes of the root file system"),
        RPC_FIELD(struct job_image_params, url, "address of its bundle"),
        RPC_FIELD(struct job_image_params, sha256, "of the bundle"),
        RPC_FIELD(struct job_image_params, bundle_size, "bytes of the bundle"),
        RPC_FIELD(struct job_image_params, distro, "distribution"),
        RPC_FIELD(struct job_image_params, replace, "replace an image of this name"),
        RPC_END,
};

static const struct rpc_field image_local_params[] = {
        RPC_FIELD(struct job_image_local_params, name, "local name", .required = true),
        RPC_FIELD(struct job_image_local_params, images_folder, "where images are", .required = true),
        RPC_FIELD(struct job_image_local_params, rootfs, "root file system"),
        RPC_FIELD(struct job_image_local_params, work_seed, "what /root begins with"),
        RPC_FIELD(struct job_image_local_params, kernel, "kernel it boots"),
        RPC_END,
};

static const struct rpc_field kernel_params[] = {
        RPC_FIELD(struct job_kernel_params, kernel, "name", .required = true),
        RPC_FIELD(struct job_kernel_params, kernels_folder, "where kernels are", .required = true),
        RPC_FIELD(struct job_kernel_params, cache_folder, "where downloads are", .required = true),
        RPC_FIELD(struct job_kernel_params, agent_path, "the guest's agent", .required = true),
        RPC_FIELD(struct job_kernel_params, from, "package, folder or file"),
        RPC_FIELD(struct job_kernel_params, modules, "folder of modules"),
        RPC_FIELD(struct job_kernel_params, distro, "distribution"),
        RPC_FIELD(struct job_kernel_params, url, "address of its bundle"),
        RPC_FIELD(struct job_kernel_params, sha256, "of the bundle"),
        RPC_FIELD(struct job_kernel_params, bundle_size, "bytes of the bundle"),
        RPC_FIELD(struct job_kernel_params, replace, "replace a kernel of this name"),
        RPC_END,
};

static const struct rpc_field sweep_params[] = {
        RPC_FIELD(struct job_sweep_params, images_folder, "where images are", .required = true),
        RPC_FIELD(struct job_sweep_params, kernels_folder, "where kernels are", .required = true),
        RPC_FIELD(struct job_sweep_params, cache_folder, "where downloads are", .required = true),
        RPC_END,
};

const struct rpc_method job_image_sweep = {
        .name = "job.image.sweep",
        .doc = "Remove what killed imports and pulls have left, of images and of kernels.",
        .params_size = sizeof(struct job_sweep_params),
        .params = sweep_params,
};
const struct rpc_method job_image_pull = {
        .name = "job.image.pull",
        .doc = "Make an image of the catalog.",
        .params_size = sizeof(struct job_image_params),
        .params = image_params,
};
const struct rpc_method job_image_register = {
        .name = "job.image.register",
        .doc = "Make an image of a file of the user's.",
        .params_size = sizeof(struct job_image_local_params),
        .params = image_local_params,
};
const struct rpc_method job_image_promote = {
        .name = "job.image.promote",
        .doc = "Copy a registered image's file.",
        .params_size = sizeof(struct job_image_local_params),
        .params = image_local_params,
};
const struct rpc_method job_kernel_pull = {
        .name = "job.kernel.pull",
        .doc = "Get a kernel of the catalog.",
        .params_size = sizeof(struct job_kernel_params),
        .params = kernel_params,
};
const struct rpc_method job_kernel_import = {
        .name = "job.kernel.import",
        .doc = "Take a kernel from files.",
        .params_size = sizeof(struct job_kernel_params),
        .params = kernel_params,
};

const struct rpc_method job_kernel_refresh = {
        .name = "job.kernel.refresh",
        .doc = "Put the agent of this installation into a kernel's initramfs.",
        .params_size = sizeof(struct job_kernel_params),
        .params = kernel_params,
};

/* userdata is "image" or "kernel": the stage's first word. */
static int report_progress(void *userdata, const char *stage, uint64_t done, uint64_t total)
{
        char name[64];

        (void) snprintf(name, sizeof(name), "%s %s", (const char *) userdata, stage);
        return job_report(name, "progress", done, total, 0);
}

static int answer_with(struct image *image, json_t **ret_result)
{
        *ret_result = daemon_image_object(image);
        image_done(image);
        return 0;
}

/* A layer is known by the first digits of its digest, as elsewhere. */
static int report_part(void *userdata, const char *stage, const char *part, uint64_t done, uint64_t total)
{
        const char *colon = strchr(part, ':');
        char name[64], shown[LAYER_SHOWN + 1];

        (void) snprintf(name, sizeof(name), "%s %s", (const char *) userdata, stage);
        (void) snprintf(shown, sizeof(shown), "%s", colon ? colon + 1 : part);
        return job_report_part(name, shown, done, total);
}

int job_image_pull_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        static char word[] = "image";
        const struct job_image_params *p = params;
        const struct image_bundle bundle = { .url = p->url,
                                             .sha256 = p->sha256,
                                             .kernel = p->kernel,
                                             .distro = p->distro,
                                             .size = p->bundle_size };
        struct job_credential_files files;
        scoped_close int input = p->input ? open(p->input, O_RDONLY | O_CLOEXEC) : FD_NONE;
        const struct image_pull pull = {
                .bundle = p->url ? &bundle : NULL,
                .name = p->name,
                .recipe = p->image,
                .reference = p->reference,
                .source = p->source,
                .kernel = p->kernel,
                .registries = p->registries,
                .credential_files = files.list,
                .stdin_fd = input,
                .images_folder = p->images_folder,
                .cache_folder = p->cache_folder,
                .size = p->size,
                .replace = p->replace,
                .progress = {.report = report_progress, .report_part = report_part, .userdata = word},
        };
        struct image image = { 0 };
        int r;

        if (p->input && input < 0)
                return err_errno(err, "image.pull", "read %s (%s)", p->source ? p->source : "the input",
                                 p->input);
        (void) call;
        job_credential_files_init(&files, p->auth_file, p->home);
        r = image_pull(&pull, &image, err);
        job_credential_files_done(&files);
        return r < 0 ? r : answer_with(&image, ret_result);
}

int job_image_register_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        const struct job_image_local_params *p = params;
        const struct image_register registration = { .name = p->name,
                                                     .images_folder = p->images_folder,
                                                     .rootfs = p->rootfs,
                                                     .work_seed = p->work_seed,
                                                     .kernel = p->kernel };
        struct image image = { 0 };
        int r = image_register(&registration, &image, err);

        (void) call;
        return r < 0 ? r : answer_with(&image, ret_result);
}

int job_image_promote_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        static char word[] = "image";
        const struct job_image_local_params *p = params;
        const struct image_progress progress = { .report = report_progress, .userdata = word };
        struct image image = { 0 };
        int r = image_promote(p->images_folder, p->name, &progress, &image, err);

        (void) call;
        return r < 0 ? r : answer_with(&image, ret_result);
}

static int import_or_pull(const struct job_kernel_params *p, json_t **ret_result, struct err *err)
{
        static char word[] = "kernel";
        const struct kernel_import import = {
                .name = p->kernel,
                .kernels_folder = p->kernels_folder,
                .from = p->from,
                .modules_folder = p->modules,
                .distro = p->distro,
                .agent_path = p->agent_path,
                .replace = p->replace,
                .progress = {.report = report_progress, .userdata = word},
        };
        struct kernel kernel = { 0 };
        const struct kernel_catalog_entry bundle = {
                .url = p->url, .sha256 = p->sha256, .size = p->bundle_size, .distro = p->distro
        };
        int r = p->from  ? kernel_import(&import, &kernel, err)
                : p->url ? kernel_pull_bundle(&import, &bundle, &kernel, err)
                         : kernel_pull(&import, p->cache_folder, &kernel, err);

        if (r < 0)
                return r;
        *ret_result = daemon_kernel_object(&kernel);
        kernel_done(&kernel);
        return 0;
}

int job_kernel_pull_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        (void) call;
        return import_or_pull(params, ret_result, err);
}

int job_kernel_import_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        (void) call;
        return import_or_pull(params, ret_result, err);
}

int job_kernel_refresh_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        const struct job_kernel_params *p = params;

        (void) call;
        (void) ret_result;
        return kernel_refresh_agent(p->kernels_folder, p->kernel, p->agent_path, err);
}

/*
 * What was killed may take a moment to go, and has its folder until then; what lives is not told from it. Whoever pulls next
 * sweeps too, so this need not go on for ever.
 */
static void sweep(const struct job_sweep_params *p)
{
        uint64_t deadline_ms = clock_monotonic_ms() + SWEEP_MS;
        int pause_ms = SWEEP_PAUSE_MS;

        while (kernel_sweep(p->kernels_folder, p->cache_folder) +
                               image_sweep(p->images_folder, p->cache_folder) >
                       0 &&
               clock_left_ms(deadline_ms) > 0) {
                (void) poll(NULL, 0, pause_ms);
                pause_ms = pause_ms < SWEEP_PAUSE_MAX_MS ? 2 * pause_ms : pause_ms;
        }
}

int job_image_sweep_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        (void) call;
        (void) ret_result;
        (void) err;
        sweep(params);
        return 0;
}
