/* An image's configuration: any bytes end in lists of texts within the limits, or in an error that says something. */
#include <assert.h>
#include <stdint.h>

#include "base/scoped.h"
#include "image/oci/oci_config.h"
#include "image/oci/oci_reference.h"

#define N_LAYERS 1U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        static const char *const lists[] = { "env", "entrypoint", "cmd" };
        scoped(oci_config_done) struct oci_config config = { 0 };
        struct err err = { 0 };

        if (oci_config_parse((const char *) data, n, N_LAYERS, "fuzz", &config, &err) < 0) {
                assert(err.code > 0 && err.message[0] != '\0');
                return 0;
        }
        assert(config.n_diff_ids == N_LAYERS && oci_digest_is_valid(config.diff_ids[0]));
        for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
                const json_t *list = json_object_get(config.run, lists[i]), *item = NULL;
                size_t at;

                assert(json_array_size(list) <= OCI_RUN_ITEMS_MAX);
                json_array_foreach (list, at, item)
                        assert(json_is_string(item));
        }
        return 0;
}
