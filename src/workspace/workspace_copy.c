#include "workspace/workspace_copy.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "workspace/workspace_git.h"
#include "workspace/workspace_index.h"

#define SMALL_FILE_MAX ((size_t) 16 << 20)

/* What is being made; all borrowed but the two texts. */
struct making {
        const struct workspace_repo *repo;
        const char *git_dir; /* of the copy */
        const char *commit;  /* where the branch stands */
        const char *branch;  /* NULL: detached */
        struct text objects; /* one object a line, for git pack-objects --revs */
        struct text refs;    /* the packed-refs file */
};

static int git_in_repo(const struct making *making, const char *const *args, struct text *ret,
                       struct err *err)
{
        return git_must(&(struct git_call){ .folder = making->repo->root, .args = args }, ret, err);
}

static int write_file(const struct making *making, const char *name, const char *text, struct err *err)
{
        scoped_free char *path = xasprintf("%s/%s", making->git_dir, name);

        return file_replace(path, text, strlen(text), 0644, err);
}

static int make_folders(const struct making *making, struct err *err)
{
        /* gitrepository-layout(5): HEAD, objects/ and refs/ make a git folder */
        static const char *const folders[] = { "objects/pack", "refs/heads", "refs/tags", "info" };

        for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
                scoped_free char *path = xasprintf("%s/%s", making->git_dir, folders[i]);
                int r = file_make_folders(path, 0755, err);

                if (r < 0)
                        return r;
        }
        return 0;
}

/* A value for a git config file, quoted as git-config(1) "Syntax" wants. */
static void append_value(struct text *text, const char *value)
{
        text_append(text, "\"");
        for (const char *c = value; *c; c++) {
                if (*c == '\n')
                        text_append(text, "\\n");
                else if (*c == '"' || *c == '\\')
                        text_appendf(text, "\\%c", *c);
                else
                        text_append_bytes(text, c, 1);
        }
        text_append(text, "\"\n");
}

/* Settings that change what "modified" means; nothing that names a program, a path or a host. */
static int append_core(const struct making *making, struct text *config, struct err *err)
{
        const char *const args[] = {
                "config", "--null", "--get-regexp",
                "^core\\.(filemode|symlinks|ignorecase|autocrlf|eol|safecrlf|whitespace)$", NULL
        };
        scoped_text struct text settings = { 0 };
        const struct git_call call = { .folder = making->repo->root, .args = args };
        int status = git_run(&call, &settings, NULL, err); /* 1: none is set */

        if (status < 0)
                return status;
        for (const char *at = settings.s; at && at < settings.s + settings.n; at += strlen(at) + 1) {
                const char *value = strchr(at, '\n');
                size_t n_key = value ? (size_t) (value - at) : strlen(at);

                text_appendf(config, "\t%.*s = ", (int) n_key - 5, at + strlen("core."));
                append_value(config, value ? value + 1 : "true");
        }
        return 0;
}

static int write_config(const struct making *making, struct err *err)
{
        const struct workspace_repo *repo = making->repo;
        bool is_sha1 = strcmp(repo->object_format, "sha1") == 0;
        scoped_text struct text config = { 0 };
        int r;

        text_appendf(&config,
                     "[core]\n\trepositoryformatversion = %d\n\tbare = false\n\tlogallrefupdates = true\n",
                     is_sha1 ? 0 : 1);
        /* see workspace_index.c */
        text_append(&config, "\ttrustctime = false\n\tcheckStat = minimal\n");
        r = append_core(making, &config, err);
        if (r < 0)
                return r;
        if (!is_sha1) {
                text_append(&config, "[extensions]\n\tobjectFormat = ");
                append_value(&config, repo->object_format);
        }
        if (repo->user_name) {
                text_append(&config, "[user]\n\tname = ");
                append_value(&config, repo->user_name);
        }
        if (repo->user_email) {
                text_append(&config, "[user]\n\temail = ");
                append_value(&config, repo->user_email);
        }
        return write_file(making, "config", config.s, err);
}

/* Tags on the branch's history: builds ask git describe for their version. */
static int collect_tags(struct making *making, struct err *err)
{
        scoped_free char *merged = xasprintf("--merged=%s", making->commit);
        const char *const args[] = { "for-each-ref", "--format=%(objectname) %(refname)", merged, "refs/tags",
                                     NULL };
        scoped_text struct text tags = { 0 };
        int r = git_in_repo(making, args, &tags, err);

        if (r < 0)
                return r;
        for (const char *line = tags.s; line && *line; line = strchr(line, '\n') + 1)
                text_appendf(&making->objects, "%.*s\n", (int) strcspn(line, " "), line);
        text_append(&making->refs, tags.s ? tags.s : "");
        return 0;
}

static bool is_no_object(const char *hex)
{
        return strspn(hex, "0") == strcspn(hex, " ");
}

/* What is staged and in no commit: ":<mode> <mode> <object> <object> <status>\0<path>\0" (git-diff-index(1)). */
static int collect_staged(struct making *making, struct err *err)
{
        const char *const args[] = {
                "diff-index",    "--cached",      "--raw",        "-z", "--no-abbrev", "--no-renames",
                "--no-ext-diff", "--no-textconv", making->commit, "--", NULL
        };
        scoped_text struct text raw = { 0 };
        int r = git_in_repo(making, args, &raw, err);

        for (const char *at = raw.s; r == 0 && at && at < raw.s + raw.n;) {
                const char *object = at;

                for (int i = 0; i < 3 && object; i++)
                        object = strchr(object + (i > 0), ' ');
                if (object && !is_no_object(object + 1))
                        text_appendf(&making->objects, "%.*s\n", (int) strcspn(object + 1, " "), object + 1);
                at += strlen(at) + 1; /* the path */
                if (at < raw.s + raw.n)
                        at += strlen(at) + 1;
        }
        return r;
}

