#include "workspace/workspace_repo.h"

#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "workspace/workspace_git.h"

#define GITLINK_MODE "160000 " /* gitformat-index(5): how a submodule stands in the index */

static void cut_end(struct text *text)
{
        while (text->n > 0 && text->s[text->n - 1] == '\n')
                text->s[--text->n] = '\0';
}

/* One line of output; *ret stays NULL when git answers with a status (a setting that is not there). */
static int ask(const char *folder, const char *const *args, char **ret, struct err *err)
{
        scoped_text struct text output = { 0 };
        int status = git_run(&(struct git_call){ .folder = folder, .args = args }, &output, NULL, err);

        if (status != 0)
                return status < 0 ? status : 0;
        cut_end(&output);
        *ret = text_take(&output);
        return 0;
}

static int check_folder(const char *path, char **ret_real, struct err *err)
{
        struct stat status;

        *ret_real = realpath(path, NULL);
        if (!*ret_real)
                return err_errno(err, "workspace.inspect", "'%s'", path);
        if (stat(*ret_real, &status) < 0)
                return err_errno(err, "workspace.inspect", "'%s'", path);
        if (!S_ISDIR(status.st_mode))
                return err_set(err, EINVAL, "workspace.inspect", "'%s' is not a folder", path);
        return 0;
}

/* Finds the repository, telling apart the ways in which there is none. */
static int find_root(const char *real, struct workspace_repo *repo, struct err *err)
{
        const char *const args[] = { "rev-parse", "--is-bare-repository", NULL };
        const char *const top[] = { "rev-parse", "--show-toplevel", NULL };
        scoped_text struct text output = { 0 }, error = { 0 };
        int status = git_run(&(struct git_call){ .folder = real, .args = args }, &output, &error, err);

        if (status < 0)
                return status;
        if (status > 0 && error.s && strstr(error.s, "dubious ownership"))
                return err_set(err, EINVAL, "workspace.inspect",
                               "'%s' belongs to another user, and git refuses to read it; if you trust it: "
                               "git config --global --add safe.directory %s",
                               real, real);
        if (status > 0)
                return err_set(
                        err, EINVAL, "workspace.inspect",
                        "'%s' is not inside a git repository; 'git init' and a first commit make it one",
                        real);
        if (text_starts_with(output.s ? output.s : "", "true"))
                return err_set(err, EINVAL, "workspace.inspect",
                               "'%s' is a bare repository; clone it and give the clone", real);
        status = ask(real, top, &repo->root, err);
        if (status < 0)
                return status;
        if (text_is_blank(repo->root))
                return err_set(err, EINVAL, "workspace.inspect",
                               "'%s' has no working tree; give its top folder", real);
        return 0;
}

/*
 * A hostile core.worktree could name the caller's home and make every "tracked" file of it travel. The
 * working tree must be the one whose own .git leads to this git folder.
 */
static int check_own_worktree(const char *real, const struct workspace_repo *repo, struct err *err)
{
        const char *const args[] = { "rev-parse", "--absolute-git-dir", NULL };
        scoped_free char *here = NULL, *there = NULL, *dot_git = NULL;
        struct stat status;
        int r = ask(real, args, &here, err);

        if (r == 0)
                r = ask(repo->root, args, &there, err);
        if (r < 0)
                return r;
        dot_git = xasprintf("%s/.git", repo->root);
        if (!here || !there || strcmp(here, there) != 0 || lstat(dot_git, &status) < 0)
                return err_set(err, EINVAL, "workspace.inspect",
                               "the git folder of '%s' claims the working tree '%s', which is not its own "
                               "(core.worktree)",
                               real, repo->root);
        return 0;
}

static int read_head(struct workspace_repo *repo, struct err *err)
{
        const char *const commit[] = { "rev-parse", "--verify", "--quiet", "HEAD^{commit}", NULL };
        const char *const branch[] = { "symbolic-ref", "--quiet", "HEAD", NULL };
        scoped_free char *ref = NULL;
        int r = ask(repo->root, commit, &repo->commit, err);

        if (r < 0)
                return r;
        if (!repo->commit)
                return err_set(err, EINVAL, "workspace.inspect",
                               "'%s' has no commit yet; commit something first", repo->root);
        r = ask(repo->root, branch, &ref, err);
        if (r == 0 && ref && text_starts_with(ref, "refs/heads/"))
                repo->branch = xstrdup(ref + strlen("refs/heads/"));
        return r;
}

/* The files of the git folder that a copy is made of: for a linked worktree they lie in two places, and git knows them. */
static int read_paths(struct workspace_repo *repo, struct err *err)
{
        static const char *const names[] = { "index", "shallow", "info/exclude", "info/attributes" };
        char **const places[] = { &repo->index, &repo->shallow, &repo->exclude, &repo->attributes };

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                const char *const args[] = { "rev-parse", "--path-format=absolute", "--git-path", names[i],
                                             NULL };
                int r = ask(repo->root, args, places[i], err);

                if (r < 0)
                        return r;
                if (!*places[i])
                        return err_set(err, ENOTSUP, "workspace.inspect",
                                       "git is too old to say where '%s' is; 2.31 or newer is needed",
                                       names[i]);
        }
        return 0;
}

