#include "daemon/daemon_bridge.h"

#include <errno.h>
#include <limits.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/scoped.h"
#include "daemon/daemon_helper.h"
#include "daemon/daemon_tap_pool.h"

static void repaired(void *userdata, struct rpc_reply *reply, const struct err *err)
{
        struct daemon *daemon = userdata;

        daemon->bridge_is_asked_for = false;
        daemon->bridge_index = reply ? if_nametoindex(daemon->config.bridge) : UINT_MAX; /* unlike any */
        if (reply)
                log_info("the bridge is there again, with the taps of running machines", "{s:s}", "bridge",
                         daemon->config.bridge);
        else
                log_warn("the bridge could not be made again; machines are without a network", "{s:s, s:s}",
                         "bridge", daemon->config.bridge, "error", err->message);
}

static void repair(struct daemon *daemon)
{
        const struct priv_network network = { daemon->config.bridge, daemon->config.bridge_ip,
                                              daemon->config.prefix };
        struct priv_request request;
        struct err err = { 0 };

        if (priv_request_ensure_bridge(&network, &request, &err) < 0 ||
            daemon_helper_ask(daemon, &request, repaired, daemon, &err) < 0) {
                repaired(daemon, NULL, &err);
                return;
        }
        daemon->bridge_is_asked_for = true;
}

/* Not before one was made, and not for nobody: a host without machines keeps what its owner does. */
static void look(struct daemon *daemon)
{
        unsigned index = if_nametoindex(daemon->config.bridge);
        bool is_needed = daemon->guards || daemon_tap_pool_is_used(daemon);

        if (daemon->bridge_is_asked_for || index == daemon->bridge_index)
                return;
        if (is_needed && (daemon->bridge_index != 0 || index == 0))
                repair(daemon);
        else
                daemon->bridge_index = index;
}

static int on_change(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        char buffer[8192];

        (void) source;
        (void) events;
        /* what it says does not matter, nor does what was lost (ENOBUFS): the bridge is looked at itself */
        while (recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT) >= 0 || errno == ENOBUFS || errno == EINTR)
                ;
        look(userdata);
        return 0;
}

void daemon_bridge_watch(struct daemon *daemon)
{
        const struct sockaddr_nl links = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK };
        scoped_close int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
        sd_event_source *source = NULL;

        daemon->bridge_index = if_nametoindex(daemon->config.bridge);
        if (fd < 0 || bind(fd, (const struct sockaddr *) &links, sizeof(links)) < 0 ||
            sd_event_add_io(daemon->event, &source, fd, EPOLLIN, on_change, daemon) < 0) {
                log_warn("the bridge is not watched", "{s:s}", "error", strerror(errno));
                return;
        }
        (void) take_fd(&fd);
        (void) sd_event_source_set_io_fd_own(source, 1);
        (void) sd_event_source_set_floating(source, 1);
        sd_event_source_unref(source);
        if (daemon->guards && daemon->bridge_index == 0) /* removed while no daemon ran */
                repair(daemon);
}
