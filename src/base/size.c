#include "base/size.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

static int unit_shift(const char *unit, unsigned *ret_shift)
{
        static const struct {
                const char *name;
                unsigned shift;
        } units[] = {
                {"",     20},
                { "K",   10},
                { "KiB", 10},
                { "M",   20},
                { "MiB", 20},
                { "G",   30},
                { "GiB", 30},
                { "T",   40},
                { "TiB", 40},
        };

        for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
                if (strcasecmp(units[i].name, unit) == 0) {
                        *ret_shift = units[i].shift;
                        return 0;
                }
        return -EINVAL;
}

int size_parse(const char *text, uint64_t *ret_bytes)
{
        size_t n_digits = strspn(text, "0123456789");
        char digits[21];
        unsigned shift;
        uint64_t value;
        int r;

        if (n_digits == 0 || n_digits >= sizeof(digits))
                return -EINVAL;
        memcpy(digits, text, n_digits);
        digits[n_digits] = '\0';
        r = text_parse_u64(digits, UINT64_MAX, &value);
        if (r < 0)
                return r;
        r = unit_shift(text + n_digits, &shift);
        if (r < 0)
                return r;
        if (value > UINT64_MAX >> shift)
                return -EINVAL;
        *ret_bytes = value << shift;
        return 0;
}

void size_format(uint64_t bytes, char out[SIZE_TEXT_MAX])
{
        if (bytes == 0)
                (void) snprintf(out, SIZE_TEXT_MAX, "0");
        else if (bytes % GIB == 0)
                (void) snprintf(out, SIZE_TEXT_MAX, "%" PRIu64 "G", bytes / GIB);
        else if (bytes % MIB == 0)
                (void) snprintf(out, SIZE_TEXT_MAX, "%" PRIu64 "M", bytes / MIB);
        else if (bytes % KIB == 0)
                (void) snprintf(out, SIZE_TEXT_MAX, "%" PRIu64 "K", bytes / KIB);
        else
                (void) snprintf(out, SIZE_TEXT_MAX, "%" PRIu64, bytes);
}

void size_human(uint64_t bytes, char out[SIZE_TEXT_MAX])
{
        static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
        double value = (double) bytes;
        size_t unit = 0;

        /* what would be rounded to "1024.0" is one of the next unit */
        while (value >= (unit == 0 ? 1024 : 1023.95) && unit + 1 < sizeof(units) / sizeof(units[0])) {
                value /= 1024;
                unit++;
        }
        (void) snprintf(out, SIZE_TEXT_MAX, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}
