#include "vmm/qemu/vhost_memory.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>

static bool region_is_sane(const struct vhost_memory_region *region, int fd)
{
        struct stat st;
        uint64_t end;

        if (region->size == 0 || __builtin_add_overflow(region->guest_address, region->size, &end) ||
            __builtin_add_overflow(region->user_address, region->size, &end) ||
            __builtin_add_overflow(region->file_offset, region->size, &end))
                return false;
        /* A mapping beyond the end of the file would be SIGBUS at the first access. */
        return end <= (uint64_t) PTRDIFF_MAX && fstat(fd, &st) == 0 && st.st_size >= 0 &&
               end <= (uint64_t) st.st_size;
}

int vhost_memory_map(const struct vhost_memory_region *regions, const int *fds, size_t n,
                     struct vhost_memory *ret_memory)
{
        struct vhost_memory memory = { 0 };

        if (n == 0 || n > VHOST_MEMORY_REGIONS_MAX)
                return -EINVAL;
        for (size_t i = 0; i < n; i++) {
                size_t n_mapping = (size_t) (regions[i].file_offset + regions[i].size);
                void *mapping;

                if (!region_is_sane(&regions[i], fds[i])) {
                        vhost_memory_done(&memory);
                        return -EINVAL;
                }
                /* From the file's start: the offset need not be a multiple of a huge page, 0 always is. */
                mapping =
                        mmap(NULL, n_mapping, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fds[i], 0);
                if (mapping == MAP_FAILED) {
                        int r = -errno;

                        vhost_memory_done(&memory);
                        return r;
                }
                memory.maps[i].region = regions[i];
                memory.maps[i].mapping = mapping;
                memory.maps[i].n_mapping = n_mapping;
                memory.maps[i].bytes = (uint8_t *) mapping + regions[i].file_offset;
                memory.n = i + 1;
        }
        *ret_memory = memory;
        return 0;
}

void vhost_memory_done(struct vhost_memory *memory)
{
        for (size_t i = 0; i < memory->n; i++)
                (void) munmap(memory->maps[i].mapping, memory->maps[i].n_mapping);
        memory->n = 0;
}

void *vhost_memory_at_user(const struct vhost_memory *memory, uint64_t address, uint64_t size)
{
        for (size_t i = 0; i < memory->n; i++) {
                const struct vhost_memory_region *region = &memory->maps[i].region;
                uint64_t offset = address - region->user_address;

                if (address >= region->user_address && offset < region->size)
                        return size <= region->size - offset ? memory->maps[i].bytes + offset : NULL;
        }
        return NULL;
}

void *vhost_memory_at_guest(const struct vhost_memory *memory, uint64_t address, uint64_t *size)
{
        for (size_t i = 0; i < memory->n; i++) {
                const struct vhost_memory_region *region = &memory->maps[i].region;
                uint64_t offset = address - region->guest_address;

                if (address < region->guest_address || offset >= region->size)
                        continue;
                if (*size > region->size - offset)
                        *size = region->size - offset;
                return memory->maps[i].bytes + offset;
        }
        return NULL;
}
