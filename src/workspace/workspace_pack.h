/*
 * A copy in the making, in a process of its own: a guest boots meanwhile. The process, its git and its folder are gone
 * after workspace_pack_done, at whatever point that is called.
 */
#pragma once

#include "workspace/workspace_copy.h"

struct workspace_pack {
        pid_t pid;  /* 0: none runs */
        int pidfd;  /* owned; readable when it has ended */
        int report; /* owned; its struct err */
        struct workspace_copy copy;
};
#define WORKSPACE_PACK_NONE                         \
        {                                           \
                .pidfd = FD_NONE, .report = FD_NONE \
        }

/* Start with WORKSPACE_PACK_NONE. repo and wish are used only until this returns. */
int workspace_pack_start(const struct workspace_repo *repo, const struct workspace_wish *wish,
                         struct workspace_pack *ret_pack, struct err *err);
/* Waits for its end; then pack->copy is whole, or the error is what workspace_copy_make would have said. */
int workspace_pack_finish(struct workspace_pack *pack, struct err *err);
void workspace_pack_done(struct workspace_pack *pack);

static inline void workspace_pack_done_at_scope_end(struct workspace_pack *pack)
{
        workspace_pack_done(pack);
}
