/*
 * A guest's first `git status` must be right and must not read ten thousand files again. git skips a file whose index
 * entry has the same time and size, so:
 *
 * - the copy's config says core.checkStat=minimal and core.trustctime=false: seconds and size are compared, which a tar
 *   stream carries; device, inode, owner and ctime, which it cannot, are not (git-config(1));
 * - the index is refreshed here, with all of the host's stat data trusted, so only files that changed are read;
 * - entries that differ from their file get no stat data at all: a change that kept both time and size would otherwise
 *   look clean over there;
 * - it is written last, so its own time is later than the files', or git would call them racily clean and read them
 *   (git's Documentation/technical/racy-git.txt).
 *
 * Everything runs in the copy's git folder, whose config is ours: filters that the repository's own
 * config names are never run.
 */
#include "workspace/workspace_index.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "base/file.h"
#include "workspace/workspace_git.h"

#define SHARED_PREFIX "sharedindex."

static int copy_bytes(int from, int to, uint64_t n)
{
        while (n > 0) {
                ssize_t moved = sendfile(to, from, NULL, n);

                if (moved < 0 && errno == EINTR)
                        continue;
                if (moved <= 0)
                        return moved < 0 ? -errno : -EIO;
                n -= (uint64_t) moved;
        }
        return 0;
}

/* With its times: which entries are racy is told by the age of the index itself. A missing file is left out. */
static int copy_file(const char *from, const char *to, struct err *err)
{
        scoped_close int source = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        scoped_close int target = FD_NONE;
        struct stat status;
        int r;

        if (source < 0 && errno == ENOENT)
                return 0;
        if (source < 0 || fstat(source, &status) < 0)
                return err_errno(err, "workspace.index", "read '%s'", from);
        if (!S_ISREG(status.st_mode))
                return err_set(err, EINVAL, "workspace.index", "'%s' is not a file", from);
        target = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (target < 0)
                return err_errno(err, "workspace.index", "write '%s'", to);
        r = copy_bytes(source, target, (uint64_t) status.st_size);
        if (r == 0 && futimens(target, (struct timespec[2]){ status.st_atim, status.st_mtim }) < 0)
                r = -errno;
        if (r < 0) {
                errno = -r;
                return err_errno(err, "workspace.index", "copy '%s'", from);
        }
        return 0;
}

/* A split index is a small one beside sharedindex.<hash> files (gitformat-index(5), "Split index"). */
static int copy_shared(const char *index, const char *git_dir, struct err *err)
{
        scoped_free char *folder = strndup(index, (size_t) (strrchr(index, '/') - index));
        DIR *dir = opendir(folder);
        const struct dirent *entry;
        int r = 0;

        while (r == 0 && dir && (entry = readdir(dir))) {
                scoped_free char *from = xasprintf("%s/%s", folder, entry->d_name);
                scoped_free char *to = xasprintf("%s/%s", git_dir, entry->d_name);

                if (text_starts_with(entry->d_name, SHARED_PREFIX))
                        r = copy_file(from, to, err);
        }
        if (dir)
                (void) closedir(dir);
        return r;
}

static int remove_shared(const char *git_dir, struct err *err)
{
        DIR *dir = opendir(git_dir);
        const struct dirent *entry;
        int r = 0;

        while (r == 0 && dir && (entry = readdir(dir))) {
                scoped_free char *path = xasprintf("%s/%s", git_dir, entry->d_name);

                if (text_starts_with(entry->d_name, SHARED_PREFIX))
                        r = file_remove(path, err);
        }
        if (dir)
                (void) closedir(dir);
        return r;
}

static struct git_call call_in_copy(const struct workspace_repo *repo, const char *git_dir,
                                    const char *const *args)
{
        /* the host's stat data are whole, so all of them count here */
        static const char *const trust_all[] = { "core.trustctime=true", "core.checkStat=default", NULL };

        return (struct git_call){
                .folder = repo->root, .git_dir = git_dir, .args = args, .configs = trust_all
        };
}

/* Changing the version makes git write the file even when no entry changed; the last step sets it back. */
static int refresh(const struct workspace_repo *repo, const char *git_dir, struct err *err)
{
        const char *const args[] = { "update-index",
                                     "--no-split-index",
                                     "--no-untracked-cache",
                                     "--no-fsmonitor",
                                     "--index-version",
                                     "4",
                                     "-q",
                                     "--unmerged",
                                     "--ignore-missing",
                                     "--refresh",
                                     NULL };
        const struct git_call call = call_in_copy(repo, git_dir, args);
        scoped_text struct text error = { 0 };
        int status = git_run(&call, NULL, &error, err);

        /* 1: some entry needs an update, which is what is wanted to be known next */
        if (status > 1)
                return err_set(err, EIO, "workspace.index", "the index of '%s' cannot be read: %.500s",
                               repo->root, error.s ? error.s : "");
        return status < 0 ? status : 0;
}

/*
 * ":<mode> <mode> <object> <object> M\0<path>\0" (git-diff-index(1), raw format) into "<mode> <object> 0\t<path>\0"
 * (git-update-index(1), --index-info). Deleted, new and unmerged entries stay as they are; an unmerged one comes
 * twice, as U and then compared with our side as M.
 */
static void entries_without_stat(const struct text *raw, struct text *ret)
{
        const char *end = raw->s + raw->n, *unmerged = "";

        for (const char *at = raw->s; at && at < end;) {
                const char *path = at + strlen(at) + 1;
                const char *object = strchr(at, ' ');

                if (path >= end || !object)
                        return;
                object = strchr(object + 1, ' ');
                if (path[-2] == 'U')
                        unmerged = path;
                if (object && (path[-2] == 'M' || path[-2] == 'T') && strcmp(path, unmerged) != 0) {
                        text_appendf(ret, "%.6s %.*s 0\t%s", at + 1, (int) strcspn(object + 1, " "),
                                     object + 1, path);
                        text_append_bytes(ret, "", 1);
                }
                at = path + strlen(path) + 1;
        }
}

static int forget_changed(const struct workspace_repo *repo, const char *git_dir, struct err *err)
{
        const char *const list[] = { "diff-files",    "--raw",         "-z", "--no-renames",
                                     "--no-ext-diff", "--no-textconv", NULL };
        const char *const update[] = { "update-index", "--index-version", "2", "-z", "--index-info", NULL };
        scoped_text struct text raw = { 0 }, entries = { 0 };
        struct git_call call = call_in_copy(repo, git_dir, list);
        int r = git_must(&call, &raw, err);

        if (r < 0)
                return r;
        entries_without_stat(&raw, &entries);
        call = call_in_copy(repo, git_dir, update);
        call.input = &entries;
        return git_must(&call, NULL, err);
}

int workspace_index_make(const struct workspace_repo *repo, const char *git_dir, struct err *err)
{
        scoped_free char *index = xasprintf("%s/index", git_dir);
        int r = copy_file(repo->index, index, err);

        if (r == 0)
                r = copy_shared(repo->index, git_dir, err);
        if (r == 0)
                r = refresh(repo, git_dir, err);
        if (r == 0)
                r = forget_changed(repo, git_dir, err);
        if (r == 0)
                r = remove_shared(git_dir, err);
        return r;
}
