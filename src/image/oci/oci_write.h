/* Layers become the root disk, in a process beside the one that fetches them. Internal to image/oci. */
#pragma once

#include "image/oci/oci_fetch.h"
#include "image/oci/oci_pull.h"

/* blobs and the configuration belong together, bottom first. */
int oci_write(const struct oci_pull *pull, struct oci_fetch *fetch, const struct oci_config *config,
              const char *manifest_digest, struct oci_layers_result *ret_result, struct err *err);
