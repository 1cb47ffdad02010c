#include "guest/client/guest_copy.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/client/guest_client.h"
#include "guest/client/guest_internal.h"
#include "guest/contract/guest_bytes.h"
#include "tar/tar_pack.h"
#include "tar/tar_unpack.h"

#define OP_COPY  "guest.copy"
#define WHAT_IN  "send files to the guest"
#define WHAT_OUT "fetch files from the guest"

static int ask(int fd, const struct guest_request *request, const char *what, struct err *err)
{
        scoped_text struct text body = { 0 };
        int r = guest_request_encode(request, &body, err);

        if (r < 0)
                return r;
        r = guest_frame_send(fd, GUEST_FRAME_REQUEST, body.s, body.n,
                             clock_monotonic_ms() + GUEST_SILENCE_MS);
        return r < 0 ? guest_transport_error(r, OP_COPY, what, err) : 0;
}

/* The guest's last word: an answer, whose count of what it skipped is added, or its failure. */
static int take_word(struct guest_bytes *bytes, struct guest_progress *done, const char *what,
                     struct err *err)
{
        struct err ignored = { 0 };
        json_t *json = NULL;
        int r = guest_bytes_hear(bytes);

        if (r == 0 && bytes->word.type == GUEST_FRAME_ERROR)
                return guest_error_take(&bytes->word, OP_COPY, err);
        if (r == 0 && bytes->word.type != GUEST_FRAME_ANSWER)
                r = -EBADMSG;
        if (r < 0)
                return guest_transport_error(r, OP_COPY, what, err);
        if (json_parse((const char *) bytes->word.body, bytes->word.n, "the answer", &json, &ignored) == 0)
                done->n_skipped += json_u64(json, "skipped", 0);
        json_decref(json);
        return 0;
}

static inline void pack_free_at_scope_end(struct tar_pack **owned)
{
        tar_pack_done(*owned);
        free(*owned);
}

/* A sink that also tells how far it is. */
struct telling {
        struct guest_bytes bytes;
        const struct tar_pack *pack;
        struct guest_copy *copy;
};

static int write_and_tell(void *context, const void *data, size_t n)
{
        struct telling *telling = context;
        struct guest_progress *done = &telling->copy->done;

        done->n_entries = telling->pack->n_entries;
        done->n_bytes = telling->pack->n_bytes;
        done->n_skipped = telling->pack->n_skipped;
        if (telling->copy->moved)
                telling->copy->moved(telling->copy->context, done);
        return guest_bytes_write(&telling->bytes, data, n);
}

static int pack_all(struct telling *telling, struct err *err)
{
        const struct tar_sink sink = { write_and_tell, telling };
        scoped(pack_free) struct tar_pack *pack = xcalloc(1, sizeof(*pack));
        int r = 0;

        pack->sink = &sink;
        pack->follow = telling->copy->follow;
        pack->leaves_out = telling->copy->leaves_out;
        pack->leaves_out_context = telling->copy->leaves_out_context;
        telling->pack = pack;
        for (size_t i = 0; r == 0 && telling->copy->paths[i]; i++)
                r = tar_pack_path(pack, telling->copy->paths[i], err);
        if (r == 0)
                r = tar_pack_end(pack, err);
        if (r == 0 && (r = guest_bytes_write(&telling->bytes, NULL, 0)) < 0 && r != -ECANCELED)
                r = guest_transport_error(r, OP_COPY, WHAT_IN, err);
        return r;
}

int guest_copy_in(int fd, struct guest_copy *copy, struct err *err)
{
        const struct guest_request request = { .op = GUEST_OP_COPY_IN,
                                               .path = copy->destination,
                                               .into = copy->into };
        struct telling telling = { .copy = copy };
        int r = ask(fd, &request, WHAT_IN, err);

        if (r < 0)
                return r;
        guest_bytes_init(&telling.bytes, fd, (int) GUEST_SILENCE_MS);
        telling.bytes.hears = true;
        r = pack_all(&telling, err);
        if (telling.bytes.has_word) /* the reason why it does not take more is the one to tell */
                *err = (struct err){ 0 };
        if (r == 0 || telling.bytes.has_word)
                r = take_word(&telling.bytes, &copy->done, WHAT_IN, err);
        guest_bytes_done(&telling.bytes);
        return r;
}

static void tell_unpacked(void *context, const struct tar_counts *counts)
{
        struct guest_copy *copy = context;

        copy->done = (struct guest_progress){ counts->n_entries, counts->n_bytes, counts->n_skipped };
        if (copy->moved)
                copy->moved(copy->context, &copy->done);
}

static struct guest_request request_out(const struct guest_copy *copy)
{
        return (struct guest_request){ .op = GUEST_OP_COPY_OUT, .argv = copy->paths, .follow = copy->follow };
}

static int unpack(struct guest_bytes *bytes, struct guest_copy *copy, struct err *err)
{
        const struct tar_source source = { guest_bytes_read, bytes };
        struct tar_unpack options = { .destination = copy->destination,
                                      .root_fd = FD_NONE,
                                      .must_be_folder = copy->into,
                                      .asked = copy->paths,
                                      .guarded = true,
                                      .drop_set_id = true,
                                      .bytes_max = copy->bytes_max,
                                      .entries_max = copy->entries_max,
                                      .moved = tell_unpacked,
                                      .context = copy };
        int r = tar_unpack(&source, &options, err);

        if (r < 0) /* the names in it are the guest's */
                text_make_printable(err->message);
        return r;
}

int guest_copy_out(int fd, struct guest_copy *copy, struct err *err)
{
        const struct guest_request request = request_out(copy);
        scoped(guest_bytes_done) struct guest_bytes bytes;
        int r = ask(fd, &request, WHAT_OUT, err);

        guest_bytes_init(&bytes, fd, (int) GUEST_SILENCE_MS);
        if (r == 0)
                r = unpack(&bytes, copy, err);
        if (r == 0 && (r = guest_bytes_drain(&bytes)) < 0 && r != -ECANCELED)
                r = guest_transport_error(r, OP_COPY, WHAT_OUT, err);
        if (bytes.has_word)
                *err = (struct err){ 0 };
        return r == 0 || bytes.has_word ? take_word(&bytes, &copy->done, WHAT_OUT, err) : r;
}

int guest_copy_out_stream(int fd, const struct guest_copy *copy, int tar_fd, struct err *err)
{
        const struct guest_request request = request_out(copy);

        return guest_tar_fetch(fd, &request, tar_fd, err);
}

int guest_copy_in_stream(int fd, const char *folder, int tar_fd, struct err *err)
{
        const struct guest_request request = { .op = GUEST_OP_COPY_IN, .path = folder, .into = true };

        return guest_tar_send(fd, &request, tar_fd, err);
}
