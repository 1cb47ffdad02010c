#include "workspace/workspace_files.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "workspace/workspace_git.h"

/*
 * A tracked name below a folder that has become a symbolic link is gone, as git sees it too; following
 * the link would send a file from outside the repository.
 */
static bool find_file(int root_fd, const char *name, struct stat *ret_status)
{
        struct open_how how = { .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
                                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
        scoped_close int fd = (int) syscall(SYS_openat2, root_fd, name, &how, sizeof(how));

        if (fd < 0 || fstat(fd, ret_status) < 0)
                return false;
        return S_ISREG(ret_status->st_mode) || S_ISLNK(ret_status->st_mode);
}

/* Adds those of the names (each ended by NUL) that exist as a file or a symbolic link; returns how many. */
static size_t add_existing(int root_fd, const struct text *names, struct workspace_files *files)
{
        const char *end = names->s + names->n;
        size_t n = 0;

        for (const char *name = names->s; name && name < end; name += strlen(name) + 1) {
                struct stat status;

                if (!find_file(root_fd, name, &status))
                        continue;
                text_append_bytes(&files->names, name, strlen(name) + 1);
                files->n_bytes += S_ISREG(status.st_mode) ? (uint64_t) status.st_size : 0;
                n++;
        }
        files->n_files += n;
        return n;
}

static size_t count_names(const struct text *names)
{
        size_t n = 0;

        for (size_t i = 0; i < names->n; i++)
                n += names->s[i] == '\0';
        return n;
}

static int list_names(const struct workspace_repo *repo, const char *const *args, struct text *ret,
                      struct err *err)
{
        return git_must(&(struct git_call){ .folder = repo->root, .args = args }, ret, err);
}

static int list_untracked(const struct workspace_repo *repo, bool include, int root_fd,
                          struct workspace_files *files, struct err *err)
{
        const char *const each[] = { "ls-files", "--others", "--exclude-standard", "-z", NULL };
        const char *const folders[] = {
                "ls-files", "--others", "--exclude-standard", "--directory", "--no-empty-directory",
                "-z",       NULL
        };
        scoped_text struct text names = { 0 };
        int r = list_names(repo, include ? each : folders, &names, err);

        if (r < 0)
                return r;
        files->n_untracked = include ? add_existing(root_fd, &names, files) : count_names(&names);
        return 0;
}

int workspace_list_files(const struct workspace_repo *repo, bool include_untracked,
                         struct workspace_files *ret_files, struct err *err)
{
        const char *const tracked[] = { "ls-files", "--cached", "--deduplicate", "-z", NULL };
        scoped_close int root_fd = open(repo->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        scoped_text struct text names = { 0 };
        int r;

        *ret_files = (struct workspace_files){ 0 };
        if (root_fd < 0)
                return err_errno(err, "workspace.files", "open '%s'", repo->root);
        r = list_names(repo, tracked, &names, err);
        if (r < 0)
                return r;
        (void) add_existing(root_fd, &names, ret_files);
        r = list_untracked(repo, include_untracked, root_fd, ret_files, err);
        if (r < 0)
                workspace_files_done(ret_files);
        return r;
}

void workspace_files_done(struct workspace_files *files)
{
        text_done(&files->names);
        *files = (struct workspace_files){ 0 };
}
