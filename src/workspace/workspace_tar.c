#include "workspace/workspace_tar.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fd.h"
#include "base/spawn.h"

#define ERROR_MAX 512

/*
 * Whole seconds and no other times: a guest's git compares seconds only (workspace_index.c), and an extended header of
 * 1 KiB for every file would double the stream of a repository of small files. The names come ended by NUL
 * and are taken literally, so nothing in one is an option.
 */
static const char *const tar_options[] = {
        "--create",
        "--file=-",
        "--format=pax",
        "--pax-option=delete=atime,delete=ctime,delete=mtime",
        "--numeric-owner",
        "--owner=0",
        "--group=0",
        "--hard-dereference",
        "--ignore-failed-read",
};
#define N_OPTIONS (sizeof(tar_options) / sizeof(tar_options[0]))

static int memory_with(const struct text *text, struct err *err)
{
        scoped_close int fd = memfd_create("banger-names", MFD_CLOEXEC);
        int r = fd < 0 ? -errno : 0;

        if (r == 0 && text && text->n > 0)
                r = fd_write_full(fd, text->s, text->n);
        if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
                r = -errno;
        if (r < 0)
                return err_set(err, -r, "workspace.tar", "memory for the list of files: %s", strerror(-r));
        return take_fd(&fd);
}

int workspace_tar_start(const struct workspace_repo *repo, const struct workspace_copy *copy,
                        const struct workspace_files *files, int out_fd, struct workspace_tar *ret_tar,
                        struct err *err)
{
        scoped_free char *path = xasprintf("PATH=%s", getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin");
        const char *const env[] = { path, "LC_ALL=C", NULL };
        const char *const operands[] = { "-C",
                                         copy->folder,
                                         "--recursion",
                                         ".git",
                                         "-C",
                                         repo->root,
                                         "--no-recursion",
                                         "--null",
                                         "--verbatim-files-from",
                                         "-T",
                                         "-" };
        const char *argv[1 + N_OPTIONS + sizeof(operands) / sizeof(operands[0]) + 1] = { "tar" };
        scoped_close int names = memory_with(&files->names, err);
        scoped_close int error = names < 0 ? FD_NONE : memory_with(NULL, err);
        int r;

        if (error < 0)
                return -err->code;
        memcpy(argv + 1, tar_options, sizeof(tar_options));
        memcpy(argv + 1 + N_OPTIONS, operands, sizeof(operands));
        r = spawn_start(&(struct spawn){ .argv = argv,
                                         .env = env,
                                         .stdin_fd = names,
                                         .stdout_fd = out_fd,
                                         .stderr_fd = error,
                                         .death_signal = SIGKILL },
                        &ret_tar->pid, NULL, err);
        if (r < 0)
                return err->code == ENOENT
                               ? err_wrap(err, "GNU tar is needed to send a repository; install it")
                               : r;
        ret_tar->error = take_fd(&error);
        return 0;
}

/* Status 1 is "some files differ" (tar(1)): one changed or vanished while it was read, as files of a living tree may. */
int workspace_tar_finish(struct workspace_tar *tar, struct err *err)
{
        scoped_close int error = take_fd(&tar->error);
        char said[ERROR_MAX] = "";
        int status = spawn_wait(tar->pid, err);

        if (status < 0)
                return status;
        if (status == 128 + SIGPIPE)
                return -EPIPE;
        if (status <= 1)
                return 0;
        if (pread(error, said, sizeof(said) - 1, 0) < 0)
                said[0] = '\0';
        said[strcspn(said, "\n")] = '\0';
        return err_set(err, EIO, "workspace.tar", "tar ended with status %d: %s", status,
                       text_is_blank(said) ? "it said nothing" : said);
}

int workspace_stream(const struct workspace_repo *repo, const struct workspace_copy *copy,
                     const struct workspace_files *files, int fd, struct err *err)
{
        struct workspace_tar tar = { .error = FD_NONE };
        int r = workspace_tar_start(repo, copy, files, fd, &tar, err);

        if (r == 0)
                r = workspace_tar_finish(&tar, err);
        if (r == -EPIPE && err->code == 0)
                return err_set(err, EPIPE, "workspace.stream", "the reader of '%s' went away", repo->root);
        return r;
}
