/*
 * workspace: a repository of the host and its copy in a guest. It looks at the repository with the caller's rights and
 * git identity, packs what a guest needs into one tar stream, and never changes the repository, never runs a program the
 * repository names, never sends its credentials, hooks or remotes.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/scoped.h"

struct workspace_repo {
        /* all owned */
        char *root;          /* absolute top folder of the working tree */
        char *name;          /* its last part, for people */
        char *commit;        /* HEAD, full hex */
        char *branch;        /* "main"; NULL when HEAD is detached */
        char *object_format; /* "sha1", "sha256" */
        char *index, *shallow, *exclude,
                *attributes;          /* files of the git folder; each may be missing on disk */
        char *user_name, *user_email; /* NULL: not set */
        bool has_tooling;             /* .mise.toml or .tool-versions at its top */
};

/*
 * Looks at the repository that path lies in. ENOENT: no such path; EINVAL, with the way out in the message: not a folder,
 * not in a repository, a bare one, no commit yet, submodules, a partial clone, a working tree elsewhere.
 */
int workspace_inspect(const char *path, struct workspace_repo *ret_repo, struct err *err);
void workspace_repo_done(struct workspace_repo *repo);

static inline void workspace_repo_done_at_scope_end(struct workspace_repo *repo)
{
        workspace_repo_done(repo);
}

/* The commit that ref names in this repository, full hex, owned by the caller; EINVAL when there is none. */
int workspace_resolve(const struct workspace_repo *repo, const char *ref, char **ret_commit, struct err *err);

/* EINVAL unless git accepts it as the name of a branch. */
int workspace_check_branch(const struct workspace_repo *repo, const char *branch, struct err *err);
