/* An image's configuration: how a program of it is to be run (image-spec config.md), and what its layers unpack to. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define OCI_CONFIG_MAX    ((size_t) 8 << 20)
#define OCI_RUN_BYTES_MAX ((size_t) 256 << 10) /* what is kept of it: names, arguments, variables */
#define OCI_RUN_ITEMS_MAX 4096U

struct oci_config {
        /* What is kept with the image and told to its guests, only those that are set: {"env": [...], "entrypoint": [...],
         * "cmd": [...], "working_dir", "user", "stop_signal"}. Owned, never NULL after success. */
        json_t *run;
        char **diff_ids; /* owned; "sha256:<hex>", bottom first */
        unsigned n_diff_ids;
        uint64_t created_s; /* since 1970; 0: unknown */
};

/*
 * Of an image with n_layers. EBADMSG: no such document, or layers that are not as many; ENOTSUP: not linux/amd64; E2BIG:
 * beyond the limits above.
 */
int oci_config_parse(const char *text, size_t n, unsigned n_layers, const char *what,
                     struct oci_config *ret_config, struct err *err);
void oci_config_done(struct oci_config *config);

static inline void oci_config_done_at_scope_end(struct oci_config *config)
{
        oci_config_done(config);
}
