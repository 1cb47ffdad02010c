/*
 * Where everything is (spec 2.4): one module computes every path, nothing else joins roots.
 * System layout: /var/lib/banger and friends, used when /etc/banger/install.toml exists and whenever root
 * runs the program. User layout: the XDG folders.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

#define LAYOUT_INSTALL_FILE "/etc/banger/install.toml"
/* The account that owns the VMs where only root exists: made by `make quickstart`, never used to log in. */
#define LAYOUT_SERVICE_USER "banger"

struct layout {
        bool is_system;
        bool is_installed; /* install.toml exists: systemd starts the services */
        uid_t owner_uid;   /* the one user whose VMs these are */
        gid_t owner_gid;
        /* all owned, absolute, without a trailing slash */
        char *owner_home;
        char *state;   /* database, images, kernels, vms */
        char *cache;   /* downloads */
        char *runtime; /* sockets of the daemon and the VMs; 0700, owner */
        char *config;  /* config.toml */
        char *daemon_socket;
        char *helper_folder; /* 0711, root */
        char *helper_socket;
};

/*
 * The layout for the calling user; want_system forces the system one (`bangerd --system`). Fails
 * with EPERM when an installation exists and belongs to somebody else, with ENOENT when root calls
 * and neither an installation nor the service user exists.
 */
int layout_find(bool want_system, struct layout *ret_layout, struct err *err);
void layout_done(struct layout *layout);

/* <base>/a/b, owned by the caller. */
char *layout_join(const char *base, const char *a, const char *b);
