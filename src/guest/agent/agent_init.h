/*
 * Bringing a guest up, as its first process: file systems, modules, the call to the host, its configuration, the switch
 * to the real root, the image's own init. Each step says on the console what it could not do; only what makes the guest
 * useless (no call, no root disk) ends it.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

#define AGENT_NEW_ROOT    "/newroot"
#define AGENT_MODULES_MAX 8

/* Never returns: executes the image's init with the kernel's arguments, or stays as one. */
__attribute__((noreturn)) void agent_init(char **argv);
/* True when the first process of this guest is ours because the image has none. */
bool agent_is_init(void);

/* A line for the console, with the agent's name in front. */
void agent_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* /proc, /sys, /dev with pts and shm, /run, /tmp, cgroup2. What exists already is kept. */
void agent_mount_kernel(void);
/* Moves them under AGENT_NEW_ROOT, makes that the root and frees the initramfs. */
int agent_switch_root(struct err *err);
/* The root disk at AGENT_NEW_ROOT and the work disk at its /root. */
int agent_mount_disks(const json_t *config, struct err *err);
/* In the real root, before anybody else writes: from now on the disks keep what was synced. */
void agent_settle_disks(const json_t *config);

/* Loads those modules of `folder` that its file `list` names, in that order. No such file: nothing to load. */
void agent_load_modules(const char *folder, const char *list);

/* Modules whose files are open: they can be loaded when the initramfs is gone. */
struct agent_modules {
        char *names[AGENT_MODULES_MAX]; /* owned */
        int fds[AGENT_MODULES_MAX];     /* owned */
        unsigned n;
};
void agent_open_modules(const char *folder, const char *list, struct agent_modules *ret_modules);
void agent_load_opened(const struct agent_modules *modules);
void agent_modules_done(struct agent_modules *modules);

/* Host name, resolver, keys, git identity below `root`: what a first command may add to. A part that fails is told on the console. */
void agent_apply_files(const char *root, const json_t *config);
/* What only services read that the image's init has yet to start: sshd, systemd-networkd. */
void agent_apply_service_files(const char *root, const json_t *config);
/* lo, and eth0 with address and default route. */
int agent_apply_network(const json_t *config, struct err *err);

/* The first process when the image has none: keeps an agent running on listener, starts the agent again if it dies, reaps, powers off on SIGTERM. */
__attribute__((noreturn)) void agent_stay_init(int listener);
