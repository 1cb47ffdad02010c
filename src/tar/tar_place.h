/*
 * Where a copy goes, decided as cp(1) and docker cp do: into a folder that is there, else under the name that was given,
 * in place of a file of that name. It opens the one folder that everything is then unpacked beneath.
 */
#pragma once

#include "base/err.h"
#include "tar/tar_header.h"

struct tar_place {
        int root_fd; /* owned */
        char *from,
                *to; /* owned: the first component of each name in the stream, and what it becomes; NULL: as they are */
};

/*
 * destination may be led by symbolic links: whoever typed it meant where they lead. must_be_folder: several things come, or a
 * stream that nobody named. ENOENT, ENOTDIR and EISDIR say what is missing or in the way. first: the first entry.
 */
int tar_place_open(const char *destination, bool must_be_folder, const struct tar_entry *first,
                   struct tar_place *ret_place, struct err *err);
/* The name of an entry (normalized, "" for ".") in the place, in name. -EBADMSG when it is none of the first entry's. */
int tar_place_name(const struct tar_place *place, char name[TAR_PATH_MAX]);
void tar_place_done(struct tar_place *place);

static inline void tar_place_done_at_scope_end(struct tar_place *place)
{
        tar_place_done(place);
}
