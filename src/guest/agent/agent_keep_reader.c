/* Hosts that are attached to a keeper: each reads the ring at its own speed. */
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "base/scoped.h"
#include "guest/agent/agent_keeper.h"

void reader_end(struct reader *reader)
{
        int fd = reader->channel.fd;

        guest_channel_done(&reader->channel);
        if (fd >= 0)
                (void) close(fd);
}

void reader_begin(struct keeper *keeper, int owned_fd, bool is_quiet)
{
        json_t *json = json_pack("{s:I}", "lost", (json_int_t) keeper->ring.tail);
        scoped_free char *text = json_dumps(json, JSON_COMPACT);

        json_decref(json);
        for (size_t i = 0; i < KEEPER_READERS; i++) {
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

/* The next record that it has credit for, or the end after the last; false: there is nothing for it now. */
static bool queue_next(const struct keeper *keeper, struct reader *reader)
{
        uint8_t stream, data[RING_RECORD_MAX];
        uint64_t next = reader->at;
        size_t n = reader->is_quiet ? 0 : ring_get(&keeper->ring, &next, &stream, data);

        if (n > 0 && n > reader->credit[stream])
                return false;
        if (n > 0) {
                reader->credit[stream] -= (uint32_t) n;
                reader->at = next;
                guest_channel_queue(&reader->channel,
                                    stream == GUEST_STREAM_STDOUT ? GUEST_FRAME_STDOUT : GUEST_FRAME_STDERR,
                                    data, n);
                return true;
        }
        if (!keeper->ended || reader->is_told)
                return false;
        guest_channel_queue(&reader->channel, GUEST_FRAME_EXIT, keeper->end, sizeof(keeper->end));
        reader->is_told = true;
        return true;
}

/*
 * The last thing that happens is a flush that left something, after which the connection's room wakes us, or a look that found
 * nothing. A flush as the last thing could empty the channel and leave records behind that nothing would wake us for.
 */
void reader_feed(const struct keeper *keeper, struct reader *reader)
{
        int r;

        do
                r = guest_channel_flush(&reader->channel);
        while (r == 0 && !guest_channel_has_output(&reader->channel) && queue_next(keeper, reader));
        if (r < 0)
                reader_end(reader);
}

void reader_hear(struct reader *reader)
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

bool reader_is_behind(const struct reader *reader, const struct keeper *keeper)
{
        return !reader->is_quiet && keeper->ring.head - reader->at > RING_SIZE - 2 * GUEST_WINDOW;
}
