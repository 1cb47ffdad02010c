/* The tar stream of a connection: DATA frames as bytes, both ways. An empty frame is the end. */
#pragma once

#include <stdint.h>

#include "guest/contract/guest_channel.h"

struct guest_bytes {
        struct guest_channel channel;
        int silence_ms;    /* how long the other end may say and take nothing; -1: for ever */
        bool hears;        /* while writing: the other end may end it early with an ANSWER or an ERROR */
        const uint8_t *at; /* borrowed from the channel: what is left of the last frame */
        size_t n;
        bool ended;
        bool has_word;           /* the other end said something else than DATA: `word` */
        struct guest_frame word; /* its body lives as long as the channel is not read */
};

/* fd is borrowed, a socket on which a request was sent or taken. */
void guest_bytes_init(struct guest_bytes *bytes, int fd, int silence_ms);
void guest_bytes_done(struct guest_bytes *bytes);

/* Exactly n bytes. 0, -ENODATA at a clean end, -ECANCELED: has_word, -ETIMEDOUT, -ECONNRESET, -EBADMSG. Fits struct tar_source. */
int guest_bytes_read(void *context, void *buffer, size_t n);
/* What is left up to the end. As above, but 0 at the end. */
int guest_bytes_drain(struct guest_bytes *bytes);
/* One frame of n bytes, sent whole; n 0: the end. 0 or as above. Fits struct tar_sink. */
int guest_bytes_write(void *context, const void *data, size_t n);
/* Waits for a frame that is not DATA. 0: `word` is it. */
int guest_bytes_hear(struct guest_bytes *bytes);

static inline void guest_bytes_done_at_scope_end(struct guest_bytes *bytes)
{
        guest_bytes_done(bytes);
}
