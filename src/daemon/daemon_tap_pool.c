#include "daemon/daemon_tap_pool.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/scoped.h"
#include "base/text.h"
#include "daemon/daemon_helper.h"

#define PREFIX    "tap-pool-"
#define INDEX_MAX 999999 /* what an interface's name has room for */
#define BATCH_MAX 8
#define READY_MAX DAEMON_TAP_POOL_MAX
/* Taps of a former daemon beyond these stay as they are until the next one. */
#define LEFT_MAX 256
/* A helper that was killed is back within this, wherever something starts it again. */
#define RETRY_USEC  UINT64_C(1000000)
#define RETRIES_MAX 10
/* What the helper still made for a daemon that ended is there after this, long though the helper may take for a tap. */
#define SETTLED_USEC (2 * UINT64_C(1000000))

/* One request of a batch. */
struct making {
        struct daemon *daemon;
        char name[DAEMON_TAP_NAME_MAX];
};

struct daemon_tap_pool {
        struct making batch[BATCH_MAX]; /* the first n_asked are in use while n_open is not 0 */
        struct daemon_tap ready[READY_MAX];
        unsigned n_ready;
        char left[LEFT_MAX][DAEMON_TAP_NAME_MAX]; /* of a former daemon or helper, not taken up yet */
        unsigned n_left;
        unsigned next_index;
        unsigned n_asked, n_open, n_failed; /* of the batch in progress; n_open 0: there is none */
        unsigned n_unanswered;              /* of n_failed: the helper went without a word */
        unsigned n_retries;                 /* since somebody asked for warming, or a tap came */
        sd_event_source *retry, *settled;   /* owned */
};

static void warm(struct daemon *daemon);

static int index_of(const char *name, unsigned *ret_index)
{
        uint64_t index;

        if (!text_starts_with(name, PREFIX) ||
            text_parse_u64(name + sizeof(PREFIX) - 1, INDEX_MAX, &index) < 0)
                return -EINVAL;
        *ret_index = (unsigned) index;
        return 0;
}

static void pass_by(struct daemon_tap_pool *pool, unsigned index)
{
        if (index >= pool->next_index)
                pool->next_index = index + 1;
}

static bool is_of_a_vm(const char *name, const struct store_vm *vms, unsigned n_vms)
{
        for (unsigned i = 0; i < n_vms; i++)
                if (strcmp(vms[i].tap, name) == 0)
                        return true;
        return false;
}

static bool is_of_the_pool(const struct daemon_tap_pool *pool, const char *name)
{
        for (unsigned i = 0; i < pool->n_ready; i++)
                if (strcmp(pool->ready[i].name, name) == 0)
                        return true;
        for (unsigned i = 0; i < pool->n_left; i++)
                if (strcmp(pool->left[i], name) == 0)
                        return true;
        return false;
}

/* While no batch is open: the taps that it makes would be taken for left ones. */
static void find_left(struct daemon_tap_pool *pool, const struct store_vm *vms, unsigned n_vms)
{
        struct if_nameindex *all = if_nameindex();
        unsigned index;

        for (const struct if_nameindex *i = all; i && i->if_index != 0; i++) {
                if (index_of(i->if_name, &index) < 0)
                        continue;
                pass_by(pool, index);
                if (pool->n_left < LEFT_MAX && !is_of_a_vm(i->if_name, vms, n_vms) &&
                    !is_of_the_pool(pool, i->if_name))
                        (void) snprintf(pool->left[pool->n_left++], DAEMON_TAP_NAME_MAX, "%s", i->if_name);
        }
        if (all)
                if_freenameindex(all);
}

