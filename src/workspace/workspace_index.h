/* The index of the copy: the host's staged state, with file times that a guest's git believes. */
#pragma once

#include "workspace/workspace_repo.h"

/* Makes git_dir/index from the repository's. git_dir must have its config and objects. */
int workspace_index_make(const struct workspace_repo *repo, const char *git_dir, struct err *err);
