/* What somebody means who names an image: one that is here, one of the catalog, or one of a registry or a place on this machine. */
#pragma once

#include <stdbool.h>

#include "base/err.h"

/* All owned. */
struct image_wanted {
        char *name;      /* what it is or will be called here */
        char *reference; /* whole, with the defaults filled in; NULL: a catalog's, or local */
        char *source;    /* of a reference: the wish's, or the same */
        bool is_here;    /* an image of this name and of this source */
};

struct image_wish {
        const char *word;   /* as typed */
        const char *name;   /* the local name that was asked for; NULL: the derived one */
        const char *source; /* what it counts as coming from; NULL: its whole reference */
        bool local_first;   /* an image of that very name is meant before anything else (`vm run --image`) */
};

/*
 * Where the derived name belongs to another
 * image or to the catalog, one made of the whole reference is taken. EEXIST: the name is taken by an image of another source; EINVAL: no way to read the word.
 */
int image_wanted_find(const char *images_folder, const struct image_wish *wish,
                      struct image_wanted *ret_wanted, struct err *err);
void image_wanted_done(struct image_wanted *wanted);

static inline void image_wanted_done_at_scope_end(struct image_wanted *wanted)
{
        image_wanted_done(wanted);
}
