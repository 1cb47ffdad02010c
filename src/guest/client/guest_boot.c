/* The call that a guest makes while it boots: hello, what it shall be, ready. And the way to call it later. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "guest/client/guest_client.h"
#include "guest/client/guest_internal.h"

#define BACKLOG        128 /* a full one stalls Firecracker's thread: it connects blocking */
#define OK_LINE_MAX    32
#define OP_BOOT        "guest.boot"
#define OP_CONNECT     "guest.connect"
#define HELLO_GRACE_MS UINT64_C(10000)

int guest_listen_boot(const char *vsock_uds, struct err *err)
{
        scoped_free char *path = xasprintf("%s_%u", vsock_uds, GUEST_BOOT_PORT);
        int r = file_remove(path, err); /* of a start that was killed */

        if (r < 0)
                return r;
        r = fd_unix_listen(path, 0600, BACKLOG);
        if (r < 0) {
                errno = -r;
                return err_errno(err, OP_BOOT, "listen for the guest's call on '%s'", path);
        }
        return r;
}

/* Waits for the guest's connection or the VMM's end. */
static int accept_call(int listener, int stop_fd, uint64_t deadline_ms, struct err *err)
{
        for (;;) {
                struct pollfd p[2] = {
                        {.fd = listener, .events = POLLIN},
                        { .fd = stop_fd, .events = POLLIN}
                };
                int n = poll(p, 2, clock_left_ms(deadline_ms)), fd;

                if (n < 0 && errno != EINTR)
                        return err_errno(err, OP_BOOT, "wait for the guest's call");
                if (n == 0)
                        return err_set(err, ETIMEDOUT, OP_BOOT,
                                       "the guest did not call in time; see the VM's console log");
                if (n > 0 && (p[0].revents & POLLIN) != 0) {
                        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
                        if (fd >= 0)
                                return fd;
                        if (errno != EINTR && errno != ECONNABORTED && errno != EAGAIN)
                                return err_errno(err, OP_BOOT, "accept the guest's call");
                } else if (n > 0 && p[1].revents != 0) {
                        return err_set(err, ECANCELED, OP_BOOT,
                                       "the VM ended before its guest called; see the VM's console log");
                }
        }
}

/* Waits until fd has something to read or the VMM ended. */
static int wait_word(int fd, int stop_fd, uint64_t deadline_ms, struct err *err)
{
        for (;;) {
                struct pollfd p[2] = {
                        {.fd = fd,       .events = POLLIN},
                        { .fd = stop_fd, .events = POLLIN}
                };
                int n = poll(p, 2, clock_left_ms(deadline_ms));

                if (n > 0 && p[0].revents != 0)
                        return 0;
                if (n > 0)
                        return err_set(err, ECANCELED, OP_BOOT, "the VM ended while its guest was set up");
                if (n == 0)
                        return err_set(err, ETIMEDOUT, OP_BOOT,
                                       "the guest called, then was silent for too long");
                if (errno != EINTR)
                        return err_errno(err, OP_BOOT, "wait for the guest");
        }
}

static int receive_boot(int fd, uint64_t deadline_ms, enum guest_frame_type wanted, uint8_t **ret_body,
                        struct err *err)
{
        struct guest_frame frame;
        int r = guest_frame_receive(fd, deadline_ms, &frame, ret_body);

        if (r == 0 && frame.type == GUEST_FRAME_ERROR)
                return guest_error_take(&frame, OP_BOOT, err);
        if (r == 0 && frame.type != wanted)
                r = -EBADMSG;
        return r < 0 ? guest_transport_error(r, OP_BOOT, "speak with the booting guest", err) : 0;
}

/* A guest's text, cut and reduced to what may be shown. */
static void take_word(const json_t *json, const char *key, char *out, size_t n)
{
        (void) snprintf(out, n, "%s", json_text(json, key));
        for (; *out != '\0'; out++)
                if (*out < ' ' || *out > '~')
                        *out = '?';
}

static int read_hello(int fd, uint64_t deadline_ms, struct guest_hello *hello, struct err *err)
{
        scoped_free uint8_t *body = NULL;
        json_t *json = NULL;
        int r = receive_boot(fd, deadline_ms, GUEST_FRAME_HELLO, &body, err);

        if (r < 0)
                return r;
        r = json_parse((const char *) body, strlen((const char *) body), "the guest's hello", &json, err);
        if (r < 0)
                return r;
        take_word(json, "boot_id", hello->boot_id, sizeof(hello->boot_id));
        take_word(json, "version", hello->agent_version, sizeof(hello->agent_version));
        hello->protocol = (uint32_t) json_u64(json, "protocol", 0);
        json_decref(json);
        if (hello->protocol != GUEST_PROTOCOL)
                return err_set(err, EBADMSG, OP_BOOT,
                               "the guest's agent speaks protocol %u, this program %u; stop and start the VM",
                               hello->protocol, GUEST_PROTOCOL);
        return 0;
}

/* Sets key unless value is NULL; what is not UTF-8 (a name in git's configuration may be) is left out. */
static void set_text(json_t *json, const char *key, const char *value)
{
        if (value)
                (void) json_object_set_new(json, key, json_string(value));
}

