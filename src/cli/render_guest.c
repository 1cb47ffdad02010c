#include "cli/render_guest.h"

#define ESC 0x1b
#define BEL 0x07
#define CAN 0x18
#define SUB 0x1a
#define DEL 0x7f

/* The controls of 0x80 ... 0x9f, which terminals take as ESC and a letter (ECMA-48 5.3). */
#define C1_DCS 0x90
#define C1_SOS 0x98
#define C1_CSI 0x9b
#define C1_OSC 0x9d
#define C1_PM  0x9e
#define C1_APC 0x9f

/* Characters that turn the direction of text (Unicode UAX 9) or hide (U+FEFF): a line must read as it is. */
static bool is_deceptive(uint32_t code)
{
        return code == 0x200e || code == 0x200f || code == 0x061c || (code >= 0x202a && code <= 0x202e) ||
               (code >= 0x2066 && code <= 0x2069) || code == 0xfeff || code == 0x2028 || code == 0x2029;
}

static void put_code(uint32_t code, struct text *out)
{
        char bytes[4];
        size_t n;

        if (code < 0x800) {
                bytes[0] = (char) (0xc0U | code >> 6U);
                n = 2;
        } else if (code < 0x10000) {
                bytes[0] = (char) (0xe0U | code >> 12U);
                n = 3;
        } else {
                bytes[0] = (char) (0xf0U | code >> 18U);
                n = 4;
        }
        for (size_t i = 1; i < n; i++)
                bytes[i] = (char) (0x80U | (code >> (6U * (n - 1 - i)) & 0x3fU));
        text_append_bytes(out, bytes, n);
}

/* A whole character beyond ASCII. */
static void take_code(struct guest_filter *filter, uint32_t code, struct text *out)
{
        if (code == C1_CSI)
                filter->state = GUEST_FILTER_CSI;
        else if (code == C1_DCS || code == C1_SOS || code == C1_OSC || code == C1_PM || code == C1_APC)
                filter->state = GUEST_FILTER_STRING;
        else if (code < filter->least || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff) ||
                 is_deceptive(code))
                text_append(out, "?");
        else if (code >= 0xa0)
                put_code(code, out);
}

/* RFC 3629. */
static void begin_code(struct guest_filter *filter, unsigned char c, struct text *out)
{
        if (c >= 0xc2 && c <= 0xdf) {
                filter->n_due = 1;
                filter->code = c & 0x1fU;
                filter->least = 0x80;
        } else if (c >= 0xe0 && c <= 0xef) {
                filter->n_due = 2;
                filter->code = c & 0x0fU;
                filter->least = 0x800;
        } else if (c >= 0xf0 && c <= 0xf4) {
                filter->n_due = 3;
                filter->code = c & 0x07U;
                filter->least = 0x10000;
        } else {
                text_append(out, "?");
        }
}

static void take_text(struct guest_filter *filter, unsigned char c, struct text *out)
{
        if (filter->has_return &&
            c != '\r') { /* "\r\n" is a new line, and so is "\r", which would write over what stands there */
                filter->has_return = false;
                text_append(out, "\n");
                if (c == '\n')
                        return;
        }
        if (filter->n_due > 0 && (c & 0xc0U) == 0x80) {
                filter->code = filter->code << 6U | (c & 0x3fU);
                if (--filter->n_due == 0)
                        take_code(filter, filter->code, out);
                return;
        }
        if (filter->n_due > 0) {
                filter->n_due = 0;
                text_append(out, "?");
        }
        if (c >= 0x80)
                begin_code(filter, c, out);
        else if (c == ESC)
                filter->state = GUEST_FILTER_ESCAPE;
        else if (c == '\r')
                filter->has_return = true;
        else if (c == '\n' || c == '\t' || (c >= ' ' && c != DEL))
                text_append_bytes(out, &c, 1);
}

/* Back to text, with a byte that belongs there. */
static void break_off(struct guest_filter *filter, unsigned char c, struct text *out)
{
        filter->state = GUEST_FILTER_TEXT;
        take_text(filter, c, out);
}

static void take_escape(struct guest_filter *filter, unsigned char c, struct text *out)
{
        if (c == '[')
                filter->state = GUEST_FILTER_CSI;
        else if (c == ']' || c == 'P' || c == 'X' || c == '^' || c == '_')
                filter->state = GUEST_FILTER_STRING;
        else if (c >= 0x30 && c < DEL)
                filter->state = GUEST_FILTER_TEXT;
        else if (c < 0x20 || c > DEL)
                break_off(filter, c, out);
}

static void take_csi(struct guest_filter *filter, unsigned char c, struct text *out)
{
        if (c >= 0x40 && c < DEL)
                filter->state = GUEST_FILTER_TEXT;
        else if (c < 0x20 || c >= DEL)
                break_off(filter, c, out);
}

/* A string that is never closed ends with its line, or a guest could hide all that follows. */
static void take_string(struct guest_filter *filter, unsigned char c, struct text *out)
{
        if (c == ESC)
                filter->state = GUEST_FILTER_STRING_END;
        else if (c == BEL || c == CAN || c == SUB)
                filter->state = GUEST_FILTER_TEXT;
        else if (c == '\n')
                break_off(filter, c, out);
}

void guest_filter_run(struct guest_filter *filter, const char *bytes, size_t n, struct text *out)
{
        for (size_t i = 0; i < n; i++) {
                unsigned char c = (unsigned char) bytes[i];

                switch (filter->state) {
                case GUEST_FILTER_TEXT:
                        take_text(filter, c, out);
                        break;
                case GUEST_FILTER_ESCAPE:
                        take_escape(filter, c, out);
                        break;
                case GUEST_FILTER_CSI:
                        take_csi(filter, c, out);
                        break;
                case GUEST_FILTER_STRING:
                        take_string(filter, c, out);
                        break;
                case GUEST_FILTER_STRING_END:
                        filter->state = GUEST_FILTER_ESCAPE;
                        if (c == '\\')
                                filter->state = GUEST_FILTER_TEXT;
                        else
                                take_escape(filter, c, out);
                        break;
                }
        }
}
