/* Manifests and indexes: any bytes end in one of the two, within its limits, or in an error that says something. */
#include <assert.h>
#include <stdint.h>

#include "base/scoped.h"
#include "image/oci/oci_manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        scoped(oci_manifest_done) struct oci_manifest manifest = { 0 };
        struct err err = { 0 };

        if (oci_manifest_parse((const char *) data, n, "fuzz", &manifest, &err) < 0) {
                assert(err.code > 0 && err.message[0] != '\0');
                return 0;
        }
        if (manifest.is_index)
                assert(oci_digest_is_valid(manifest.chosen.digest) &&
                       manifest.chosen.size <= OCI_MANIFEST_MAX);
        else
                assert(manifest.n_layers > 0 && manifest.n_layers <= OCI_LAYERS_MAX &&
                       oci_digest_is_valid(manifest.config.digest));
        for (unsigned i = 0; i < manifest.n_layers; i++)
                assert(oci_digest_is_valid(manifest.layers[i].digest) &&
                       manifest.layers[i].size <= OCI_LAYER_SIZE_MAX);
        return 0;
}
