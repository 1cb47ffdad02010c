/* Which files of a working tree travel: the tracked ones that are there, untracked ones when asked, ignored ones never. */
#pragma once

#include "base/text.h"
#include "workspace/workspace_repo.h"

struct workspace_files {
        struct text names; /* relative, each ended by NUL: what tar --null -T reads */
        size_t n_files;
        uint64_t n_bytes;
        size_t n_untracked; /* untracked files that are included, else files and whole folders left behind */
};

int workspace_list_files(const struct workspace_repo *repo, bool include_untracked,
                         struct workspace_files *ret_files, struct err *err);
void workspace_files_done(struct workspace_files *files);

static inline void workspace_files_done_at_scope_end(struct workspace_files *files)
{
        workspace_files_done(files);
}
