/* A connection driven by poll(2): frames as they come in, frames waiting to go out. Used by both ends of an exec. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest/contract/guest_frame.h"

struct guest_channel {
        int fd;      /* borrowed; sockets only */
        uint8_t *in; /* owned */
        size_t in_start, in_end, in_capacity;
        uint8_t *out; /* owned */
        size_t out_start, out_end, out_capacity;
};

void guest_channel_init(struct guest_channel *channel, int fd);
void guest_channel_done(struct guest_channel *channel);

/* Reads what is there, without waiting. 0, -EAGAIN, -ENODATA at the end, -errno. */
int guest_channel_read(struct guest_channel *channel);
/* 1 with the next whole frame, whose body lives until the next read; 0: none yet; -EBADMSG. */
int guest_channel_next(struct guest_channel *channel, struct guest_frame *ret_frame);

/* Puts a frame behind those that wait. The windows of the streams bound what can gather here. */
void guest_channel_queue(struct guest_channel *channel, enum guest_frame_type type, const void *body,
                         size_t n);
/* Sends what the connection takes without waiting. 0 or -errno. */
int guest_channel_flush(struct guest_channel *channel);
bool guest_channel_has_output(const struct guest_channel *channel);
/* Bytes that the other end has not taken yet. */
size_t guest_channel_queued(const struct guest_channel *channel);

void guest_channel_queue_credit(struct guest_channel *channel, enum guest_stream stream, uint32_t n);
