/* A guest's output for a terminal: what comes out is UTF-8 without controls, however the input was cut. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/scoped.h"
#include "cli/render_guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct text *out)
{
        json_t *as_utf8 = json_stringn(out->s ? out->s : "", out->n);

        if (!as_utf8)
                abort();
        json_decref(as_utf8);
        for (size_t i = 0; i < out->n; i++) {
                unsigned char c = (unsigned char) out->s[i];

                if ((c < ' ' && c != '\n' && c != '\t') || c == 0x7f ||
                    (c == 0xc2 && i + 1 < out->n && (unsigned char) out->s[i + 1] < 0xa0))
                        abort();
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        scoped_text struct text whole = { 0 }, cut = { 0 };
        struct guest_filter one = { 0 }, other = { 0 };
        size_t half = size > 0 ? data[0] % (size + 1) : 0;

        guest_filter_run(&one, (const char *) data, size, &whole);
        guest_filter_run(&other, (const char *) data, half, &cut);
        guest_filter_run(&other, (const char *) data + half, size - half, &cut);
        check(&whole);
        if (whole.n != cut.n || (whole.n > 0 && memcmp(whole.s, cut.s, whole.n) != 0))
                abort();
        return 0;
}
