#include "vmm/qemu/api_server.h"

#include <errno.h>
#include <limits.h>
#include <microhttpd.h>
#include <string.h>

#include "base/fd.h"
#include "base/text.h"
#include "vmm/qemu/vm_log.h"

#define CONNECTIONS_MAX 10 /* Firecracker's */

struct api_server {
        struct vm_instance *instance; /* borrowed */
        struct MHD_Daemon *daemon;    /* owned, and the listening socket with it */
        size_t limit;
        int fd; /* the daemon's epoll descriptor */
};

/* A request whose body is still coming. */
struct incoming {
        struct text body;
};

static enum MHD_Result respond(struct MHD_Connection *connection, unsigned status, const char *body,
                               bool deprecated)
{
        struct MHD_Response *response = MHD_create_response_from_buffer(
                body ? strlen(body) : 0, (void *) (uintptr_t) (body ? body : ""), MHD_RESPMEM_MUST_COPY);
        enum MHD_Result result;

        if (!response)
                return MHD_NO;
        (void) MHD_add_response_header(response, MHD_HTTP_HEADER_SERVER, "Firecracker API");
        (void) MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "keep-alive");
        if (deprecated)
                (void) MHD_add_response_header(response, "Deprecation", "true");
        if (body)
                (void) MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
        result = MHD_queue_response(connection, status, response);
        MHD_destroy_response(response);
        return result;
}

static enum MHD_Result respond_fault(struct MHD_Connection *connection, const struct err *err)
{
        json_auto_t *fault = json_pack("{s:s%}", "fault_message", err->message, strlen(err->message));
        scoped_free char *text = json_dumps(fault, JSON_COMPACT);

        return respond(connection, err->code == EFBIG ? MHD_HTTP_CONTENT_TOO_LARGE : MHD_HTTP_BAD_REQUEST,
                       text ? text : "{\"fault_message\":\"\"}", false);
}

/* Firecracker refuses by the announced length, in its HTTP layer, whose errors have a key of their own. */
static enum MHD_Result refuse_size(struct api_server *server, struct MHD_Connection *connection,
                                   uint64_t size)
{
        scoped_free char *text =
                xasprintf("{ \"error\": \"Request payload with size %llu is larger than the limit of %zu "
                          "allowed by server.\nAll previous unanswered requests will be dropped.\" }",
                          (unsigned long long) size, server->limit);

        return respond(connection, MHD_HTTP_BAD_REQUEST, text, false);
}

static enum MHD_Result begin(struct api_server *server, struct MHD_Connection *connection, void **context)
{
        const char *length =
                MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
        uint64_t size = 0;

        if (length && text_parse_u64(length, UINT64_MAX, &size) == 0 && size > server->limit)
                return refuse_size(server, connection, size);
        *context = xcalloc(1, sizeof(struct incoming));
        return MHD_YES;
}

static enum MHD_Result answer(struct api_server *server, struct MHD_Connection *connection,
                              const char *method, const char *path, const struct incoming *incoming)
{
        const struct vm_incoming request = { .method = method,
                                             .path = path,
                                             .body = incoming->body.s ? incoming->body.s : "",
                                             .n = incoming->body.n };
        struct vm_reply reply;
        struct err err = { 0 };
        scoped_free char *text = NULL;
        enum MHD_Result result;

        if (vm_instance_request(server->instance, &request, &reply, &err) < 0)
                return respond_fault(connection, &err);
        if (reply.json)
                text = json_dumps(reply.json, JSON_COMPACT | JSON_ENCODE_ANY);
        result = respond(connection, reply.json ? MHD_HTTP_OK : MHD_HTTP_NO_CONTENT, text, reply.deprecated);
        json_decref(reply.json);
        return result;
}

/* microhttpd calls this once when the headers are there, once for each piece of body, and once at the end. */
/* NOLINTNEXTLINE(readability-function-size): the parameters are libmicrohttpd's, MHD_AccessHandlerCallback */
static enum MHD_Result on_request(void *data, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **context)
{
        struct api_server *server = data;
        struct incoming *incoming = *context;

        (void) version;
        if (!incoming)
                return begin(server, connection, context);
        if (*upload_size > 0) {
                /* only a chunked body comes here unannounced */
                if (incoming->body.n + *upload_size > server->limit)
                        return MHD_NO;
                text_append_bytes(&incoming->body, upload, *upload_size);
                *upload_size = 0;
                return MHD_YES;
        }
        return answer(server, connection, method, url, incoming);
}

static void on_completed(void *data, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code)
{
        struct incoming *incoming = *context;

        (void) data;
        (void) connection;
        (void) code;
        if (!incoming)
                return;
        text_done(&incoming->body);
        free(incoming);
        *context = NULL;
}

/* Paths are compared as they come; microhttpd would decode %2F into a slash. */
static size_t keep_escapes(void *data, struct MHD_Connection *connection, char *text)
{
        (void) data;
        (void) connection;
        return strlen(text);
}

int api_server_new(const char *path, struct vm_instance *instance, size_t limit,
                   struct api_server **ret_server, struct err *err)
{
        struct api_server *server;
        const union MHD_DaemonInfo *info;
        int sock = fd_unix_listen(path, 0600, CONNECTIONS_MAX);

        if (sock < 0)
                return err_set(err, -sock, "vmm.api",
                               "Failed to open the API socket at: %s. Check that it is not already used.",
                               path);
        (void) fd_set_nonblocking(sock, true);
        server = xcalloc(1, sizeof(*server));
        *server = (struct api_server){ .instance = instance, .limit = limit };
        server->daemon =
                MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_SUPPRESS_DATE_NO_CLOCK, 0, NULL, NULL, on_request,
                                 server, MHD_OPTION_LISTEN_SOCKET, sock, MHD_OPTION_CONNECTION_LIMIT,
                                 (unsigned) CONNECTIONS_MAX, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
                                 MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL, MHD_OPTION_END);
        info = server->daemon ? MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
        if (!info) {
                if (!server->daemon)
                        (void) close(sock);
                api_server_free(server);
                return err_set(err, EIO, "vmm.api", "the HTTP server did not start");
        }
        server->fd = info->epoll_fd;
        *ret_server = server;
        return 0;
}

void api_server_free(struct api_server *server)
{
        if (!server)
                return;
        if (server->daemon)
                MHD_stop_daemon(server->daemon);
        free(server);
}

int api_server_fd(const struct api_server *server)
{
        return server->fd;
}

int api_server_timeout_ms(const struct api_server *server)
{
        MHD_UNSIGNED_LONG_LONG timeout;

        if (MHD_get_timeout(server->daemon, &timeout) != MHD_YES)
                return -1;
        return timeout > INT_MAX ? INT_MAX : (int) timeout;
}

void api_server_run(struct api_server *server)
{
        if (MHD_run(server->daemon) != MHD_YES)
                vm_log_error("The HTTP server failed");
}
