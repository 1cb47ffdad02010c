#include "guest/agent/agent_keep.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "guest/agent/agent_keeper.h"
#include "guest/contract/guest_frame.h"

#define SHOWN_MAX 200 /* bytes of a command line in a list */

/* ---- words ---- */

static json_t *status_of(const struct keeper *keeper)
{
        static const char *const states[] = { "exited", "killed", "timeout" };
        json_t *json =
                json_pack("{s:s, s:s, s:I, s:I}", "id", keeper->id, "state",
                          keeper->ended ? states[keeper->end[0] % GUEST_N_ENDS] : "running", "started_ns",
                          (json_int_t) keeper->started_ns, "lost_bytes", (json_int_t) keeper->ring.tail);

        (void) json_object_set_new(json, "command",
                                   json_string(keeper->command) ? json_string(keeper->command)
                                                                : json_string("?"));
        if (keeper->ended) {
                (void) json_object_set_new(json, "status", json_integer(keeper->end[1]));
                (void) json_object_set_new(json, "ended_ns", json_integer((json_int_t) keeper->ended_ns));
        }
        return json;
}

static void answer_status(const struct keeper *keeper, int sock)
{
        json_t *json = status_of(keeper);
        scoped_free char *text = json_dumps(json, JSON_COMPACT);

        json_decref(json);
        if (text)
                (void) fd_write_full(sock, text, strlen(text));
}

static void take_word(struct keeper *keeper)
{
        scoped_close int sock = accept4(keeper->listener, NULL, NULL, SOCK_CLOEXEC);
        int fds[FD_PASS_MAX];
        uint8_t word[2] = { 0 };
        size_t n_fds = 0;

        if (sock < 0 || fd_wait(sock, POLLIN, KEEPER_WORD_MS) < 0 ||
            fd_receive_with(sock, word, sizeof(word), fds, &n_fds) < 1)
                return;
        if ((word[0] == WORD_ATTACH || word[0] == WORD_WAIT) && n_fds == 1) {
                reader_begin(keeper, fds[0], word[0] == WORD_WAIT);
                n_fds = 0;
        }
        if (word[0] == WORD_STATUS)
                answer_status(keeper, sock);
        if (word[0] == WORD_SIGNAL && !keeper->ended && word[1] > 0 && word[1] <= SIGRTMAX)
                guest_channel_queue(&keeper->session, GUEST_FRAME_SIGNAL, &word[1], 1);
        if (word[0] == WORD_FORGET)
                keeper->forgotten = keeper->ended;
        for (size_t i = 0; i < n_fds; i++)
                (void) close(fds[i]);
}

static void feed_readers(struct keeper *keeper)
{
        for (size_t i = 0; i < KEEPER_READERS; i++)
                if (keeper->readers[i].channel.fd >= 0)
                        reader_feed(keeper, &keeper->readers[i]);
}

void keeper_settle(struct keeper *keeper)
{
        feed_readers(keeper);
        if (keeper->ended)
                return;
        keeper_give_credit(keeper);
        if (guest_channel_flush(&keeper->session) < 0) {
                keeper_hear_session(keeper); /* its end tells */
                feed_readers(keeper);        /* nothing else would wake us for them */
        }
}

static void keep_step(struct keeper *keeper)
{
        struct pollfd p[KEEPER_READERS + 2] = {
                {.fd = keeper->listener, .events = POLLIN}
        };
        bool has_output = !keeper->ended && guest_channel_has_output(&keeper->session);

        p[1] = (struct pollfd){ .fd = keeper->ended ? FD_NONE : keeper->session.fd,
                                .events = (short) (has_output ? POLLIN | POLLOUT : POLLIN) };
        for (size_t i = 0; i < KEEPER_READERS; i++) {
                const struct reader *reader = &keeper->readers[i];

                p[2 + i] = (struct pollfd){
                        .fd = reader->channel.fd,
                        .events =
                                (short) (POLLIN | (guest_channel_has_output(&reader->channel) ? POLLOUT : 0))
                };
        }
        if (poll(p, KEEPER_READERS + 2, -1) < 0)
                return;
        if (p[1].revents != 0)
                keeper_hear_session(keeper);
        for (size_t i = 0; i < KEEPER_READERS; i++)
                if ((p[2 + i].revents & ~POLLOUT) != 0 && keeper->readers[i].channel.fd >= 0)
                        reader_hear(&keeper->readers[i]);
        if (p[0].revents != 0)
                take_word(keeper);
        keeper_settle(keeper);
}