/* A tap is in the record of its VM from the moment it is taken, so what is in none is nobody's. */
static int on_settled(sd_event_source *source, uint64_t usec, void *userdata)
{
        struct daemon *daemon = userdata;
        struct daemon_tap_pool *pool = daemon->tap_pool;
        struct store_vm *vms = NULL;
        struct err err = { 0 };
        unsigned n = 0;

        (void) usec;
        if (pool->n_open > 0) {
                (void) sd_event_source_set_time_relative(source, SETTLED_USEC);
                (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
                return 0;
        }
        if (store_vm_list(daemon->store, &vms, &n, &err) < 0) {
                log_warn("taps of a former daemon are not looked for", "{s:s}", "error", err.message);
                return 0;
        }
        find_left(pool, vms, n);
        for (unsigned i = 0; i < n; i++)
                store_vm_done(&vms[i]);
        free(vms);
        if (pool->n_left > 0)
                warm(daemon);
        return 0;
}

/* Requests of a daemon that has just ended may be under way: their taps come after the first look. */
static void look_again_later(struct daemon *daemon)
{
        int r = sd_event_add_time_relative(daemon->event, &daemon->tap_pool->settled, CLOCK_MONOTONIC,
                                           SETTLED_USEC, 0, on_settled, daemon);

        if (r < 0)
                log_warn("taps of a former daemon are not looked for", "{s:s}", "error", strerror(-r));
}

void daemon_tap_pool_init(struct daemon *daemon, const struct store_vm *vms, unsigned n_vms)
{
        struct daemon_tap_pool *pool = xcalloc(1, sizeof(*pool));
        unsigned index;

        daemon->tap_pool = pool;
        for (unsigned i = 0; i < n_vms; i++)
                if (index_of(vms[i].tap, &index) == 0)
                        pass_by(pool, index); /* its name stays its own while the record lives */
        find_left(pool, vms, n_vms);
        look_again_later(daemon);
        if (pool->n_left > 0)
                daemon_tap_pool_warm(daemon);
}

/* Somebody may have removed the interface below an open descriptor (tuntap.rst: EBADFD then). */
static bool is_alive(const struct daemon_tap *tap)
{
        struct ifreq request = { 0 };

        return ioctl(tap->fd, TUNGETIFF, &request) == 0 && strcmp(request.ifr_name, tap->name) == 0;
}

bool daemon_tap_pool_take(struct daemon *daemon, struct daemon_tap *ret_tap)
{
        struct daemon_tap_pool *pool = daemon->tap_pool;

        while (pool->n_ready > 0) {
                struct daemon_tap tap = pool->ready[0];

                memmove(pool->ready, pool->ready + 1, --pool->n_ready * sizeof(tap));
                if (is_alive(&tap)) {
                        *ret_tap = tap;
                        return true;
                }
                log_warn("a tap of the pool is gone", "{s:s}", "tap", tap.name);
                (void) close(tap.fd);
        }
        return false;
}

void daemon_tap_pool_put_back(struct daemon *daemon, struct daemon_tap *owned_tap)
{
        struct daemon_tap_pool *pool = daemon->tap_pool;

        if (pool->n_ready < READY_MAX)
                pool->ready[pool->n_ready++] = *owned_tap;
        else
                (void) close(owned_tap->fd);
        owned_tap->fd = FD_NONE;
}

/* ---- warming ---- */

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
        (void) source;
        (void) usec;
        warm(userdata);
        return 0;
}

/* The helper is gone, and most likely for a moment only. */
static void retry_later(struct daemon *daemon)
{
        struct daemon_tap_pool *pool = daemon->tap_pool;
        int r;

        if (pool->n_retries == RETRIES_MAX)
                return; /* the next release tries again */
        pool->n_retries++;
        pool->retry = sd_event_source_disable_unref(pool->retry);
        r = sd_event_add_time_relative(daemon->event, &pool->retry, CLOCK_MONOTONIC, RETRY_USEC, 0, on_retry,
                                       daemon);
        if (r < 0)
                log_warn("the tap pool is not filled up", "{s:s}", "error", strerror(-r));
}

/* That nobody answered does not say that nothing was made: asked for again, the name's tap is taken up. */
static void keep_name(struct daemon_tap_pool *pool, const char *name)
{
        if (pool->n_left < LEFT_MAX)
                (void) snprintf(pool->left[pool->n_left++], DAEMON_TAP_NAME_MAX, "%s", name);
}

static void batch_ended(struct daemon *daemon)
{
        struct daemon_tap_pool *pool = daemon->tap_pool;
        unsigned n_failed = pool->n_failed, n_asked = pool->n_asked, n_unanswered = pool->n_unanswered;

        pool->n_asked = pool->n_failed = pool->n_unanswered = 0;
        if (n_failed == n_asked && n_unanswered > 0) {
                retry_later(daemon);
                return;
        }
        if (n_failed ==
            n_asked) { /* the host has no more taps to give: the next release tries again (S-207) */
                log_warn("no tap of a batch could be made; machines make their own until one can", "{s:i}",
                         "tried", (int) n_asked);
                return;
        }
        log_debug("taps made", "{s:i, s:i}", "made", (int) (n_asked - n_failed), "ready",
                  (int) pool->n_ready);
        pool->n_retries = 0;
        warm(daemon);
}

static void made(void *userdata, struct rpc_reply *reply, const struct err *err)
{
        struct making *making = userdata;
        struct daemon *daemon = making->daemon;
        struct daemon_tap_pool *pool = daemon->tap_pool;

        if (!reply) {
                pool->n_failed++;
                log_debug("making a tap failed", "{s:s, s:s}", "tap", making->name, "error", err->message);
                if (err->code == ECONNRESET || err->code == ETIMEDOUT) {
                        pool->n_unanswered++;
                        keep_name(pool, making->name);
                }
        } else if (pool->n_ready < READY_MAX) {
                struct daemon_tap *tap = &pool->ready[pool->n_ready++];

                memcpy(tap->name, making->name, sizeof(tap->name));
                tap->fd = reply->fds[0];
                reply->n_fds = 0;
        }
        if (--pool->n_open == 0)
                batch_ended(daemon);
}

