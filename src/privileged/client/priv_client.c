#include "privileged/client/priv_client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/log.h"
#include "base/scoped.h"
#include "base/text.h"
#include "privileged/contract/priv_methods.h"
#include "rpc/rpc_client.h"

/* Longer than the helper allows itself, so that its own word comes first. */
#define ANSWER_TIMEOUT_MS 40000

/* A request under way. */
struct request {
        enum priv_method method;
        int sock; /* owned */
        struct rpc_request asked;
        struct rpc_pending pending;
};

static void request_done(struct request *request)
{
        rpc_pending_done(&request->pending);
        close_at_scope_end(&request->sock);
}

static void request_done_at_scope_end(struct request *request)
{
        request_done(request);
}

static int explain(int r, struct err *err)
{
        return r < 0 ? err_wrap(err, "root helper") : r;
}

/* request stays where it is until it is done. */
static int begin(const char *socket, enum priv_method method, json_t *owned_params, struct request *request,
                 struct err *err)
{
        json_auto_t *params = owned_params;
        int r;

        *request = (struct request){
                .method = method,
                .sock = fd_unix_connect(socket),
                .asked = {
                        .method = priv_methods[method].name,
                        .params = params,
                        .op_id = log_op_id(),
                        .timeout_ms = ANSWER_TIMEOUT_MS,
                },
        };
        if (request->sock == -ENOENT || request->sock == -ECONNREFUSED)
                return err_set(err, ENOTCONN, priv_methods[method].name,
                               "the root helper (bangerd-root) does not run: nothing listens on '%s'; "
                               "'banger vm start' and 'vm run' start it, by root or with sudo",
                               socket);
        if (request->sock < 0)
                return err_set(err, -request->sock, priv_methods[method].name,
                               "root helper: connect to '%s': %s", socket, strerror(-request->sock));
        r = explain(rpc_pending_begin(request->sock, &request->asked, &request->pending, err), err);
        request->asked.params = NULL; /* sent */
        return r;
}

/* The helper is ours and answers what was asked, but for one thing: descriptors that nobody asked for are closed. */
static int end(struct request *request, struct rpc_reply *ret_reply, struct err *err)
{
        const struct rpc_method *method = &priv_methods[request->method];
        int r = explain(rpc_pending_wait(&request->pending, ret_reply, err), err);

        if (r == 0 && ret_reply->n_fds != method->n_fds_out)
                return err_set(err, EBADMSG, method->name,
                               "root helper: answered with %zu descriptors instead of %u", ret_reply->n_fds,
                               method->n_fds_out);
        return r;
}

static int call(const char *socket, enum priv_method method, json_t *owned_params,
                struct rpc_reply *ret_reply, struct err *err)
{
        scoped(request_done) struct request request = { .sock = FD_NONE };
        int r = begin(socket, method, owned_params, &request, err);

        return r < 0 ? r : end(&request, ret_reply, err);
}

static int call_without_answer(const char *socket, enum priv_method method, json_t *owned_params,
                               struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };

        return call(socket, method, owned_params, &reply, err);
}

int priv_ping(const char *socket, char **ret_version, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        int r = call(socket, PRIV_PING, NULL, &reply, err);

        if (r == 0 && ret_version)
                *ret_version = xstrdup(json_text(reply.result, "version"));
        return r;
}

static json_t *network_params(const struct priv_network *network)
{
        return json_pack("{s:s, s:s, s:I}", "bridge", network->bridge, "bridge_ip", network->bridge_ip,
                         "cidr", (json_int_t) network->cidr);
}

int priv_ensure_bridge(const char *socket, const struct priv_network *network, struct err *err)
{
        int r = priv_check_network(network, err);

        return r == 0 ? call_without_answer(socket, PRIV_ENSURE_BRIDGE, network_params(network), err) : r;
}

static int check_tap(const struct priv_tap *tap, struct err *err)
{
        uint8_t mac[PRIV_MAC_BYTES];
        uint32_t address;
        int r = priv_check_tap(tap->name, err);

        if (r == 0)
                r = priv_check_network(&tap->network, err);
        if (r == 0 && tap->guest_ip)
                r = priv_check_guest_ip(&tap->network, tap->guest_ip, &address, err);
        if (r == 0 && tap->mac)
                r = priv_check_mac(tap->mac, mac, err);
        return r;
}

