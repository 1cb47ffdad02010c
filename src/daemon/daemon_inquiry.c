#include "daemon/daemon_inquiry.h"

#include "base/text.h"
#include "daemon/daemon_session.h"

struct part {
        struct daemon_inquiry *inquiry;
        json_t *about; /* borrowed */
        void (*take)(struct daemon_inquiry *inquiry, json_t *about, const struct daemon_guest_answer *answer);
};

static void inquiry_free(struct daemon_inquiry *inquiry)
{
        struct daemon_inquiry **link = &inquiry->daemon->inquiries;

        while (*link && *link != inquiry)
                link = &(*link)->next;
        if (*link)
                *link = inquiry->next;
        json_decref(inquiry->result);
        free(inquiry);
}

static void on_gone(void *userdata)
{
        ((struct daemon_inquiry *) userdata)->session = NULL;
}

struct daemon_inquiry *daemon_inquiry_new(struct rpc_call *call, json_t *owned_result)
{
        struct daemon_context *context = call->context;
        struct daemon_inquiry *inquiry = xcalloc(1, sizeof(*inquiry));

        *inquiry = (struct daemon_inquiry){ .next = context->daemon->inquiries,
                                            .daemon = context->daemon,
                                            .session = context->session,
                                            .result = owned_result };
        context->daemon->inquiries = inquiry;
        daemon_session_on_gone(inquiry->session, on_gone, inquiry);
        return inquiry;
}

void daemon_inquiry_settle(struct daemon_inquiry *inquiry)
{
        int r;

        if (inquiry->n_owed == 0 && inquiry->complete)
                inquiry->complete(inquiry);
        if (inquiry->n_owed > 0)
                return;
        r = -inquiry->failure.code;
        daemon_session_answer(inquiry->session, r, r < 0 ? NULL : json_incref(inquiry->result),
                              &inquiry->failure);
        inquiry_free(inquiry);
}

static void answered(void *userdata, const struct daemon_guest_answer *answer)
{
        scoped_free struct part *part = userdata;

        part->inquiry->n_owed--;
        part->take(part->inquiry, part->about, answer);
        daemon_inquiry_settle(part->inquiry);
}

void daemon_inquiry_ask(struct daemon_inquiry *inquiry, const struct daemon_guest_question *question,
                        json_t *about,
                        void (*take)(struct daemon_inquiry *inquiry, json_t *about,
                                     const struct daemon_guest_answer *answer))
{
        struct part *part = xcalloc(1, sizeof(*part));

        *part = (struct part){ .inquiry = inquiry, .about = about, .take = take };
        inquiry->n_owed++;
        daemon_guest_ask(inquiry->daemon, question, answered, part);
}

void daemon_inquiries_done(struct daemon *daemon)
{
        while (daemon->inquiries)
                inquiry_free(daemon->inquiries);
}
