#include "guest/agent/agent_keep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/agent/agent_ring.h"
#include "guest/agent/agent_serve.h"
#include "guest/contract/guest_channel.h"

#define OP_KEEP      "agent.session"
#define FOLDER       "/run/banger/exec"
#define RUNNING_MAX  64
#define FINISHED_MAX 32
#define READERS_MAX  8
#define ID_BYTES     4
#define START_MS     10000
#define WORD_MS      2000 /* for what agents say to each other */
#define SHOWN_MAX    200  /* bytes of a command line in a list */

/* What is said to a keeper: a byte, and its connection or a second byte. */
enum word {
        WORD_ATTACH = 'a', /* with a descriptor */
        WORD_WAIT = 'w',   /* likewise, without output */
        WORD_STATUS = 's', /* answered by JSON */
        WORD_SIGNAL = 'k', /* with a signal's number */
        WORD_FORGET = 'x',
};

/* A host that is attached. */
struct reader {
        struct guest_channel channel; /* its fd is owned; FD_NONE: free */
        bool is_quiet, is_told;       /* EXIT was sent */
        uint64_t at;
        uint32_t credit[GUEST_N_STREAMS];
};

struct keeper {
        char id[ID_BYTES * 2 + 1];
        char *path, *command; /* owned */
        int listener;         /* owned */
        struct guest_channel session;
        struct ring ring;
        uint32_t owed[GUEST_N_STREAMS];
        struct reader readers[READERS_MAX];
        bool ended, forgotten;
        uint8_t end[2]; /* EXIT's body */
        uint64_t started_ns, ended_ns;
};

/* ---- the session of the command, in a child ---- */

static void tell_start(void *context)
{
        (void) !write(*(int *) context, "", 1);
}

__attribute__((noreturn)) static void run_session(int fd, int started, const struct guest_request *request)
{
        struct guest_request attached = *request;
        struct err err = { 0 };

        attached.detach = false;
        if (agent_exec(fd, &attached, tell_start, &started, &err) < 0)
                agent_refuse(fd, &err);
        _exit(0);
}

/* 0 once the command runs, or has said something or ended; -code: it could not be started. */
static int wait_start(int session, int started, struct err *err)
{
        uint64_t deadline_ms = clock_monotonic_ms() + START_MS;
        struct pollfd p[2] = {
                {.fd = started,  .events = POLLIN},
                { .fd = session, .events = POLLIN}
        };
        scoped_free uint8_t *body = NULL;
        struct guest_frame frame;
        uint8_t type = 0;
        json_t *json = NULL;
        int code;

        while (poll(p, 2, clock_left_ms(deadline_ms)) < 0 && errno == EINTR)
                ;
        if (p[1].revents == 0 || recv(session, &type, 1, MSG_PEEK) != 1 || type != GUEST_FRAME_ERROR)
                return 0;
        if (guest_frame_receive(session, deadline_ms, &frame, &body) < 0 ||
            json_parse((const char *) body, frame.n, "an error", &json, err) < 0)
                return err_set(err, EIO, OP_KEEP, "the command could not be started");
        code = (int) json_u64(json, "code", EIO);
        (void) err_set(err, code > 0 ? code : EIO, OP_KEEP, "%s", json_text(json, "message"));
        json_decref(json);
        return -err->code;
}

static int start_session(struct keeper *keeper, const struct guest_request *request, struct err *err)
{
        scoped_close int ours = FD_NONE, theirs = FD_NONE, hears = FD_NONE, tells = FD_NONE;
        int pair[2], started[2], r;
        pid_t pid;

        r = fd_unix_pair(pair);
        if (r < 0)
                return err_set(err, -r, OP_KEEP, "make a socket pair: %s", strerror(-r));
        ours = pair[0];
        theirs = pair[1];
        if (pipe2(started, O_CLOEXEC) < 0)
                return err_errno(err, OP_KEEP, "make a pipe");
        hears = started[0];
        tells = started[1];
        pid = fork();
        if (pid < 0)
                return err_errno(err, OP_KEEP, "fork");
        if (pid == 0) {
                (void) close(take_fd(&ours));
                (void) close(take_fd(&hears));
                (void) close(keeper->listener);
                run_session(theirs, tells, request);
        }
        (void) close(take_fd(&theirs));
        (void) close(take_fd(&tells));
        r = wait_start(ours, hears, err);
        if (r < 0)
                return r;
        guest_channel_init(&keeper->session, take_fd(&ours));
        guest_channel_queue(&keeper->session, GUEST_FRAME_STDIN, NULL, 0);
        return 0;
}

/* ---- readers ---- */

static void reader_end(struct reader *reader)
{
        int fd = reader->channel.fd;

        guest_channel_done(&reader->channel);
        if (fd >= 0)
                (void) close(fd);
}