static json_t *tap_params(const struct priv_tap *tap)
{
        json_t *params = network_params(&tap->network);

        (void) json_object_set_new(params, "tap", json_string(tap->name));
        if (tap->guest_ip)
                (void) json_object_set_new(params, "guest_ip", json_string(tap->guest_ip));
        if (tap->mac)
                (void) json_object_set_new(params, "mac", json_string(tap->mac));
        (void) json_object_set_new(params, "nat", json_boolean(tap->nat));
        (void) json_object_set_new(params, "peers", json_boolean(tap->peers));
        return params;
}

int priv_create_tap(const char *socket, const struct priv_tap *tap, int *ret_fd, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        int r = check_tap(tap, err);

        if (r == 0)
                r = call(socket, PRIV_CREATE_TAP, tap_params(tap), &reply, err);
        if (r == 0) {
                *ret_fd = reply.fds[0];
                reply.n_fds = 0;
        }
        return r;
}

struct priv_pin {
        struct request request;
};

int priv_pin_tap_begin(const char *socket, const struct priv_tap *tap, struct priv_pin **ret_pin,
                       struct err *err)
{
        struct priv_pin *pin;
        int r = check_tap(tap, err);

        if (r < 0)
                return r;
        pin = xcalloc(1, sizeof(*pin));
        r = begin(socket, PRIV_PIN_TAP, tap_params(tap), &pin->request, err);
        if (r == 0) {
                *ret_pin = pin;
                return 0;
        }
        request_done(&pin->request);
        free(pin);
        return r;
}

int priv_pin_tap_end(struct priv_pin *owned_pin, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        int r = end(&owned_pin->request, &reply, err);

        request_done(&owned_pin->request);
        free(owned_pin);
        return r;
}

int priv_delete_tap(const char *socket, const char *tap, const char *guest_ip, struct err *err)
{
        uint32_t address;
        int r = priv_check_tap(tap, err);

        if (r == 0 && guest_ip)
                r = priv_check_ipv4(guest_ip, "guest_ip", &address, err);
        if (r < 0)
                return r;
        return call_without_answer(socket, PRIV_DELETE_TAP,
                                   json_pack("{s:s, s:s*}", "tap", tap, "guest_ip", guest_ip), err);
}

int priv_ensure_nat(const char *socket, const char *guest_ip, const char *tap, bool enable, struct err *err)
{
        uint32_t address;
        int r = priv_check_tap(tap, err);

        if (r == 0)
                r = priv_check_ipv4(guest_ip, "guest_ip", &address, err);
        if (r < 0)
                return r;
        return call_without_answer(
                socket, PRIV_ENSURE_NAT,
                json_pack("{s:s, s:s, s:b}", "guest_ip", guest_ip, "tap", tap, "enable", (int) enable), err);
}

int priv_kill_process(const char *socket, uint32_t pid, struct err *err)
{
        int r = priv_check_pid(pid, err);

        if (r < 0)
                return r;
        return call_without_answer(socket, PRIV_KILL_PROCESS, json_pack("{s:I}", "pid", (json_int_t) pid),
                                   err);
}

int priv_signal_process(const char *socket, uint32_t pid, const char *signal, struct err *err)
{
        int number;
        int r = priv_check_pid(pid, err);

        if (r == 0)
                r = priv_check_signal(signal, &number, err);
        if (r < 0)
                return r;
        return call_without_answer(socket, PRIV_SIGNAL_PROCESS,
                                   json_pack("{s:I, s:s}", "pid", (json_int_t) pid, "signal", signal), err);
}

static struct priv_request request_of(enum priv_method method, json_t *owned_params)
{
        return (struct priv_request){ priv_methods[method].name, owned_params,
                                      priv_methods[method].n_fds_out };
}

int priv_request_ensure_bridge(const struct priv_network *network, struct priv_request *ret_request,
                               struct err *err)
{
        int r = priv_check_network(network, err);

        if (r == 0)
                *ret_request = request_of(PRIV_ENSURE_BRIDGE, network_params(network));
        return r;
}

int priv_request_create_tap(const struct priv_tap *tap, struct priv_request *ret_request, struct err *err)
{
        int r = check_tap(tap, err);

        if (r == 0)
                *ret_request = request_of(PRIV_CREATE_TAP, tap_params(tap));
        return r;
}

int priv_request_delete_tap(const char *tap, struct priv_request *ret_request, struct err *err)
{
        int r = priv_check_tap(tap, err);

        if (r == 0)
                *ret_request = request_of(PRIV_DELETE_TAP, json_pack("{s:s}", "tap", tap));
        return r;
}