static int read_settings(struct workspace_repo *repo, struct err *err)
{
        const char *const format[] = { "rev-parse", "--show-object-format", NULL };
        const char *const name[] = { "config", "--get", "user.name", NULL };
        const char *const email[] = { "config", "--get", "user.email", NULL };
        const char *const partial[] = { "config", "--get", "extensions.partialClone", NULL };
        scoped_free char *promisor = NULL;
        int r = ask(repo->root, format, &repo->object_format, err);

        if (r == 0)
                r = ask(repo->root, name, &repo->user_name, err);
        if (r == 0)
                r = ask(repo->root, email, &repo->user_email, err);
        if (r == 0)
                r = ask(repo->root, partial, &promisor, err);
        if (r == 0 && promisor)
                return err_set(err, EINVAL, "workspace.inspect",
                               "'%s' is a partial clone, so parts of its history are not here; "
                               "make it whole with: git -C %s fetch --refetch --no-filter %s",
                               repo->root, repo->root, promisor);
        return r;
}

static int refuse_submodules(const struct workspace_repo *repo, struct err *err)
{
        const char *const args[] = { "ls-files", "--stage", "-z", NULL };
        scoped_text struct text output = { 0 };
        int r = git_must(&(struct git_call){ .folder = repo->root, .args = args }, &output, err);

        if (r < 0)
                return r;
        for (const char *entry = output.s; entry && entry < output.s + output.n; entry += strlen(entry) + 1) {
                const char *path = strchr(entry, '\t');

                if (path && text_starts_with(entry, GITLINK_MODE))
                        return err_set(err, EINVAL, "workspace.inspect",
                                       "'%s' has submodules ('%.200s'), which cannot be sent; "
                                       "give the submodule's own folder, or a repository without them",
                                       repo->root, path + 1);
        }
        return 0;
}

static bool has_file(const char *root, const char *name)
{
        scoped_free char *path = xasprintf("%s/%s", root, name);

        return access(path, F_OK) == 0;
}

static int inspect(const char *real, struct workspace_repo *repo, struct err *err)
{
        int r = find_root(real, repo, err);

        if (r == 0)
                r = check_own_worktree(real, repo, err);
        if (r == 0)
                r = read_head(repo, err);
        if (r == 0)
                r = read_paths(repo, err);
        if (r == 0)
                r = read_settings(repo, err);
        if (r == 0)
                r = refuse_submodules(repo, err);
        if (r < 0)
                return r;
        repo->name = xstrdup(strrchr(repo->root, '/') + 1);
        repo->has_tooling = has_file(repo->root, ".mise.toml") || has_file(repo->root, ".tool-versions");
        return 0;
}

int workspace_inspect(const char *path, struct workspace_repo *ret_repo, struct err *err)
{
        scoped_free char *real = NULL;
        int r = check_folder(path, &real, err);

        *ret_repo = (struct workspace_repo){ 0 };
        if (r == 0)
                r = inspect(real, ret_repo, err);
        if (r < 0)
                workspace_repo_done(ret_repo);
        return r;
}

void workspace_repo_done(struct workspace_repo *repo)
{
        free(repo->root);
        free(repo->name);
        free(repo->commit);
        free(repo->branch);
        free(repo->object_format);
        free(repo->index);
        free(repo->shallow);
        free(repo->exclude);
        free(repo->attributes);
        free(repo->user_name);
        free(repo->user_email);
        *repo = (struct workspace_repo){ 0 };
}

int workspace_resolve(const struct workspace_repo *repo, const char *ref, char **ret_commit, struct err *err)
{
        scoped_free char *spec = xasprintf("%s^{commit}", ref);
        const char *const args[] = { "rev-parse", "--verify", "--quiet", "--end-of-options", spec, NULL };
        int r = ask(repo->root, args, ret_commit, err);

        if (r == 0 && !*ret_commit)
                return err_set(err, EINVAL, "workspace.resolve", "'%s' names no commit in '%s'", ref,
                               repo->root);
        return r;
}

int workspace_check_branch(const struct workspace_repo *repo, const char *branch, struct err *err)
{
        const char *const args[] = { "check-ref-format", "--branch", branch, NULL };
        scoped_free char *answer = NULL;
        int r = ask(repo->root, args, &answer, err);

        /* "@{-1}" is accepted by git and means another name: only a name that means itself is one */
        if (r == 0 && (!answer || strcmp(answer, branch) != 0))
                return err_set(err, EINVAL, "workspace.branch", "'%s' is not a name for a branch", branch);
        return r;
}
