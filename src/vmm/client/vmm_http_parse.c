/* What a VMM's replies mean. Everything here reads bytes that are not ours. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/text.h"
#include "vmm/client/vmm_http.h"

#define FAULT_MAX 700

/* "HTTP/1.1 204 \r\n": Firecracker leaves the reason out but not the space. */
static int parse_status(const char *line, size_t n, unsigned *ret_status)
{
        if (n < 12 || (memcmp(line, "HTTP/1.1 ", 9) != 0 && memcmp(line, "HTTP/1.0 ", 9) != 0))
                return -EBADMSG;
        *ret_status = 0;
        for (const char *p = line + 9; p < line + 12; p++) {
                if (*p < '0' || *p > '9')
                        return -EBADMSG;
                *ret_status = *ret_status * 10 + (unsigned) (*p - '0');
        }
        return *ret_status < 100 || (n > 12 && line[12] != ' ') ? -EBADMSG : 0;
}

/* The value when this header line is called name, else NULL; *n_value without white space around it. */
static const char *header_value(const char *line, size_t n, const char *name, size_t *ret_n)
{
        size_t n_name = strlen(name);

        if (n <= n_name || strncasecmp(line, name, n_name) != 0 || line[n_name] != ':')
                return NULL;
        line += n_name + 1;
        n -= n_name + 1;
        while (n > 0 && (*line == ' ' || *line == '\t')) {
                line++;
                n--;
        }
        while (n > 0 && (line[n - 1] == ' ' || line[n - 1] == '\t'))
                n--;
        *ret_n = n;
        return line;
}

static int parse_length(const char *value, size_t n, bool *has_length, size_t *ret_length)
{
        size_t length = 0;

        if (n == 0 || *has_length)
                return -EBADMSG;
        for (size_t i = 0; i < n; i++) {
                if (value[i] < '0' || value[i] > '9')
                        return -EBADMSG;
                length = length * 10 + (size_t) (value[i] - '0');
                if (length > VMM_HTTP_BODY_MAX)
                        return -EBADMSG;
        }
        *has_length = true;
        *ret_length = length;
        return 0;
}

static int parse_header(const char *line, size_t n, bool *has_length, struct vmm_http_head *head)
{
        const char *value;
        size_t n_value = 0;

        value = header_value(line, n, "Content-Length", &n_value);
        if (value)
                return parse_length(value, n_value, has_length, &head->body_n);
        if (header_value(line, n, "Transfer-Encoding", &n_value))
                return -EBADMSG;
        value = header_value(line, n, "Connection", &n_value);
        if (value && n_value == 5 && strncasecmp(value, "close", 5) == 0)
                head->closes = true;
        return 0;
}

int vmm_http_head_parse(const char *data, size_t n, struct vmm_http_head *ret_head)
{
        const char *end = n > 0 ? memmem(data, n, "\r\n\r\n", 4) : NULL;
        struct vmm_http_head head = { 0 };
        bool has_length = false;
        const char *line = data;
        int r = 0;

        if (!end)
                return n > VMM_HTTP_HEAD_MAX ? -EBADMSG : 0;
        head.head_n = (size_t) (end - data) + 4;
        while (r == 0 && line < end + 2) {
                const char *stop = memmem(line, (size_t) (end + 2 - line), "\r\n", 2);
                size_t n_line = (size_t) (stop - line);

                r = line == data ? parse_status(line, n_line, &head.status)
                                 : parse_header(line, n_line, &has_length, &head);
                line = stop + 2;
        }
        if (r < 0)
                return r;
        if (head.status < 200 || head.status == 204) /* never have a body: RFC 9112, 6.3 */
                head.body_n = 0;
        *ret_head = head;
        return 1;
}

/* Copies one line's worth, control characters as spaces: it goes to a terminal. */
static char *one_line(const char *text, size_t n)
{
        struct text line = { 0 };

        for (size_t i = 0; i < n && line.n < FAULT_MAX; i++) {
                char c = text[i];

                if ((unsigned char) c < ' ' || c == 0x7f)
                        c = ' ';
                text_append_bytes(&line, &c, 1);
        }
        while (line.n > 0 && line.s[line.n - 1] == ' ')
                line.s[--line.n] = '\0';
        return text_take(&line);
}

/* Between the quotes of "key": "..." where a JSON parser gave up. */
static char *scrape(const char *body, const char *key)
{
        scoped_free char *quoted = xasprintf("\"%s\"", key);
        const char *start = strstr(body, quoted);
        const char *end = strrchr(body, '"');

        start = start ? strchr(start + strlen(quoted), '"') : NULL;
        if (!start || !end || end <= start)
                return NULL;
        return one_line(start + 1, (size_t) (end - start - 1));
}

char *vmm_http_fault(const char *body, size_t n)
{
        static const char *const keys[] = { "fault_message", "error" };
        json_auto_t *json = NULL;
        struct err no_json = { 0 };
        scoped_free char *text = NULL;

        if (n > 0 && json_parse(body, n, "the VMM's reply", &json, &no_json) == 0)
                for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
                        const char *fault = json_text(json, keys[i]);

                        if (fault[0] != '\0')
                                return one_line(fault, strlen(fault));
                }
        if (n == 0)
                return xstrdup("it gives no reason");
        text = xasprintf("%.*s", (int) n, body);
        for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
                char *fault = scrape(text, keys[i]);

                if (fault)
                        return fault;
        }
        return one_line(body, n);
}
