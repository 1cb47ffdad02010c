/* Whatever listens at an API socket may answer anything. */
#include <stdint.h>
#include <string.h>

#include "base/scoped.h"
#include "vmm/client/vmm_client.h"
#include "vmm/client/vmm_http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        scoped_free char *fault = vmm_http_fault((const char *) data, n);
        scoped_free char *text = strndup((const char *) data, n);
        struct vmm_version version;
        struct vmm_http_head head;
        struct err err = { 0 };

        for (const char *p = fault; *p != '\0'; p++)
                if ((unsigned char) *p < ' ')
                        __builtin_trap();
        if (vmm_http_head_parse((const char *) data, n, &head) == 1 && (head.head_n > n || head.status < 100))
                __builtin_trap();
        (void) vmm_version_parse(text, &version, &err);
        return 0;
}
