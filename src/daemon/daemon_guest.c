#include "daemon/daemon_guest.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/fd.h"
#include "base/text.h"
#include "vm/vm_spec.h"

struct daemon_guest_ask {
        struct daemon_guest_ask *next;
        struct daemon *daemon;
        struct guest_call *call;            /* owned; NULL: there is no connection, and err says why */
        sd_event_source *source, *deadline; /* owned */
        struct err err;
        daemon_guest_then *then;
        void *userdata;
};

static void ask_free(struct daemon_guest_ask *ask)
{
        struct daemon_guest_ask **link = &ask->daemon->guest_asks;

        while (*link && *link != ask)
                link = &(*link)->next;
        if (*link)
                *link = ask->next;
        sd_event_source_disable_unref(ask->source);
        sd_event_source_disable_unref(ask->deadline);
        guest_call_free(ask->call);
        free(ask);
}

static void ask_end(struct daemon_guest_ask *ask)
{
        json_auto_t *json = NULL;
        struct daemon_guest_answer answer = { .err = &ask->err };

        if (ask->err.code == 0 && guest_call_take(ask->call, &json, &ask->err) == 0)
                answer.json = json;
        if (ask->call)
                guest_call_times(ask->call, &answer.sent_ns, &answer.answered_ns);
        ask->then(ask->userdata, &answer);
        ask_free(ask);
}

static uint32_t events_of(const struct daemon_guest_ask *ask)
{
        return (uint32_t) guest_call_events(
                ask->call); /* POLLIN and POLLOUT are EPOLLIN and EPOLLOUT, epoll_ctl(2) */
}

static int on_ready(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        struct daemon_guest_ask *ask = userdata;

        (void) fd;
        (void) events;
        if (guest_call_run(ask->call, &ask->err) == 0)
                (void) sd_event_source_set_io_events(source, events_of(ask));
        else
                ask_end(ask);
        return 0;
}

/* Also the way to tell a failure of the very beginning from the loop. */
static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
        struct daemon_guest_ask *ask = userdata;

        (void) source;
        (void) usec;
        if (ask->err.code == 0)
                (void) err_set(&ask->err, ETIMEDOUT, "guest.ask", "the guest's agent did not answer in time");
        ask_end(ask);
        return 0;
}

static void ask_begin(struct daemon_guest_ask *ask, const struct daemon_guest_question *question)
{
        scoped_free char *runtime = layout_join(ask->daemon->runtime_vms, question->vm_id, NULL);
        scoped_free char *vsock = vm_path_vsock(runtime);
        int fd = fd_unix_connect_now(vsock), r;

        if (fd < 0) {
                (void) err_set(&ask->err, -fd, "guest.ask", "connect to the VM's vsock socket: %s",
                               strerror(-fd));
                return;
        }
        ask->call = guest_call_new(fd, question->question, question->shift_ns, question->slew);
        r = sd_event_add_io(ask->daemon->event, &ask->source, fd, events_of(ask), on_ready, ask);
        if (r < 0)
                (void) err_set(&ask->err, -r, "guest.ask", "watch a connection: %s", strerror(-r));
}

void daemon_guest_ask(struct daemon *daemon, const struct daemon_guest_question *question,
                      daemon_guest_then *then, void *userdata)
{
        struct daemon_guest_ask *ask = xcalloc(1, sizeof(*ask));

        *ask = (struct daemon_guest_ask){
                .next = daemon->guest_asks, .daemon = daemon, .then = then, .userdata = userdata
        };
        daemon->guest_asks = ask;
        ask_begin(ask, question);
        (void) sd_event_add_time_relative(daemon->event, &ask->deadline, CLOCK_MONOTONIC,
                                          ask->err.code ? 0 : question->timeout_ms * 1000, 1000, on_deadline,
                                          ask);
}

void daemon_guests_done(struct daemon *daemon)
{
        while (daemon->guest_asks)
                ask_free(daemon->guest_asks);
}