/* ---- a keeper's life ---- */

static char *command_line(const struct guest_request *request)
{
        struct text line = { 0 };

        for (const char *const *word = request->argv; word && *word && line.n < SHOWN_MAX; word++)
                text_appendf(&line, "%s%.*s", line.n > 0 ? " " : "", SHOWN_MAX, *word);
        return text_take(&line);
}

static int keeper_open(struct keeper *keeper, const struct guest_request *request, struct err *err)
{
        uint8_t random[KEEPER_ID_BYTES];

        for (size_t i = 0; i < KEEPER_READERS; i++)
                keeper->readers[i].channel.fd = FD_NONE;
        if (getrandom(random, sizeof(random), 0) != (ssize_t) sizeof(random))
                return err_errno(err, KEEPER_OP, "draw an id");
        text_hex(random, sizeof(random), keeper->id);
        if ((mkdir("/run/banger", 0700) < 0 && errno != EEXIST) ||
            (mkdir(KEEPER_FOLDER, 0700) < 0 && errno != EEXIST))
                return err_errno(err, KEEPER_OP, "make '" KEEPER_FOLDER "'");
        keeper->path = xasprintf(KEEPER_FOLDER "/%s", keeper->id);
        keeper->command = command_line(request);
        keeper->started_ns = clock_real_ns();
        keeper->listener = fd_unix_listen(keeper->path, 0600, 16);
        if (keeper->listener < 0) {
                errno = -keeper->listener;
                return err_errno(err, KEEPER_OP, "listen on '%s'", keeper->path);
        }
        return 0;
}

static void keeper_free(struct keeper *keeper)
{
        for (size_t i = 0; i < KEEPER_READERS; i++)
                if (keeper->readers[i].channel.fd >= 0)
                        reader_end(&keeper->readers[i]);
        if (keeper->listener >= 0) {
                (void) close(keeper->listener);
                (void) unlink(keeper->path);
        }
        ring_done(&keeper->ring);
        free(keeper->path);
        free(keeper->command);
        free(keeper);
}
SCOPED_FUNC(struct keeper *, keeper_free);

int agent_keep(int fd, const struct guest_request *request, void (*on_started)(void *), void *context,
               struct err *err)
{
        scoped(keeper_free) struct keeper *keeper = xcalloc(1, sizeof(*keeper));
        scoped_free char *answer = NULL;
        char waste[16];
        int r;

        keeper->listener = FD_NONE;
        r = keepers_make_room(err);
        if (r == 0)
                r = keeper_open(keeper, request, err);
        if (r == 0)
                r = keeper_start_session(keeper, request, err);
        if (r < 0)
                return r;
        answer = xasprintf("{\"id\":\"%s\"}", keeper->id);
        (void) guest_frame_send(fd, GUEST_FRAME_ANSWER, answer, strlen(answer),
                                clock_monotonic_ms() + KEEPER_WORD_MS);
        if (on_started)
                on_started(context);
        (void) signal(SIGCHLD, SIG_IGN);
        /* the host closes when it has read it; nothing else of it is needed */
        (void) fd_read_until(fd, waste, sizeof(waste), clock_monotonic_ms() + KEEPER_WORD_MS);
        (void) shutdown(fd, SHUT_RDWR);
        while (!keeper->forgotten)
                keep_step(keeper);
        return 0;
}
