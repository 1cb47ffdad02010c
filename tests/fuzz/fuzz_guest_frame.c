/*
 * Both directions of the wall to a guest. The first byte chooses: the agent's decoding of a request, the frames of a channel,
 * or the client's reading of a guest that answers with the rest.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "guest/client/guest_client.h"
#include "guest/contract/guest_channel.h"
#include "guest/contract/guest_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode_request(const uint8_t *data, size_t size)
{
        struct guest_request request = { 0 };
        struct err err = { 0 };

        if (guest_request_decode(data, size, &request, &err) == 0) {
                struct text again = { 0 };
                struct err none = { 0 };

                /* What was understood can be said again. */
                if (guest_request_encode(&request, &again, &none) < 0 && none.code != E2BIG)
                        abort();
                text_done(&again);
        }
        guest_request_done(&request);
}

/* A pair with the bytes on one end, which is closed behind them; the other end, or -1. */
static int feed(const uint8_t *data, size_t size)
{
        int fds[2];

        if (fd_unix_pair(fds) < 0)
                abort();
        (void) send(fds[1], data, size < 60000 ? size : 60000, MSG_DONTWAIT | MSG_NOSIGNAL);
        (void) shutdown(fds[1], SHUT_WR);
        return (void) close(fds[1]), fds[0];
}

static void read_channel(const uint8_t *data, size_t size)
{
        struct guest_channel channel;
        struct guest_frame frame;
        int fd = feed(data, size);

        guest_channel_init(&channel, fd);
        while (guest_channel_read(&channel) == 0)
                while (guest_channel_next(&channel, &frame) == 1)
                        if (frame.n > guest_frame_max(frame.type))
                                abort();
        guest_channel_done(&channel);
        (void) close(fd);
}

static void hear_guest(const uint8_t *data, size_t size, bool exec)
{
        static const char *const argv[] = { "true", NULL };
        static int null = FD_NONE;
        struct err err = { 0 };
        json_t *json = NULL;
        int fd = feed(data, size);

        if (null < 0)
                null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (exec) {
                struct guest_exec run = { .argv = argv,
                                          .stdin_fd = FD_NONE,
                                          .stdout_fd = null,
                                          .stderr_fd = null,
                                          .signal_fd = FD_NONE };

                (void) guest_exec(fd, &run, &err);
        } else if (guest_stats(fd, 1000, &json, &err) == 0) {
                json_decref(json);
        }
        (void) close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (size == 0)
                return 0;
        switch (data[0] % 4) {
        case 0:
                decode_request(data + 1, size - 1);
                break;
        case 1:
                read_channel(data + 1, size - 1);
                break;
        default:
                hear_guest(data + 1, size - 1, data[0] % 4 == 2);
                break;
        }
        return 0;
}
