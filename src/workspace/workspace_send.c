#include "workspace/workspace_send.h"

#include <fcntl.h>

#include "guest/client/guest_client.h"
#include "workspace/workspace_tar.h"

int workspace_send(const struct workspace_repo *repo, const struct workspace_copy *copy,
                   const struct workspace_files *files, int guest_fd, const char *folder, struct err *err)
{
        scoped_close int reader = FD_NONE, writer = FD_NONE;
        struct err tar_err = { 0 };
        struct workspace_tar tar = { .error = FD_NONE };
        int ends[2], r, tar_r;

        if (pipe2(ends, O_CLOEXEC) < 0)
                return err_errno(err, "workspace.send", "pipe");
        reader = ends[0];
        writer = ends[1];
        r = workspace_tar_start(repo, copy, files, writer, &tar, err);
        if (r < 0)
                return r;
        (void) close(take_fd(&writer));
        r = guest_tar_in(guest_fd, folder, reader, err);
        (void) close(take_fd(&reader)); /* so that tar cannot wait for a reader that has given up */
        tar_r = workspace_tar_finish(&tar, &tar_err);
        err_join(err, &tar_err);
        if (r < 0)
                return err_wrap(err, "send '%s'", repo->root);
        if (tar_r < 0 && err->code == 0)
                return err_set(err, EPIPE, "workspace.send", "the guest stopped reading '%s'", repo->root);
        return tar_r;
}