/* The three sides of a conflict: "<mode> <object> <stage>\t<path>\0" (git-ls-files(1)). */
static int collect_unmerged(struct making *making, struct err *err)
{
        const char *const args[] = { "ls-files", "--unmerged", "-z", NULL };
        scoped_text struct text entries = { 0 };
        int r = git_in_repo(making, args, &entries, err);

        for (const char *at = entries.s; r == 0 && at && at < entries.s + entries.n; at += strlen(at) + 1) {
                const char *object = strchr(at, ' ');

                if (object)
                        text_appendf(&making->objects, "%.*s\n", (int) strcspn(object + 1, " "), object + 1);
        }
        return r;
}

/* --window=0: deltas that exist are taken over, none is searched for, since the pack travels no further than this host. */
static int write_pack(const struct making *making, struct err *err)
{
        scoped_free char *base = xasprintf("%s/objects/pack/pack", making->git_dir);
        const char *const args[] = { "pack-objects", "--revs", "--quiet", "--delta-base-offset",
                                     "--window=0",   base,     NULL };
        const struct git_call call = { .folder = making->repo->root,
                                       .args = args,
                                       .input = &making->objects };

        return git_must(&call, NULL, err);
}

static int write_refs(const struct making *making, struct err *err)
{
        scoped_free char *head = making->branch ? xasprintf("ref: refs/heads/%s\n", making->branch)
                                                : xasprintf("%s\n", making->commit);
        int r = write_file(making, "HEAD", head, err);

        return r < 0 ? r : write_file(making, "packed-refs", making->refs.s ? making->refs.s : "", err);
}

/* A file of the git folder that is only data; missing ones are left out. */
static int copy_small(const struct making *making, const char *from, const char *name, struct err *err)
{
        scoped_free char *text = NULL;
        int r;

        if (access(from, F_OK) < 0)
                return 0;
        r = file_read(from, SMALL_FILE_MAX, &text, NULL, err);
        return r < 0 ? r : write_file(making, name, text, err);
}

static int make_git_folder(struct making *making, struct err *err)
{
        int r = make_folders(making, err);

        if (r == 0)
                r = write_config(making, err);
        if (r == 0)
                r = copy_small(making, making->repo->shallow, "shallow", err);
        if (r == 0)
                r = copy_small(making, making->repo->exclude, "info/exclude", err);
        if (r == 0)
                r = copy_small(making, making->repo->attributes, "info/attributes", err);
        if (r == 0)
                r = collect_tags(making, err);
        if (r == 0)
                r = collect_staged(making, err);
        if (r == 0)
                r = collect_unmerged(making, err);
        if (r == 0)
                r = write_pack(making, err);
        if (r == 0)
                r = write_refs(making, err);
        return r == 0 ? workspace_index_make(making->repo, making->git_dir, err) : r;
}

static int make_private_folder(char **ret_folder, struct err *err)
{
        const char *where = getenv("TMPDIR");
        scoped_free char *folder = NULL;

        /* /var/tmp, not /tmp: a history may be larger than memory */
        folder = xasprintf("%s/banger-workspace-XXXXXX", where && where[0] == '/' ? where : "/var/tmp");
        if (!mkdtemp(folder))
                return err_errno(err, "workspace.copy", "make the private folder '%s'", folder);
        *ret_folder = take_ptr(folder);
        return 0;
}

int workspace_copy_begin(const struct workspace_repo *repo, const struct workspace_wish *wish,
                         struct workspace_copy *ret_copy, struct err *err)
{
        int r = wish->branch ? workspace_check_branch(repo, wish->branch, err) : 0;

        *ret_copy = (struct workspace_copy){ 0 };
        return r == 0 ? make_private_folder(&ret_copy->folder, err) : r;
}

int workspace_copy_fill(const struct workspace_repo *repo, const struct workspace_wish *wish,
                        const struct workspace_copy *copy, struct err *err)
{
        scoped_free char *resolved = NULL, *git_dir = xasprintf("%s/.git", copy->folder);
        struct making making = { .repo = repo, .git_dir = git_dir };
        int r = wish->from ? workspace_resolve(repo, wish->from, &resolved, err) : 0;

        if (r < 0)
                return r;
        making.commit = resolved ? resolved : repo->commit;
        making.branch = wish->branch ? wish->branch : repo->branch;
        text_appendf(&making.objects, "%s\n", making.commit);
        if (making.branch)
                text_appendf(&making.refs, "%s refs/heads/%s\n", making.commit, making.branch);
        r = make_git_folder(&making, err);
        text_done(&making.objects);
        text_done(&making.refs);
        return r;
}

int workspace_copy_make(const struct workspace_repo *repo, const struct workspace_wish *wish,
                        struct workspace_copy *ret_copy, struct err *err)
{
        int r = workspace_copy_begin(repo, wish, ret_copy, err);

        if (r == 0)
                r = workspace_copy_fill(repo, wish, ret_copy, err);
        if (r < 0)
                workspace_copy_done(ret_copy);
        return r;
}

void workspace_copy_done(struct workspace_copy *copy)
{
        struct err ignored = { 0 }; /* what is left lies in a folder for temporary files */

        if (copy->folder)
                (void) file_remove_tree(copy->folder, &ignored);
        free(copy->folder);
        copy->folder = NULL;
}