static void reader_begin(struct keeper *keeper, int owned_fd, bool is_quiet)
{
        json_t *json = json_pack("{s:I}", "lost", (json_int_t) keeper->ring.tail);
        scoped_free char *text = json_dumps(json, JSON_COMPACT);

        json_decref(json);
        for (size_t i = 0; i < READERS_MAX; i++) {
                struct reader *reader = &keeper->readers[i];

                if (reader->channel.fd >= 0)
                        continue;
                *reader = (struct reader){
                        .is_quiet = is_quiet,
                        .at = keeper->ring.tail,
                        .credit = {0, GUEST_WINDOW, GUEST_WINDOW}
                };
                guest_channel_init(&reader->channel, owned_fd);
                guest_channel_queue(&reader->channel, GUEST_FRAME_ANSWER, text, strlen(text));
                return;
        }
        (void) close(owned_fd); /* more than there is room for */
}

/* Records as far as there is credit for; then the end, when that has come. */
static void reader_feed(struct keeper *keeper, struct reader *reader)
{
        uint8_t stream, data[RING_RECORD_MAX];

        if (guest_channel_flush(&reader->channel) < 0) {
                reader_end(reader);
                return;
        }
        while (!reader->is_quiet && !guest_channel_has_output(&reader->channel)) {
                uint64_t next = reader->at;
                size_t n = ring_get(&keeper->ring, &next, &stream, data);

                if (n == 0 || n > reader->credit[stream])
                        break;
                reader->credit[stream] -= (uint32_t) n;
                reader->at = next;
                guest_channel_queue(&reader->channel,
                                    stream == GUEST_STREAM_STDOUT ? GUEST_FRAME_STDOUT : GUEST_FRAME_STDERR,
                                    data, n);
                if (guest_channel_flush(&reader->channel) < 0) {
                        reader_end(reader);
                        return;
                }
        }
        if (keeper->ended && !reader->is_told && (reader->is_quiet || reader->at == keeper->ring.head)) {
                guest_channel_queue(&reader->channel, GUEST_FRAME_EXIT, keeper->end, sizeof(keeper->end));
                reader->is_told = true;
        }
        if (guest_channel_flush(&reader->channel) < 0)
                reader_end(reader);
}

/* A host gives credit, or goes. Everything else it might say ends it. */
static void reader_hear(struct reader *reader)
{
        struct guest_frame frame;
        int r = guest_channel_read(&reader->channel);

        if (r == -EAGAIN)
                return;
        while (r == 0 && (r = guest_channel_next(&reader->channel, &frame)) == 1) {
                uint8_t stream = frame.n > 0 ? frame.body[0] : 0;
                uint32_t more = frame.type == GUEST_FRAME_CREDIT ? guest_get_u32(frame.body + 1) : 0;

                r = 0;
                if (frame.type == GUEST_FRAME_CREDIT && stream < GUEST_N_STREAMS &&
                    more <= GUEST_WINDOW - reader->credit[stream])
                        reader->credit[stream] += more;
                else if (frame.type != GUEST_FRAME_CLOSE)
                        r = -EBADMSG;
        }
        if (r < 0)
                reader_end(reader);
}

/* A reader that is behind by nearly all of the ring stops the command's output, as a pipe would: it is there to read it all. */
static bool is_held(const struct keeper *keeper)
{
        for (size_t i = 0; i < READERS_MAX; i++) {
                const struct reader *reader = &keeper->readers[i];

                if (reader->channel.fd >= 0 && !reader->is_quiet &&
                    keeper->ring.head - reader->at > RING_SIZE - 2 * GUEST_WINDOW)
                        return true;
        }
        return false;
}

/* ---- the command's output ---- */

static void take_output(struct keeper *keeper, uint8_t stream, const struct guest_frame *frame)
{
        for (uint32_t at = 0; at < frame->n; at += RING_RECORD_MAX) {
                uint32_t n = frame->n - at < RING_RECORD_MAX ? frame->n - at : RING_RECORD_MAX;

                ring_put(&keeper->ring, stream, frame->body + at, n);
        }
        keeper->owed[stream] += frame->n;
}

static void give_credit(struct keeper *keeper)
{
        for (unsigned stream = GUEST_STREAM_STDOUT; stream <= GUEST_STREAM_STDERR; stream++)
                if (keeper->owed[stream] >= GUEST_WINDOW / 2 && !is_held(keeper)) {
                        guest_channel_queue_credit(&keeper->session, (enum guest_stream) stream,
                                                   keeper->owed[stream]);
                        keeper->owed[stream] = 0;
                }
}

