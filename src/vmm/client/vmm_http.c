#include "vmm/client/vmm_http.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/text.h"

void vmm_http_done(struct vmm_http *http)
{
        if (http->fd >= 0)
                (void) close(take_fd(&http->fd));
}

/* Firecracker decodes no chunks and wants the length; an Expect: it would answer, so none is sent. */
static void compose(const struct vmm_http_request *request, struct text *text)
{
        scoped_free char *body = request->body ? json_dumps(request->body, JSON_COMPACT) : NULL;

        text_appendf(text, "%s %s HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n",
                     request->method, request->path);
        if (body)
                text_appendf(text, "Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(body));
        text_append(text, "\r\n");
        text_append(text, body ? body : "");
}

/* Drops the n bytes at the start. */
static void consume(struct text *text, size_t n)
{
        assert(text->s && n <= text->n);
        text->n -= n;
        (void) memmove(text->s, text->s + n, text->n + 1);
}

static int read_more(int fd, struct text *reply, uint64_t deadline_ms)
{
        char buffer[4096];
        ssize_t got;
        int r = fd_wait(fd, POLLIN, clock_left_ms(deadline_ms));

        if (r < 0)
                return r;
        got = read(fd, buffer, sizeof(buffer));
        if (got < 0)
                return errno == EINTR ? 0 : -errno;
        if (got == 0)
                return -ECONNRESET;
        text_append_bytes(reply, buffer, (size_t) got);
        return 0;
}

/* Until *reply is the body of the final answer. The head's parser and its limits bound what is kept. */
static int read_reply(int fd, struct text *reply, struct vmm_http_head *head, uint64_t deadline_ms)
{
        for (;;) {
                int r = vmm_http_head_parse(reply->s ? reply->s : "", reply->n, head);

                if (r < 0)
                        return r;
                if (r == 1 && head->status < 200) { /* an interim answer comes before the real one */
                        consume(reply, head->head_n);
                        continue;
                }
                if (r == 1 && reply->n >= head->head_n + head->body_n) {
                        bool is_whole = reply->n == head->head_n + head->body_n;

                        consume(reply, head->head_n);
                        return is_whole ? 0 : -EBADMSG; /* nobody asked for more */
                }
                r = read_more(fd, reply, deadline_ms);
                if (r < 0)
                        return r;
        }
}

static int exchange(struct vmm_http *http, const struct vmm_http_request *request, struct text *reply,
                    struct vmm_http_head *head)
{
        uint64_t deadline_ms = clock_monotonic_ms() + request->timeout_ms;
        scoped_text struct text text = { 0 };
        int r;

        if (http->fd < 0)
                http->fd = fd_unix_connect(http->api_path);
        if (http->fd < 0)
                return http->fd == -ENOENT ? -ECONNREFUSED : http->fd;
        compose(request, &text);
        r = fd_write_full(http->fd, text.s, text.n);
        /* a server that answers before it has read everything and closes: its answer says why */
        if (r < 0 && r != -EPIPE)
                return r;
        return read_reply(http->fd, reply, head, deadline_ms);
}

static int tell_failure(const struct vmm_http *http, int code, struct err *err)
{
        switch (code) {
        case ECONNREFUSED:
                return err_set(err, code, "vmm.request", "no VMM answers at '%s'", http->api_path);
        case ETIMEDOUT:
                return err_set(err, code, "vmm.request", "the VMM at '%s' does not answer in time",
                               http->api_path);
        case ECONNRESET:
        case EPIPE:
                return err_set(err, ECONNRESET, "vmm.request", "the VMM at '%s' ended instead of answering",
                               http->api_path);
        case EBADMSG:
                return err_set(err, code, "vmm.request", "what answers at '%s' is no VMM", http->api_path);
        default:
                errno = code;
                return err_errno(err, "vmm.request", "talk to the VMM at '%s'", http->api_path);
        }
}

int vmm_http_ask(struct vmm_http *http, const struct vmm_http_request *request, json_t **ret_reply,
                 struct err *err)
{
        scoped_text struct text reply = { 0 };
        struct vmm_http_head head = { 0 };
        int r = exchange(http, request, &reply, &head);

        if (r < 0 || head.closes)
                vmm_http_done(http);
        if (r < 0)
                return tell_failure(http, -r, err);
        if (head.status > 299) {
                scoped_free char *fault = vmm_http_fault(reply.s, reply.n);

                return err_set(err, EIO, "vmm.request", "the VMM refuses %s %s (%u): %s", request->method,
                               request->path, head.status, fault);
        }
        return ret_reply ? json_parse(reply.s, reply.n, "the VMM's reply", ret_reply, err) : 0;
}
