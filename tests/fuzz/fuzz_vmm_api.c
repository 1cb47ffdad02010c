/*
 * Bodies of requests: the first byte names the endpoint, the rest is the body. Every body decodes, and is answered back as JSON, or
 * is refused with words and a place.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "vmm/contract/vmm_decode.h"
#include "vmm/contract/vmm_route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        static union {
                uint64_t aligned;
                uint8_t bytes[512];
        } body;
        const struct vmm_shape *shape;
        struct vmm_document document = { 0 };
        struct err err = { 0 };
        int r;

        if (n == 0)
                return 0;
        shape = vmm_routes[data[0] % VMM_N_ENDPOINTS].shape;
        if (!shape) {
                r = vmm_decode_any((const char *) data + 1, n - 1, &document, &err);
        } else {
                assert(shape->size <= sizeof(body));
                r = vmm_decode(shape, (const char *) data + 1, n - 1, &body, &document, &err);
                if (r == 0)
                        json_decref(vmm_encode(shape, &body));
        }
        assert(r == 0 || (r == -EINVAL && strstr(err.message, " at line ")));
        vmm_document_done(&document);
        return 0;
}
