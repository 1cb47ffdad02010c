/* What somebody types for an image: any text ends in a reference that says the same again, or in an error. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/scoped.h"
#include "base/text.h"
#include "image/oci/oci_reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        scoped(oci_reference_done) struct oci_reference first = { 0 }, second = { 0 };
        scoped_free char *text = strndup((const char *) data, n), *whole = NULL, *again = NULL;
        struct err err = { 0 };

        if (oci_reference_parse(text, &first, &err) < 0) {
                assert(err.code > 0 && err.message[0] != '\0');
                return 0;
        }
        whole = oci_reference_format(&first);
        if (strlen(whole) <= OCI_REFERENCE_MAX || first.path) { /* the defaults may make it too long */
                assert(oci_reference_parse(whole, &second, &err) == 0);
                again = oci_reference_format(&second);
                assert(strcmp(whole, again) == 0);
        }
        for (int is_whole = 0; is_whole < 2; is_whole++) {
                scoped_free char *name = oci_reference_local_name(&first, is_whole);

                assert(strlen(name) <= OCI_LOCAL_NAME_MAX && name[0] != '.');
        }
        return 0;
}