static int ask_for(struct daemon *daemon, const char *name, struct err *err)
{
        const struct priv_tap wish = {
                .name = name,
                .network = {daemon->config.bridge, daemon->config.bridge_ip, daemon->config.prefix},
        };
        struct making *making = &daemon->tap_pool->batch[daemon->tap_pool->n_asked];
        struct priv_request request;
        int r = priv_request_create_tap(&wish, &request, err);

        making->daemon = daemon;
        (void) snprintf(making->name, sizeof(making->name), "%s", name);
        return r == 0 ? daemon_helper_ask(daemon, &request, made, making, err) : r;
}

static void removed(void *userdata, struct rpc_reply *reply, const struct err *err)
{
        (void) userdata;
        if (!reply)
                log_warn("removing a tap that is too many failed", "{s:s}", "error", err->message);
}

/* More than the pool holds were left: the size was made smaller. */
static void remove_left(struct daemon *daemon)
{
        struct daemon_tap_pool *pool = daemon->tap_pool;

        while (pool->n_left > 0) {
                struct priv_request request;
                struct err err = { 0 };

                if (priv_request_delete_tap(pool->left[--pool->n_left], &request, &err) < 0 ||
                    daemon_helper_ask(daemon, &request, removed, NULL, &err) < 0)
                        log_warn("a tap that is too many stays", "{s:s, s:s}", "tap",
                                 pool->left[pool->n_left], "error", err.message);
        }
}

/* The next name: one that is there already, else a new one. False: all numbers were used. */
static bool next_name(struct daemon_tap_pool *pool, char ret_name[DAEMON_TAP_NAME_MAX])
{
        if (pool->n_left > 0) {
                memcpy(ret_name, pool->left[--pool->n_left], DAEMON_TAP_NAME_MAX);
                return true;
        }
        if (pool->next_index > INDEX_MAX)
                return false;
        (void) snprintf(ret_name, DAEMON_TAP_NAME_MAX, PREFIX "%u", pool->next_index++);
        return true;
}

static void warm(struct daemon *daemon)
{
        struct daemon_tap_pool *pool = daemon->tap_pool;
        unsigned missing = daemon->config.tap_pool_size;

        if (pool->n_open > 0)
                return; /* S-205 */
        missing = missing > pool->n_ready ? missing - pool->n_ready : 0;
        if (missing == 0)
                remove_left(daemon);
        for (unsigned i = 0; i < missing && i < BATCH_MAX; i++) {
                char name[DAEMON_TAP_NAME_MAX];
                struct err err = { 0 };

                if (!next_name(pool, name))
                        break;
                if (ask_for(daemon, name, &err) < 0) {
                        /* nobody was asked, so the name is still free and nothing is wrong with the host's taps */
                        log_debug("the tap pool stays as it is", "{s:s}", "error", err.message);
                        keep_name(pool, name);
                        if (pool->n_open == 0)
                                retry_later(daemon);
                        break;
                }
                pool->n_asked++;
                pool->n_open++;
        }
}

void daemon_tap_pool_warm(struct daemon *daemon)
{
        if (!daemon->tap_pool)
                return;
        daemon->tap_pool->n_retries = 0;
        warm(daemon);
}

json_t *daemon_tap_pool_object(const struct daemon *daemon)
{
        const struct daemon_tap_pool *pool = daemon->tap_pool;

        return json_pack("{s:i, s:i, s:b}", "size", (int) daemon->config.tap_pool_size, "ready",
                         pool ? (int) pool->n_ready : 0, "warming", pool ? pool->n_open > 0 : 0);
}

bool daemon_tap_pool_is_used(const struct daemon *daemon)
{
        return daemon->tap_pool && (daemon->tap_pool->n_ready > 0 || daemon->tap_pool->n_open > 0);
}

/* The taps stay: the next daemon takes them up. */
void daemon_tap_pool_done(struct daemon *daemon)
{
        struct daemon_tap_pool *pool = daemon->tap_pool;

        for (unsigned i = 0; pool && i < pool->n_ready; i++)
                (void) close(pool->ready[i].fd);
        if (pool) {
                sd_event_source_disable_unref(pool->retry);
                sd_event_source_disable_unref(pool->settled);
        }
        free(pool);
        daemon->tap_pool = NULL;
}
