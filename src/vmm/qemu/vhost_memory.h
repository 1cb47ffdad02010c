/*
 * The guest's memory as the front end shares it: regions mapped here, and addresses checked before they become
 * pointers. A file that QEMU shortens afterwards is not guarded against: SIGBUS then ends the VMM of that guest alone.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Without CONFIGURE_MEM_SLOTS there are no more (QEMU docs/interop/vhost-user.rst, "Memory region description"). */
#define VHOST_MEMORY_REGIONS_MAX 8

/* As it stands in the message, native byte order. */
struct vhost_memory_region {
        uint64_t guest_address; /* what descriptors use */
        uint64_t size;
        uint64_t user_address; /* what SET_VRING_ADDR uses: the front end's own virtual address */
        uint64_t file_offset;
};

struct vhost_memory {
        struct {
                struct vhost_memory_region region;
                uint8_t *bytes; /* of the region's first byte; inside the mapping */
                void *mapping;  /* owned */
                size_t n_mapping;
        } maps[VHOST_MEMORY_REGIONS_MAX];
        size_t n;
};

/*
 * Maps region i from fds[i] (borrowed). 0, or -EINVAL for a region that overflows, is empty or lies beyond its file,
 * or mmap's error; *ret_memory is set on success only.
 */
int vhost_memory_map(const struct vhost_memory_region *regions, const int *fds, size_t n,
                     struct vhost_memory *ret_memory);
void vhost_memory_done(struct vhost_memory *memory);

/* size bytes at a front end's address, all inside one region; NULL otherwise. */
void *vhost_memory_at_user(const struct vhost_memory *memory, uint64_t address, uint64_t size);
/* The guest's bytes from address; *size is cut to what the region holds. NULL when no region has the address. */
void *vhost_memory_at_guest(const struct vhost_memory *memory, uint64_t address, uint64_t *size);
