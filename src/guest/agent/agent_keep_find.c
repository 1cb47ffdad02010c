/* Finding keepers, and what is said to them. */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/agent/agent_keep.h"
#include "guest/agent/agent_keeper.h"

#define RUNNING_MAX  64
#define FINISHED_MAX 32

static int speak(const char *id, const uint8_t *word, size_t n, const int *fd, int *ret_sock)
{
        scoped_free char *path = xasprintf(KEEPER_FOLDER "/%s", id);
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
        return strlen(text) == (size_t) KEEPER_ID_BYTES * 2 &&
               strspn(text, "0123456789abcdef") == (size_t) KEEPER_ID_BYTES * 2;
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
        while (fd_wait(sock, POLLIN, KEEPER_WORD_MS) == 0 && (n = read(sock, buffer, sizeof(buffer))) > 0 &&
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
        DIR *folder = opendir(KEEPER_FOLDER);
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

int keepers_make_room(struct err *err)
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
                       ? err_set(err, EAGAIN, KEEPER_OP,
                                 "%d detached commands run already; end one, or wait for one", RUNNING_MAX)
                       : 0;
}

static int no_session(int r, const char *id, struct err *err)
{
        if (r == -ENOENT || r == -ECONNREFUSED)
                return err_set(err, ENOENT, KEEPER_OP, "there is no session '%.40s'", id);
        errno = -r;
        return err_errno(err, KEEPER_OP, "speak to the session '%.40s'", id);
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
