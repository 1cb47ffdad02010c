/* The tar stream of a connection: DATA frames as a source of bytes. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"
#include "guest/agent/agent_serve.h"
#include "guest/agent/agent_tar.h"
#include "guest/contract/guest_frame.h"

struct frames {
        int fd;        /* borrowed */
        uint8_t *body; /* owned */
        size_t at, n;
        bool ended;
};

static int next_frame(struct frames *frames)
{
        struct guest_frame frame;
        int r;

        free(take_ptr(frames->body));
        frames->at = frames->n = 0;
        r = guest_frame_receive(frames->fd, UINT64_MAX, &frame, &frames->body);
        if (r < 0)
                return r == -ENODATA ? -ECONNRESET : r;
        if (frame.type != GUEST_FRAME_DATA)
                return -EBADMSG;
        frames->n = frame.n;
        frames->ended = frame.n == 0;
        return 0;
}

static int frames_read(void *context, void *buffer, size_t n)
{
        struct frames *frames = context;

        for (size_t done = 0; done < n;) {
                size_t part = frames->n - frames->at;

                if (part == 0) {
                        int r = frames->ended ? -ENODATA : next_frame(frames);

                        if (r < 0)
                                return r == -ENODATA && done > 0 ? -EBADMSG : r;
                        continue;
                }
                if (part > n - done)
                        part = n - done;
                memcpy((uint8_t *) buffer + done, frames->body + frames->at, part);
                frames->at += part;
                done += part;
        }
        return 0;
}

/* What follows the archive's end (tar pads to its record size) up to the stream's. */
static int drain(struct frames *frames, struct err *err)
{
        int r = 0;

        while (r == 0 && !frames->ended)
                r = next_frame(frames);
        if (r < 0) {
                errno = -r;
                return err_errno(err, "agent.tar", "read the end of the tar stream");
        }
        return 0;
}

int agent_tar_in(int fd, const char *folder, struct err *err)
{
        struct frames frames = { .fd = fd };
        struct tar_source source = { frames_read, &frames };
        int r = file_make_folders(folder, 0755, err);
        scoped_close int root = FD_NONE;

        if (r < 0)
                return r;
        root = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (root < 0)
                return err_errno(err, "agent.tar", "open the folder '%s'", folder);
        r = tar_unpack(&source, root, err);
        if (r == 0)
                r = drain(&frames, err);
        free(frames.body);
        return r;
}
