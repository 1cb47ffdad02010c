/* Configuration text: any bytes without a NUL end in an object or in an error that says something. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/text.h"
#include "base/toml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        scoped_free char *text = xmalloc(n + 1);
        json_t *object = NULL;
        struct err err = { 0 };
        int r;

        memcpy(text, data, n);
        text[n] = '\0';
        r = toml_parse(text, "fuzz", &object, &err);
        assert(r == 0 ? json_is_object(object) : r < 0 && err.code > 0 && err.message[0] != '\0');
        json_decref(object);
        return 0;
}
