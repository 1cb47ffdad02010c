/* config.toml (spec 4): read once at start; every key optional; an unknown key is an error that names it. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"
#include "base/log.h"

#define DAEMON_TAP_POOL_MAX 64

/* All strings owned. */
struct daemon_config {
        enum log_level log_level;
        char *vmm;             /* "auto", "firecracker", "qemu" */
        char *firecracker_bin; /* NULL: searched */
        char *default_image;
        char *bridge;
        char *bridge_ip;
        uint32_t prefix;
        uint32_t tap_pool_size; /* taps kept ready, 0: none */
        char *dns;
        char *ssh_key_path; /* NULL: generated */
        uint32_t vcpu;
        uint64_t memory_mib;
        uint64_t disk_bytes;
        uint64_t overlay_bytes; /* size of root file systems made here */
        uint64_t boot_timeout_ms;
        json_t *registries;     /* owned; {"ghcr.io": {"insecure", "ca", "mirrors"}}, NULL: none */
        uint64_t auto_stop_ms;  /* 0: never */
        uint64_t stats_poll_ms; /* how often running guests are looked at */
};

/* A missing file gives the defaults: host-derived where the spec says so. owner_home resolves "~/". */
int daemon_config_read(const char *path, const char *owner_home, struct daemon_config *ret_config,
                       struct err *err);
void daemon_config_done(struct daemon_config *config);
