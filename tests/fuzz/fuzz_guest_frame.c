/*
 * Both directions of the wall to a guest. The first byte chooses: the agent's decoding of a request, the frames of a channel,
 * or one of the client's ways to hear a guest that answers with the rest: a command, a session, an answer, files, a forwarded
 * connection, a listener.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"
#include "guest/client/guest_client.h"
#include "guest/client/guest_copy.h"
#include "guest/client/guest_forward.h"
#include "guest/contract/guest_channel.h"
#include "guest/contract/guest_relay.h"
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

enum way {
        WAY_ANSWER,
        WAY_EXEC,
        WAY_SESSION,
        WAY_DETACHED,
        WAY_COPY_OUT,
        WAY_COPY_IN,
        WAY_DIAL,
        WAY_LISTEN,
        N_WAYS
};

static void hear_exec(int fd, bool session)
{
        static const char *const argv[] = { "true", NULL };
        scoped_close int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        struct guest_exec run = { .argv = argv,
                                  .session = session ? "00112233" : NULL,
                                  .stdin_fd = FD_NONE,
                                  .stdout_fd = null,
                                  .stderr_fd = null,
                                  .signal_fd = FD_NONE };
        struct err err = { 0 };

        (void) guest_exec(fd, &run, &err);
}

/* Into an empty folder, beside which nothing may appear. */
static void hear_files(int fd, bool in)
{
        char folder[] = "/tmp/banger-fuzz-copy-XXXXXX";
        scoped_free char *destination = NULL;
        const char *paths[] = { in ? "/dev/null" : "x", NULL };
        struct err err = { 0 }, cleaning = { 0 };
        struct guest_copy copy = { .paths = paths, .bytes_max = 1U << 20, .entries_max = 100 };

        if (!mkdtemp(folder))
                abort();
        copy.destination = destination = xasprintf("%s/copy", folder);
        if (in)
                (void) guest_copy_in(fd, &copy, &err);
        else
                (void) guest_copy_out(fd, &copy, &err);
        if (file_remove_tree(destination, &cleaning) < 0 || rmdir(folder) < 0)
                abort();
}

static void hear_forward(int fd, bool listen)
{
        struct guest_listener listener = { 0 };
        struct err err = { 0 };
        unsigned port;
        int pair[2];

        if (listen) {
                if (guest_listen(fd, "tcp:127.0.0.1:80", &listener, &err) == 0)
                        while (guest_listener_next(&listener, &port, &err) == 1)
                                ;
                guest_listener_done(&listener);
                return;
        }
        if (guest_dial(fd, "tcp:127.0.0.1:80", &err) < 0 || fd_unix_pair(pair) < 0)
                return;
        (void) shutdown(pair[1], SHUT_WR);
        (void) guest_relay(fd, pair[0]);
        (void) close(pair[0]);
        (void) close(pair[1]);
}

static void hear_guest(const uint8_t *data, size_t size, enum way way)
{
        static const char *const argv[] = { "true", NULL };
        char id[GUEST_ID_MAX];
        struct err err = { 0 };
        json_t *json = NULL;
        scoped_close int fd = feed(data, size);

        if (way == WAY_EXEC || way == WAY_SESSION)
                hear_exec(fd, way == WAY_SESSION);
        else if (way == WAY_COPY_OUT || way == WAY_COPY_IN)
                hear_files(fd, way == WAY_COPY_IN);
        else if (way == WAY_DIAL || way == WAY_LISTEN)
                hear_forward(fd, way == WAY_LISTEN);
        else if (way == WAY_DETACHED)
                (void) guest_exec_detached(fd, &(struct guest_exec){ .argv = argv }, id, &err);
        else if (guest_stats(fd, 1000, &json, &err) == 0)
                json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (size == 0)
                return 0;
        switch (data[0] % (2 + N_WAYS)) {
        case 0:
                decode_request(data + 1, size - 1);
                break;
        case 1:
                read_channel(data + 1, size - 1);
                break;
        default:
                hear_guest(data + 1, size - 1, (enum way)(data[0] % (2 + N_WAYS) - 2));
                break;
        }
        return 0;
}
