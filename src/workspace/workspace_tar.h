/* GNU tar as a child that writes the stream of a workspace. */
#pragma once

#include <sys/types.h>

#include "workspace/workspace_copy.h"
#include "workspace/workspace_files.h"

struct workspace_tar {
        pid_t pid;
        int error; /* owned; what it says on standard error */
};

int workspace_tar_start(const struct workspace_repo *repo, const struct workspace_copy *copy,
                        const struct workspace_files *files, int out_fd, struct workspace_tar *ret_tar,
                        struct err *err);
/* Waits for its end. EPIPE, without a word in *err, when nobody read to the end; the reader knows why. */
int workspace_tar_finish(struct workspace_tar *tar, struct err *err);

/* Writes the copy's .git and the files, as the root user's, to fd (borrowed, blocking) with GNU tar. */
int workspace_stream(const struct workspace_repo *repo, const struct workspace_copy *copy,
                     const struct workspace_files *files, int fd, struct err *err);