static void command_ended(struct keeper *keeper, const uint8_t *end)
{
        if (end)
                memcpy(keeper->end, end, sizeof(keeper->end));
        else /* its session died: an out-of-memory kill, say */
                keeper->end[0] = GUEST_END_KILLED, keeper->end[1] = SIGKILL;
        keeper->ended = true;
        keeper->ended_ns = clock_real_ns();
        (void) prctl(PR_SET_NAME, "banger-ended"); /* a session no more (agent_serve.h), only its output */
        (void) close(keeper->session.fd);
        guest_channel_done(&keeper->session);
}

static void hear_session(struct keeper *keeper)
{
        struct guest_frame frame;
        int r = guest_channel_read(&keeper->session);

        if (r == -EAGAIN)
                return;
        while (r == 0 && (r = guest_channel_next(&keeper->session, &frame)) == 1) {
                r = 0;
                if (frame.type == GUEST_FRAME_STDOUT)
                        take_output(keeper, GUEST_STREAM_STDOUT, &frame);
                else if (frame.type == GUEST_FRAME_STDERR)
                        take_output(keeper, GUEST_STREAM_STDERR, &frame);
                else if (frame.type == GUEST_FRAME_EXIT) {
                        command_ended(keeper, frame.body);
                        return;
                }
        }
        if (r < 0)
                command_ended(keeper, NULL);
}

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

        if (sock < 0 || fd_wait(sock, POLLIN, WORD_MS) < 0 ||
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

static void keep_step(struct keeper *keeper)
{
        struct pollfd p[READERS_MAX + 2] = {
                {.fd = keeper->listener, .events = POLLIN}
        };
        bool has_output = !keeper->ended && guest_channel_has_output(&keeper->session);

        p[1] = (struct pollfd){ .fd = keeper->ended ? FD_NONE : keeper->session.fd,
                                .events = (short) (has_output ? POLLIN | POLLOUT : POLLIN) };
        for (size_t i = 0; i < READERS_MAX; i++) {
                const struct reader *reader = &keeper->readers[i];

                p[2 + i] = (struct pollfd){
                        .fd = reader->channel.fd,
                        .events =
                                (short) (POLLIN | (guest_channel_has_output(&reader->channel) ? POLLOUT : 0))
                };
        }
        if (poll(p, READERS_MAX + 2, -1) < 0)
                return;
        if (p[1].revents != 0)
                hear_session(keeper);
        for (size_t i = 0; i < READERS_MAX; i++)
                if ((p[2 + i].revents & ~POLLOUT) != 0 && keeper->readers[i].channel.fd >= 0)
                        reader_hear(&keeper->readers[i]);
        if (p[0].revents != 0)
                take_word(keeper);
        for (size_t i = 0; i < READERS_MAX; i++)
                if (keeper->readers[i].channel.fd >= 0)
                        reader_feed(keeper, &keeper->readers[i]);
        if (!keeper->ended) {
                give_credit(keeper);
                if (guest_channel_flush(&keeper->session) < 0)
                        hear_session(keeper); /* its end tells */
        }
}

/* ---- finding keepers ---- */

static int speak(const char *id, const uint8_t *word, size_t n, const int *fd, int *ret_sock)
{
        scoped_free char *path = xasprintf(FOLDER "/%s", id);
        scoped_close int sock = fd_unix_connect(path);
        int r;

        if (sock == -ECONNREFUSED)
                (void) unlink(path); /* of a keeper that was killed */
        if (sock < 0)
                return sock;
        r = fd_send_with(sock, word, n, fd, fd ? 1 : 0);
        if (r == 0 && ret_sock)
                *ret_sock = take_fd(&sock);
        return r;
}

static bool is_id(const char *text)
{
        return strlen(text) == (size_t) ID_BYTES * 2 &&
               strspn(text, "0123456789abcdef") == (size_t) ID_BYTES * 2;
}

static json_t *ask_status(const char *id)
{
        const uint8_t word = WORD_STATUS;
        scoped_text struct text text = { 0 };
        struct err ignored = { 0 };
        char buffer[4096];
        json_t *json = NULL;
        int sock = FD_NONE;
        ssize_t n;

        if (speak(id, &word, 1, NULL, &sock) < 0)
                return NULL;
        while (fd_wait(sock, POLLIN, WORD_MS) == 0 && (n = read(sock, buffer, sizeof(buffer))) > 0 &&
               text.n < sizeof(buffer))
                text_append_bytes(&text, buffer, (size_t) n);
        (void) close(sock);
        return text.n > 0 && json_parse(text.s, text.n, "a status", &json, &ignored) == 0 ? json : NULL;
}

static int by_start(const void *a, const void *b)
{
        uint64_t left = json_u64(*(json_t *const *) a, "started_ns", 0),
                 right = json_u64(*(json_t *const *) b, "started_ns", 0);

        return (left > right) - (left < right);
}

json_t *agent_sessions(void)
{
        json_t *found[2 * (RUNNING_MAX + FINISHED_MAX)], *list = json_array();
        DIR *folder = opendir(FOLDER);
        const struct dirent *entry;
        size_t n = 0;

        while (folder && n < sizeof(found) / sizeof(found[0]) && (entry = readdir(folder)))
                if (is_id(entry->d_name) && (found[n] = ask_status(entry->d_name)))
                        n++;
        if (folder)
                (void) closedir(folder);
        qsort(found, n, sizeof(void *), by_start);
        for (size_t i = 0; i < n; i++)
                (void) json_array_append_new(list, found[i]);
        return json_pack("{s:o}", "sessions", list);
}

/* Refuses too many that run, and forgets the oldest of too many that ended. */
static int make_room(struct err *err)
{
        const uint8_t forget = WORD_FORGET;
        json_t *all = agent_sessions();
        const json_t *session;
        size_t i, n_running = 0, n_finished = 0;

        json_array_foreach (json_object_get(all, "sessions"), i, session)
                *(strcmp(json_text(session, "state"), "running") == 0 ? &n_running : &n_finished) += 1;
        json_array_foreach (json_object_get(all, "sessions"), i, session)
                if (n_finished >= FINISHED_MAX && strcmp(json_text(session, "state"), "running") != 0 &&
                    speak(json_text(session, "id"), &forget, 1, NULL, NULL) == 0)
                        n_finished--;
        json_decref(all);
        return n_running >= RUNNING_MAX
                       ? err_set(err, EAGAIN, OP_KEEP,
                                 "%d detached commands run already; end one, or wait for one", RUNNING_MAX)
                       : 0;
}

static int no_session(int r, const char *id, struct err *err)
{
        if (r == -ENOENT || r == -ECONNREFUSED)
                return err_set(err, ENOENT, OP_KEEP, "there is no session '%.40s'", id);
        errno = -r;
        return err_errno(err, OP_KEEP, "speak to the session '%.40s'", id);
}

int agent_attach(int fd, const struct guest_request *request, struct err *err)
{
        const uint8_t word = request->quiet ? WORD_WAIT : WORD_ATTACH;
        int r = request->path && is_id(request->path) ? speak(request->path, &word, 1, &fd, NULL) : -ENOENT;

        return r < 0 ? no_session(r, request->path ? request->path : "", err) : 1;
}

int agent_session_kill(const struct guest_request *request, struct err *err)
{
        const uint8_t word[2] = { WORD_SIGNAL, request->signal };
        int r = request->path && is_id(request->path) ? speak(request->path, word, 2, NULL, NULL) : -ENOENT;

        return r < 0 ? no_session(r, request->path ? request->path : "", err) : 0;
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
        uint8_t random[ID_BYTES];

        for (size_t i = 0; i < READERS_MAX; i++)
                keeper->readers[i].channel.fd = FD_NONE;
        if (getrandom(random, sizeof(random), 0) != (ssize_t) sizeof(random))
                return err_errno(err, OP_KEEP, "draw an id");
        text_hex(random, sizeof(random), keeper->id);
        if ((mkdir("/run/banger", 0700) < 0 && errno != EEXIST) ||
            (mkdir(FOLDER, 0700) < 0 && errno != EEXIST))
                return err_errno(err, OP_KEEP, "make '" FOLDER "'");
        keeper->path = xasprintf(FOLDER "/%s", keeper->id);
        keeper->command = command_line(request);
        keeper->started_ns = clock_real_ns();
        keeper->listener = fd_unix_listen(keeper->path, 0600, 16);
        if (keeper->listener < 0) {
                errno = -keeper->listener;
                return err_errno(err, OP_KEEP, "listen on '%s'", keeper->path);
        }
        return 0;
}

static void keeper_free(struct keeper *keeper)
{
        for (size_t i = 0; i < READERS_MAX; i++)
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
        r = make_room(err);
        if (r == 0)
                r = keeper_open(keeper, request, err);
        if (r == 0)
                r = start_session(keeper, request, err);
        if (r < 0)
                return r;
        answer = xasprintf("{\"id\":\"%s\"}", keeper->id);
        (void) guest_frame_send(fd, GUEST_FRAME_ANSWER, answer, strlen(answer),
                                clock_monotonic_ms() + WORD_MS);
        if (on_started)
                on_started(context);
        (void) signal(SIGCHLD, SIG_IGN);
        /* the host closes when it has read it; nothing else of it is needed */
        (void) fd_read_until(fd, waste, sizeof(waste), clock_monotonic_ms() + WORD_MS);
        (void) shutdown(fd, SHUT_RDWR);
        while (!keeper->forgotten)
                keep_step(keeper);
        return 0;
}
