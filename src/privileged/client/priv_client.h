/*
 * The near side of the root helper: a function a method. Values are checked here too, so that a slip of ours is told
 * where it was made. The op id of the log (log_set_op_id) goes along, so both logs have one id (S-093).
 *
 * All return 0 or -code; ENOENT or ECONNREFUSED also when no helper listens on socket. Borrowed strings throughout.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "privileged/contract/priv_check.h"

/* Is the helper there and does it take us? *ret_version is the caller's; NULL when not wanted. */
int priv_ping(const char *socket, char **ret_version, struct err *err);
int priv_ensure_bridge(const char *socket, const struct priv_network *network, struct err *err);

struct priv_tap {
        const char *name;
        struct priv_network network;
        const char *guest_ip; /* both NULL: nothing passes */
        const char *mac;
        bool nat, peers;
};
/* *ret_fd is the open tap, the caller's (virtio-net header on, one queue). EBUSY while somebody has it open. */
int priv_create_tap(const char *socket, const struct priv_tap *tap, int *ret_fd, struct err *err);
/*
 * For a tap of the pool, which somebody has open. EEXIST when it has a pin already, ENODEV when it is gone. The helper works
 * while the caller does something else: each pin that was begun must be ended, which waits for it and frees it.
 */
struct priv_pin;
int priv_pin_tap_begin(const char *socket, const struct priv_tap *tap, struct priv_pin **ret_pin,
                       struct err *err);
int priv_pin_tap_end(struct priv_pin *owned_pin, struct err *err);
/* A missing one is success. What its guest was allowed goes with it; guest_ip may be NULL when a pin tells it. */
int priv_delete_tap(const char *socket, const char *tap, const char *guest_ip, struct err *err);
int priv_ensure_nat(const char *socket, const char *guest_ip, const char *tap, bool enable, struct err *err);
/* ENOENT: the process is gone. EPERM: it is not a VMM of banger. */
int priv_kill_process(const char *socket, uint32_t pid, struct err *err);
int priv_signal_process(const char *socket, uint32_t pid, const char *signal, struct err *err);

/* A request for those who do not wait for the answer here: the params are checked, and the caller's. */
struct priv_request {
        const char *method;
        json_t *params;
        unsigned n_fds; /* that come with a good answer */
};
int priv_request_ensure_bridge(const struct priv_network *network, struct priv_request *ret_request,
                               struct err *err);
int priv_request_create_tap(const struct priv_tap *tap, struct priv_request *ret_request, struct err *err);
int priv_request_delete_tap(const char *tap, struct priv_request *ret_request, struct err *err);
