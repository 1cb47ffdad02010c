/*
 * Packs paths: ustar headers, with pax records where those fall short (long names, parts of a second, large files, holes,
 * "user." attributes). Names in the stream begin with a path's last component; "folder/." packs what is in the folder as
 * "./...". Hard links among what is packed stay such. Sockets and devices mean nothing on another machine and are left out.
 */
#pragma once

#include <sys/stat.h>

#include "base/err.h"
#include "tar/tar_header.h"

#define TAR_CHUNK 65536U

struct tar_sink {
        int (*write)(void *context, const void *data, size_t n); /* at most TAR_CHUNK bytes; 0 or -errno */
        void *context;
};

struct tar_link;

struct tar_pack {
        const struct tar_sink *sink; /* borrowed */
        bool follow;                 /* the named paths, when they are symbolic links */
        /* What is below a named path, by its path there, is left out with all that is in it; NULL: nothing is. */
        bool (*leaves_out)(void *leaves_out_context, const char *below, bool is_folder);
        void *leaves_out_context;
        uint64_t n_entries, n_bytes, n_skipped;
        /* inner */
        uint8_t buffer[TAR_CHUNK];
        size_t n;
        struct tar_link *links; /* owned: files with several names, and the first one packed */
        size_t n_links, links_capacity;
        char failed_path[TAR_PATH_MAX]; /* the one that could not be packed */
};

/* The name a path is packed under: its last component, "." for "/" and for "folder/.". The caller owns it. */
char *tar_pack_name(const char *path);
/* Large: allocate it. Start with zeroes and a sink. */
int tar_pack_path(struct tar_pack *pack, const char *path, struct err *err);
/* The end of the archive, and all that is still in the buffer. */
int tar_pack_end(struct tar_pack *pack, struct err *err);
void tar_pack_done(struct tar_pack *pack);

/* What would be packed, without reading it: for a progress bar. Failures are left for the packing to find. */
void tar_pack_measure(const char *path, bool follow, uint64_t *n_bytes);
