/* A guest's answer: whatever it is, what is let through is printable, bounded, and passes a second time unchanged. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/scoped.h"
#include "guest/client/guest_clock.h"
#include "guest/client/guest_report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct err err = { 0 };
        json_auto_t *raw = NULL;

        if (size == 0 || json_parse((const char *) data + 1, size - 1, "fuzz", &raw, &err) < 0)
                return 0;
        for (enum guest_question question = 0; question < GUEST_N_QUESTIONS; question++) {
                json_auto_t *once = guest_report_check(question, raw);
                json_auto_t *twice = once ? guest_report_check(question, once) : NULL;
                scoped_free char *text = once ? json_dumps(once, JSON_ENSURE_ASCII | JSON_COMPACT) : NULL;
                struct guest_clock clock;
                struct err no_time = { 0 };

                if (once && (!twice || !json_equal(once, twice) || !text || strstr(text, "\\u")))
                        abort();
                if (once)
                        (void) guest_clock_of(once, 1, (uint64_t) data[0] << 40U, &clock, &no_time);
        }
        return 0;
}
