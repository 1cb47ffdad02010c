/* The paths that a pattern names, as a shell would put them on a command line. */
#pragma once

#include <stddef.h>

#include "base/err.h"

#define AGENT_PATHS_MAX 65536U

struct agent_paths {
        char **list; /* owned, sorted */
        size_t n, capacity;
};

/*
 * Adds what matches. A path that exists as it is written counts as such, whatever characters it has. ENOENT: nothing matches; E2BIG:
 * more than AGENT_PATHS_MAX. glob(3) itself would draw the name service into a static program.
 */
int agent_glob(const char *pattern, struct agent_paths *paths, struct err *err);
void agent_paths_done(struct agent_paths *paths);

static inline void agent_paths_done_at_scope_end(struct agent_paths *paths)
{
        agent_paths_done(paths);
}
