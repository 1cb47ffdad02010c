/*
 * What a .dockerignore leaves out of a build, with Docker's rules (docs.docker.com/build/concepts/context, "dockerignore
 * files"): patterns of whole paths, "**" for any folders, "!" for exceptions, the last one that fits decides.
 */
#pragma once

#include <regex.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct cli_ignore_pattern {
        regex_t regex;
        bool is_exception;
};

struct cli_ignore {
        char *path;                          /* owned; the file that was read, NULL: there is none */
        struct cli_ignore_pattern *patterns; /* owned */
        size_t n;
        bool has_exceptions;
};

/*
 * The file of the recipe (Dockerfile.dockerignore) or of the folder; none leaves out nothing. EINVAL: a line of it is no pattern;
 * EFBIG.
 */
int cli_ignore_read(const char *folder, const char *recipe, struct cli_ignore *ret_ignore, struct err *err);
/* As above, of a text. */
int cli_ignore_parse(const char *text, struct cli_ignore *ignore, struct err *err);
/* path: below the folder, without a slash at either end. */
bool cli_ignore_leaves_out(const struct cli_ignore *ignore, const char *path);
void cli_ignore_done(struct cli_ignore *ignore);

static inline void cli_ignore_done_at_scope_end(struct cli_ignore *ignore)
{
        cli_ignore_done(ignore);
}
