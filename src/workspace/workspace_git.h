/*
 * Running git on the host, for a repository that may be hostile: its configuration can name programs (fsmonitor,
 * hooks, filters, transports), so everything that would start one is overridden, and the caller's GIT_* variables never
 * reach it. What compares contents, and would run filters, is done in a git folder of ours only (workspace_copy.c).
 */
#pragma once

#include "base/err.h"
#include "base/text.h"

#define GIT_ARGS_MAX   24
#define GIT_OUTPUT_MAX ((size_t) 256 << 20)

struct git_call {
        const char *folder;         /* where git starts; borrowed */
        const char *git_dir;        /* NULL: found from folder */
        const char *const *args;    /* without "git"; NULL-terminated, at most GIT_ARGS_MAX */
        const char *const *configs; /* "key=value", NULL-terminated; may be NULL */
        const struct text *input;   /* its standard input; NULL: empty */
};

/*
 * Runs git to its end. Returns its exit status or -code. Its standard output (may hold NULs) is appended to *ret_output,
 * what it said last on standard error to *ret_error; both may be NULL.
 */
int git_run(const struct git_call *call, struct text *ret_output, struct text *ret_error, struct err *err);

/* The same, for calls that must succeed: 0 or -code, with git's own reason in *err. */
int git_must(const struct git_call *call, struct text *ret_output, struct err *err);
