/*
 * guest/client: the host's side of the wall to a guest. It speaks to the agent through the VMM's vsock socket; every
 * length is bounded and every answer has a deadline, because the guest is hostile.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "guest/contract/guest_request.h"

/* What a guest is told when it calls at boot. Strings borrowed. */
struct guest_config {
        const char *hostname;
        const char *address; /* "172.16.0.2"; NULL: no network */
        unsigned prefix;     /* 24 */
        const char *gateway;
        const char *dns; /* resolver written to resolv.conf; NULL: leave */
        const char *const
                *authorized_keys; /* lines for /root/.ssh/authorized_keys; NULL-terminated, may be NULL */
        const char *git_name, *git_email; /* root's identity; NULL: leave */
        const char *root_device;          /* "/dev/vda" */
        const char *work_device;          /* "/dev/vdb", mounted at /root; NULL: none */
        const char *
                image; /* how programs of its image are run: a JSON object (agent_image.h); NULL: as root's login does */
        bool set_clock; /* to the host's, as it is when the guest calls */
};

struct guest_hello {
        char boot_id[40];
        char agent_version[32];
        uint32_t protocol;
};

/*
 * Call before the VM starts: listens where the VMM delivers a guest's call to the boot port (<uds>_<port>). Returns the
 * descriptor or -code.
 */
int guest_listen_boot(const char *vsock_uds, struct err *err);
/*
 * Accepts the guest's call on that descriptor, sends the configuration, returns when the guest has applied
 * it and its agent serves (ready). ETIMEDOUT after timeout_ms, EBADMSG when it does not speak our protocol,
 * ECANCELED when stop_fd (pidfd of the VMM, or FD_NONE) becomes readable: the VMM ended.
 */
int guest_accept_boot(int listener, int stop_fd, const struct guest_config *config, uint64_t timeout_ms,
                      struct guest_hello *ret_hello, struct err *err);

/* CONNECT to the agent of a running VM. Returns a connected stream descriptor (owned by the caller) or -code. */
int guest_connect(const char *vsock_uds, uint64_t timeout_ms, struct err *err);
/* The same on a descriptor connected to the VM's vsock socket on which nothing has been said (borrowed). */
int guest_connect_on(int fd, uint64_t timeout_ms, struct err *err);
/* To another vsock port of the guest than its agent's. */
int guest_connect_port_on(int fd, unsigned port, uint64_t timeout_ms, struct err *err);

/* All below take a fresh descriptor of guest_connect, use it up and leave it to the caller to close. */

/* What ended a command that was given a time. */
enum guest_timeout {
        GUEST_TIMEOUT_NONE,   /* it did, in time */
        GUEST_TIMEOUT_ENDED,  /* the agent: nothing of it is left */
        GUEST_TIMEOUT_SILENT, /* the agent did not say so in the time it has for that */
        GUEST_TIMEOUT_N
};

#define GUEST_TIMEOUT_STATUS 124 /* timeout(1) */

struct guest_exec {
        const char *
                session; /* attach to this one instead of starting a command; input and timeout are not used */
        bool quiet;      /* with a session: its end only */
        bool *ret_detached; /* with a session: a signal ended this, the command goes on; NULL: not asked */
        uint64_t *ret_lost; /* with a session: bytes of output that were dropped before; NULL: not asked */
        const char *const *argv;    /* NULL-terminated; NULL: root's login shell */
        const char *const *env;     /* "K=V", added to the login environment; NULL-terminated, may be NULL */
        const char *folder;         /* NULL: the user's home */
        const char *user;           /* "name", "uid", "name:group"; NULL: root */
        uint64_t timeout_ms;        /* 0: none */
        enum guest_image_use image; /* what it takes of the image's configuration, guest_request.h */
        bool login_shell; /* wrap: bash -lc (sh -lc where there is no bash), mise exec where there is mise */
        bool terminal;
        unsigned rows, columns; /* with terminal */
        const char *term;       /* value of TERM; NULL: "xterm-256color" */
        int stdin_fd;           /* borrowed; FD_NONE: end of input at once */
        int stdout_fd, stderr_fd;
        int signal_fd; /* signalfd whose signals are forwarded, SIGWINCH resizing; FD_NONE: none */
        enum guest_timeout *ret_timeout; /* with a timeout; NULL: not asked */
};
/*
 * Runs to its end: exit status 0..255, 128 + n when signal n ended it, GUEST_TIMEOUT_STATUS when its time was over, or -code
 * (ECONNRESET: the VM went away). A timeout ends this, too, when the guest is deaf or an output is not read any more.
 */
int guest_exec(int fd, const struct guest_exec *exec, struct err *err);

/* Starts the command for whoever attaches; its id is ret_id. Descriptors, terminal and signals are not used. */
#define GUEST_ID_MAX 17
int guest_exec_detached(int fd, const struct guest_exec *exec, char ret_id[GUEST_ID_MAX], struct err *err);
/* {"sessions": [{id, command, state, status, started_ns, ended_ns, lost_bytes}]}; the caller owns it. */
int guest_sessions(int fd, json_t **ret_sessions, struct err *err);
/* ENOENT: there is none of that id. */
int guest_session_kill(int fd, const char *id, int signal, struct err *err);

/* The agent unpacks a tar stream (ustar, pax) read from tar_fd below folder, made when missing. */
int guest_tar_in(int fd, const char *folder, int tar_fd, struct err *err);
/* The agent packs path (pax) into tar_fd. */
int guest_tar_out(int fd, const char *path, int tar_fd, struct err *err);
int guest_sync(int fd, uint64_t timeout_ms, struct err *err);
int guest_power_off(int fd, uint64_t timeout_ms,
                    struct err *err); /* sync, then power off; returns when synced */
int guest_shift_clock(int fd, int64_t shift_ns, bool slew, struct err *err);
int guest_health(int fd, uint64_t timeout_ms, json_t **ret_health,
                 struct err *err); /* caller owns the JSON */
int guest_stats(int fd, uint64_t timeout_ms, json_t **ret_stats, struct err *err);
int guest_ports(int fd, uint64_t timeout_ms, json_t **ret_ports, struct err *err);
