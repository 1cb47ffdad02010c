#include "privileged/client/priv_client.h"

#include <errno.h>

#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "privileged/contract/priv_methods.h"
#include "rpc/rpc_client.h"

/* Longer than the helper allows itself, so that its own word comes first. */
#define ANSWER_TIMEOUT_MS 40000

/* The helper is ours and answers what was asked, but for one thing: descriptors that nobody asked for are closed. */
static int call(const char *socket, enum priv_method method, json_t *owned_params,
                struct rpc_reply *ret_reply, struct err *err)
{
        json_auto_t *params = owned_params;
        const struct rpc_request request = {
                .method = priv_methods[method].name,
                .params = params,
                .op_id = log_op_id(),
                .timeout_ms = ANSWER_TIMEOUT_MS,
        };
        int r = rpc_call(socket, &request, ret_reply, err);

        if ((r == -ENOENT || r == -ECONNREFUSED) && !*ret_reply->code) {
                *err = (struct err){ 0 };
                return err_set(err, ENOTCONN, priv_methods[method].name,
                               "the root helper (bangerd-root) does not run: nothing listens on '%s'; "
                               "'banger vm start' and 'vm run' start it, by root or with sudo",
                               socket);
        }
        if (r < 0)
                return err_wrap(err, "root helper");
        if (ret_reply->n_fds != priv_methods[method].n_fds_out)
                return err_set(err, EBADMSG, priv_methods[method].name,
                               "root helper: answered with %zu descriptors instead of %u", ret_reply->n_fds,
                               priv_methods[method].n_fds_out);
        return 0;
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

int priv_pin_tap(const char *socket, const struct priv_tap *tap, struct err *err)
{
        int r = check_tap(tap, err);

        return r == 0 ? call_without_answer(socket, PRIV_PIN_TAP, tap_params(tap), err) : r;
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
