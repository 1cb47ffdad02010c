/* Trees to and from the host: the connection's bytes joined to the packing and unpacking of tar/. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "guest/agent/agent_glob.h"
#include "guest/agent/agent_serve.h"
#include "guest/contract/guest_bytes.h"
#include "tar/tar_pack.h"
#include "tar/tar_unpack.h"

#define OP_TAR "agent.tar"
#define HOME   "/root"

/* What follows the archive's end (tar pads to its record size) is taken, too. */
static int unpack(int fd, struct tar_unpack *options, struct err *err)
{
        scoped(guest_bytes_done) struct guest_bytes bytes;
        struct tar_source source = { guest_bytes_read, &bytes };
        int r;

        guest_bytes_init(&bytes, fd, -1);
        r = tar_unpack(&source, options, err);
        if (r < 0)
                return r;
        r = guest_bytes_drain(&bytes);
        if (r < 0) {
                errno = -r;
                return err_errno(err, OP_TAR, "read the end of the tar stream");
        }
        return 0;
}

int agent_tar_in(int fd, const char *folder, struct err *err)
{
        struct tar_unpack options = { 0 };
        int r = file_make_folders(folder, 0755, err);
        scoped_close int root = FD_NONE;

        if (r < 0)
                return r;
        root = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (root < 0)
                return err_errno(err, OP_TAR, "open the folder '%s'", folder);
        options.root_fd = root;
        return unpack(fd, &options, err);
}

static void enter_home(void)
{
        if (chdir(HOME) < 0)
                (void) chdir("/");
}

int agent_copy_in(int fd, const struct guest_request *request, json_t **ret_counts, struct err *err)
{
        struct tar_unpack options = { .destination = *request->path ? request->path : ".",
                                      .root_fd = FD_NONE,
                                      .must_be_folder = request->into,
                                      .drop_set_id = true };
        int r;

        enter_home();
        r = unpack(fd, &options, err);
        if (r == 0)
                *ret_counts = json_pack("{s:I}", "skipped", (json_int_t) options.counts.n_skipped);
        return r;
}

static inline void pack_free_at_scope_end(struct tar_pack **owned)
{
        tar_pack_done(*owned);
        free(*owned);
}

static int pack_paths(int fd, const struct agent_paths *paths, bool follow, uint64_t *ret_skipped,
                      struct err *err)
{
        scoped(guest_bytes_done) struct guest_bytes bytes;
        const struct tar_sink sink = { guest_bytes_write, &bytes };
        scoped(pack_free) struct tar_pack *pack = xcalloc(1, sizeof(*pack));
        int r = 0;

        guest_bytes_init(&bytes, fd, -1);
        pack->sink = &sink;
        pack->follow = follow;
        for (size_t i = 0; r == 0 && i < paths->n; i++)
                r = tar_pack_path(pack, paths->list[i], err);
        if (r == 0)
                r = tar_pack_end(pack, err);
        if (r < 0)
                return r;
        *ret_skipped = pack->n_skipped;
        r = guest_bytes_write(&bytes, NULL, 0);
        if (r < 0) {
                errno = -r;
                return err_errno(err, OP_TAR, "send the end of the tar stream");
        }
        return 0;
}

int agent_tar_out(int fd, const char *path, struct err *err)
{
        char *list[] = { (char *) (uintptr_t) path };
        const struct agent_paths paths = { .list = list, .n = 1 };
        uint64_t n_skipped;

        return pack_paths(fd, &paths, false, &n_skipped, err);
}

int agent_copy_out(int fd, const struct guest_request *request, json_t **ret_counts, struct err *err)
{
        scoped(agent_paths_done) struct agent_paths paths = { 0 };
        uint64_t n_skipped = 0;
        int r = 0;

        enter_home();
        for (size_t i = 0; r == 0 && request->argv[i]; i++)
                r = agent_glob(request->argv[i][0] ? request->argv[i] : ".", &paths, err);
        if (r == 0)
                r = pack_paths(fd, &paths, request->follow, &n_skipped, err);
        if (r == 0)
                *ret_counts = json_pack("{s:I}", "skipped", (json_int_t) n_skipped);
        return r;
}
