/*
 * The small .git that travels: history of one branch in one pack, its tags, the index, the caller's identity; no
 * remotes, no hooks, no other branch. It is made whole on the host, because the guest may be many times slower and
 * may have no git at all.
 */
#pragma once

#include "workspace/workspace_repo.h"

struct workspace_wish {
        const char *branch; /* make this branch; NULL: the one that is checked out */
        const char *from;   /* where it starts; NULL: HEAD */
};

struct workspace_copy {
        char *folder; /* owned, private, holds .git; removed by workspace_copy_done */
};

/* What workspace_copy_make does in one: checks the wish and makes the private folder; then fills it, for *copy's owner to remove. */
int workspace_copy_begin(const struct workspace_repo *repo, const struct workspace_wish *wish,
                         struct workspace_copy *ret_copy, struct err *err);
int workspace_copy_fill(const struct workspace_repo *repo, const struct workspace_wish *wish,
                        const struct workspace_copy *copy, struct err *err);
int workspace_copy_make(const struct workspace_repo *repo, const struct workspace_wish *wish,
                        struct workspace_copy *ret_copy, struct err *err);
void workspace_copy_done(struct workspace_copy *copy);

static inline void workspace_copy_done_at_scope_end(struct workspace_copy *copy)
{
        workspace_copy_done(copy);
}