static char *config_dump(const struct guest_config *config)
{
        json_t *json = json_object(), *keys = json_array();
        char *text;

        set_text(json, "hostname", config->hostname);
        set_text(json, "address", config->address);
        set_text(json, "gateway", config->gateway);
        set_text(json, "dns", config->dns);
        if (*log_op_id())
                set_text(json, "op_id", log_op_id());
        set_text(json, "git_name", config->git_name);
        set_text(json, "git_email", config->git_email);
        set_text(json, "root_device", config->root_device);
        set_text(json, "work_device", config->work_device);
        for (const char *const *key = config->authorized_keys; key && *key; key++)
                (void) json_array_append_new(keys, json_string(*key));
        (void) json_object_set_new(json, "authorized_keys", keys);
        if (config->image)
                (void) json_object_set_new(json, "image", json_loads(config->image, 0, NULL));
        (void) json_object_set_new(json, "prefix", json_integer((json_int_t) config->prefix));
        /* read here, when the guest has called: it took seconds to boot */
        (void) json_object_set_new(json, "real_ns",
                                   json_integer(config->set_clock ? (json_int_t) clock_real_ns() : 0));
        text = json_dumps(json, JSON_COMPACT);
        json_decref(json);
        return text;
}

static int send_config(int fd, const struct guest_config *config, uint64_t deadline_ms, struct err *err)
{
        scoped_free char *text = config_dump(config);
        int r;

        if (!text)
                return err_set(err, ENOMEM, OP_BOOT, "no memory for the guest's configuration");
        if (strlen(text) > guest_frame_max(GUEST_FRAME_CONFIG))
                return err_set(err, E2BIG, OP_BOOT, "the guest's configuration is too large (keys?)");
        r = guest_frame_send(fd, GUEST_FRAME_CONFIG, text, strlen(text), deadline_ms);
        return r < 0 ? guest_transport_error(r, OP_BOOT, "send the guest its configuration", err) : 0;
}

int guest_accept_boot(int listener, int stop_fd, const struct guest_config *config, uint64_t timeout_ms,
                      struct guest_hello *ret_hello, struct err *err)
{
        uint64_t deadline_ms = clock_monotonic_ms() + timeout_ms, hello_ms;
        scoped_close int fd = accept_call(listener, stop_fd, deadline_ms, err);
        scoped_free uint8_t *body = NULL;
        int r;

        if (fd < 0)
                return fd;
        /* A guest that calls has its hello at hand; it may not keep the start waiting for all of its time. */
        hello_ms = clock_monotonic_ms() + HELLO_GRACE_MS;
        r = read_hello(fd, hello_ms < deadline_ms ? hello_ms : deadline_ms, ret_hello, err);
        if (r == 0)
                r = send_config(fd, config, deadline_ms, err);
        if (r == 0)
                r = wait_word(fd, stop_fd, deadline_ms, err);
        if (r == 0)
                r = receive_boot(fd, deadline_ms, GUEST_FRAME_READY, &body, err);
        return r;
}

/*
 * Firecracker docs/vsock.md: "CONNECT <port>\n" in one write, "OK <host port>\n" back, or the end of the stream when the
 * guest refused. Read a byte at a time: what follows belongs to the protocol.
 */
int guest_connect_on(int fd, uint64_t timeout_ms, struct err *err)
{
        return guest_connect_port_on(fd, GUEST_AGENT_PORT, timeout_ms, err);
}

int guest_connect_port_on(int fd, unsigned port, uint64_t timeout_ms, struct err *err)
{
        uint64_t deadline_ms = clock_monotonic_ms() + timeout_ms;
        char line[OK_LINE_MAX];
        int n = snprintf(line, sizeof(line), "CONNECT %u\n", port), r;

        r = fd_write_full(fd, line, (size_t) n);
        if (r < 0)
                return guest_transport_error(r, OP_CONNECT, "call the guest's agent", err);
        for (size_t i = 0; i < sizeof(line); i++) {
                r = fd_read_until(fd, &line[i], 1, deadline_ms);
                if (r == -ENODATA || r == -ECONNRESET)
                        return err_set(err, ECONNREFUSED, OP_CONNECT,
                                       "the guest's agent does not take calls");
                if (r < 0)
                        return guest_transport_error(r, OP_CONNECT, "call the guest's agent", err);
                if (line[i] == '\n')
                        return i >= 3 && memcmp(line, "OK ", 3) == 0
                                       ? 0
                                       : err_set(err, EBADMSG, OP_CONNECT,
                                                 "the VM's vsock socket answered with something else than "
                                                 "OK");
        }
        return err_set(err, EBADMSG, OP_CONNECT, "the VM's vsock socket answered with too long a line");
}

int guest_connect(const char *vsock_uds, uint64_t timeout_ms, struct err *err)
{
        scoped_close int fd = fd_unix_connect(vsock_uds);
        int r;

        if (fd < 0) {
                errno = -fd;
                return err_errno(err, OP_CONNECT, "connect to the VM's vsock socket '%s'", vsock_uds);
        }
        r = guest_connect_on(fd, timeout_ms, err);
        return r < 0 ? r : take_fd(&fd);
}
