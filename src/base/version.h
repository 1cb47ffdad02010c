/* What was built: stamped into the one generated file version.c, so that a new commit recompiles nothing else. */
#pragma once

/* NOLINTBEGIN(readability-identifier-naming): constants of the build, spelled as such */
extern const char BANGER_VERSION[]; /* "v0.1.0"; "dev" for an untagged build */
extern const char BANGER_COMMIT[];  /* full SHA, "unknown" outside a repository */
extern const char BANGER_BUILT_AT
        []; /* time of the commit, RFC 3339 UTC: the same source gives the same program; "unknown" */
/* NOLINTEND(readability-identifier-naming) */

#define VERSION_COMMIT_SHORT 8

/* "banger v0.1.0 (commit abcd1234, built 2026-04-28T20:45:50Z)" (S-020); owned by the caller. */
char *version_line(const char *program);
