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

struct tar_place_wish {
        bool must_be_folder, guarded;
};

/*
 * destination may be led by symbolic links: whoever typed it meant where they lead. must_be_folder: several things come, or a
 * stream that nobody named. ENOENT, ENOTDIR and EINVAL say what is missing or in the way. first: the first entry.
 * guarded: a file's own name is not followed but replaced when it is a symbolic link, which an earlier copy of the same stranger
 * may have put there.
 */
int tar_place_open(const char *destination, const struct tar_place_wish *wish, const struct tar_entry *first,
                   struct tar_place *ret_place, struct err *err);
/*
 * Whether a name of a stream (normalized) is, or is below, what the paths and patterns asked for are packed as. A sender that is
 * asked for "notes.txt" has no business with ".bashrc", which the folder of the destination may well hold.
 */
bool tar_place_was_asked(const char *const *asked, const char *name);
/* The name of an entry (normalized, "" for ".") in the place, in name. -EBADMSG when it is none of the first entry's. */
int tar_place_name(const struct tar_place *place, char name[TAR_PATH_MAX]);
void tar_place_done(struct tar_place *place);

static inline void tar_place_done_at_scope_end(struct tar_place *place)
{
        tar_place_done(place);
}
