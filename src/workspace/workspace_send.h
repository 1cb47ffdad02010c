/* A workspace on its way into a guest. */
#pragma once

#include "workspace/workspace_copy.h"
#include "workspace/workspace_files.h"

#define WORKSPACE_GUEST_PATH "/root/repo"

/* Streams into the folder of a guest; guest_fd is a fresh connection to its agent (guest_connect), borrowed. */
int workspace_send(const struct workspace_repo *repo, const struct workspace_copy *copy,
                   const struct workspace_files *files, int guest_fd, const char *folder, struct err *err);
