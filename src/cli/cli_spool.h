/*
 * An archive on its way to the daemon, which is another process, perhaps of another user: a file in a folder of its own below
 * the cache. It goes when this ends; what a kill leaves, `image cache prune` removes.
 */
#pragma once

#include "cli/cli_command.h"

struct cli_spool {
        char *folder; /* owned */
        char *path;   /* owned; in it, of a file that is not there yet */
};

int cli_spool_begin(struct cli *cli, struct cli_spool *ret_spool, struct err *err);
/* Reads fd to its end into the file; a signal stops it. ENOSPC, EFBIG, ECANCELED. */
int cli_spool_fill(struct cli *cli, struct cli_spool *spool, int fd, struct err *err);
/* The most that it may hold: 95 % of what is free there. */
uint64_t cli_spool_room(const struct cli_spool *spool);
/* The file is whole: the daemon may read it. EBADMSG: it is no regular file. */
int cli_spool_hand_over(const struct cli *cli, const struct cli_spool *spool, struct err *err);
void cli_spool_end(struct cli_spool *spool);

static inline void cli_spool_end_at_scope_end(struct cli_spool *spool)
{
        cli_spool_end(spool);
}
