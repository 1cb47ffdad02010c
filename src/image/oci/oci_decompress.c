#include "image/oci/oci_decompress.h"

#include <errno.h>
#include <isa-l/igzip_lib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/scoped.h"
#include "base/text.h"

#define OP             "image.decompress"
#define INPUT_BYTES    (256U << 10)
#define WINDOW_LOG_MAX 25 /* 32 MiB, zstd --ultra -20; RFC 8878 section 3.1.1.1.2 asks readers for 8 MiB */
#define GZIP_FIRST     31 /* RFC 1952 section 2.3.1 */
#define GZIP_MAX_STUCK 2  /* calls of a decompressor in a row that neither read nor write */

struct oci_decompress {
        int fd; /* borrowed */
        enum oci_compression compression;
        uint64_t size, bytes_read;
        oci_decompress_tap *tap;
        void *userdata;
        bool is_over;      /* the stream's end was reached */
        bool is_between;   /* gzip members or zstd frames: the stream may end here */
        bool has_begun;    /* at least one of them */
        uint8_t *input;    /* owned */
        size_t used, have; /* of input */
        ZSTD_DCtx *zstd;   /* owned; NULL until the first layer that needs it */
        struct inflate_state gzip;
};

struct oci_decompress *oci_decompress_new(oci_decompress_tap *tap, void *userdata)
{
        struct oci_decompress *decompress = xcalloc(1, sizeof(*decompress));

        decompress->input = xmalloc(INPUT_BYTES);
        decompress->tap = tap;
        decompress->userdata = userdata;
        return decompress;
}

void oci_decompress_free(struct oci_decompress *decompress)
{
        if (!decompress)
                return;
        (void) ZSTD_freeDCtx(decompress->zstd);
        free(decompress->input);
        free(decompress);
}

uint64_t oci_decompress_bytes_read(const struct oci_decompress *decompress)
{
        return decompress->bytes_read;
}

static int begin_zstd(struct oci_decompress *decompress, struct err *err)
{
        if (!decompress->zstd)
                decompress->zstd = ZSTD_createDCtx();
        if (!decompress->zstd)
                return err_set(err, ENOMEM, OP, "no memory for zstd");
        (void) ZSTD_DCtx_reset(decompress->zstd, ZSTD_reset_session_only);
        (void) ZSTD_DCtx_setParameter(decompress->zstd, ZSTD_d_windowLogMax, WINDOW_LOG_MAX);
        return 0;
}

int oci_decompress_begin(struct oci_decompress *decompress, int fd, enum oci_compression compression,
                         uint64_t size, struct err *err)
{
        decompress->fd = fd;
        decompress->compression = compression;
        decompress->size = size;
        decompress->bytes_read = 0;
        decompress->used = decompress->have = 0;
        decompress->is_over = decompress->has_begun = false;
        decompress->is_between = true;
        isal_inflate_init(&decompress->gzip);
        return compression == OCI_COMPRESSION_ZSTD ? begin_zstd(decompress, err) : 0;
}

/* Reads at most n more bytes of the blob; 0 at its end. */
static ssize_t read_blob(struct oci_decompress *decompress, void *to, size_t n, struct err *err)
{
        ssize_t got;

        do
                got = read(decompress->fd, to, n);
        while (got < 0 && errno == EINTR);
        if (got < 0)
                return err_errno(err, OP, "read the blob");
        decompress->bytes_read += (uint64_t) got;
        if (decompress->bytes_read > decompress->size)
                return err_set(err, EBADMSG, OP, "the blob is longer than the %llu bytes the manifest says",
                               (unsigned long long) decompress->size);
        if (got == 0 && decompress->bytes_read < decompress->size)
                return err_set(err, EBADMSG, OP, "the blob ends after %llu of %llu bytes",
                               (unsigned long long) decompress->bytes_read,
                               (unsigned long long) decompress->size);
        if (got > 0 && decompress->tap)
                decompress->tap(decompress->userdata, to, (size_t) got);
        return got;
}

/* Input that is not used up: 1; 0: the blob is. */
static int have_input(struct oci_decompress *decompress, struct err *err)
{
        ssize_t got;

        if (decompress->used < decompress->have)
                return 1;
        got = read_blob(decompress, decompress->input, INPUT_BYTES, err);
        if (got < 0)
                return (int) got;
        decompress->used = 0;
        decompress->have = (size_t) got;
        return got > 0;
}

static int damaged(const struct oci_decompress *decompress, const char *why, struct err *err)
{
        return err_set(err, EBADMSG, OP, "the blob is damaged after %llu bytes: %s",
                       (unsigned long long) decompress->bytes_read, why);
}

static const char *gzip_error(int code)
{
        switch (code) {
        case ISAL_INVALID_BLOCK:
                return "gzip: an invalid block";
        case ISAL_INVALID_SYMBOL:
                return "gzip: an invalid symbol";
        case ISAL_INVALID_LOOKBACK:
                return "gzip: a reference before the start";
        case ISAL_INVALID_WRAPPER:
        case ISAL_UNSUPPORTED_METHOD:
                return "not gzip";
        case ISAL_INCORRECT_CHECKSUM:
                return "gzip: a wrong checksum";
        default:
                return "gzip: unreadable";
        }
}

/* What follows a member that is not another one is padding (gzip(1), "trailing garbage"). */
static bool next_member(struct oci_decompress *decompress)
{
        if (decompress->has_begun && decompress->input[decompress->used] != GZIP_FIRST)
                return false;
        isal_inflate_reset(&decompress->gzip);
        decompress->gzip.crc_flag = ISAL_GZIP;
        decompress->is_between = false;
        decompress->has_begun = true;
        return true;
}

/* One call. The number of bytes put out, or -code. */
static ssize_t inflate(struct oci_decompress *decompress, uint8_t *out, size_t n, struct err *err)
{
        struct inflate_state *gzip = &decompress->gzip;
        size_t had = decompress->have - decompress->used;
        int code;

        if (decompress->is_between && !next_member(decompress)) {
                decompress->is_over = true;
                return 0;
        }
        gzip->next_in = decompress->input + decompress->used;
        gzip->avail_in = (uint32_t) had;
        gzip->next_out = out;
        gzip->avail_out = (uint32_t) n;
        code = isal_inflate(gzip);
        if (code < 0)
                return damaged(decompress, gzip_error(code), err);
        decompress->used = decompress->have - gzip->avail_in;
        if (gzip->block_state == ISAL_BLOCK_FINISH)
                decompress->is_between = true;
        return (ssize_t) (n - gzip->avail_out);
}

static ssize_t decode(struct oci_decompress *decompress, uint8_t *out, size_t n, struct err *err)
{
        ZSTD_inBuffer in = { .src = decompress->input, .size = decompress->have, .pos = decompress->used };
        ZSTD_outBuffer put = { .dst = out, .size = n };
        size_t left = ZSTD_decompressStream(decompress->zstd, &put, &in);

        decompress->has_begun = true;
        if (ZSTD_getErrorCode(left) == ZSTD_error_frameParameter_windowTooLarge)
                return err_set(err, E2BIG, OP, "a layer compressed with a zstd window above %u MiB",
                               1U << (WINDOW_LOG_MAX - 20));
        if (ZSTD_isError(left)) {
                char why[96];

                (void) snprintf(why, sizeof(why), "zstd: %s", ZSTD_getErrorName(left));
                return damaged(decompress, why, err);
        }
        decompress->used = in.pos;
        decompress->is_between = left == 0;
        return (ssize_t) put.pos;
}

/* Nothing may follow but what the blob's size says. */
static ssize_t drain(struct oci_decompress *decompress, struct err *err)
{
        int r;

        while ((r = have_input(decompress, err)) > 0)
                decompress->used = decompress->have;
        return r;
}

static ssize_t read_plain(struct oci_decompress *decompress, uint8_t *out, size_t n, struct err *err)
{
        size_t done = 0;

        while (done < n) {
                ssize_t got = read_blob(decompress, out + done, n - done, err);

                if (got < 0)
                        return got;
                if (got == 0)
                        break;
                done += (size_t) got;
        }
        return (ssize_t) done;
}

ssize_t oci_decompress_read(struct oci_decompress *decompress, void *out, size_t n, struct err *err)
{
        bool is_gzip = decompress->compression == OCI_COMPRESSION_GZIP;
        size_t done = 0;
        unsigned n_stuck = 0;

        if (decompress->compression == OCI_COMPRESSION_NONE)
                return read_plain(decompress, out, n, err);
        while (done < n && !decompress->is_over) {
                size_t used = decompress->used;
                int more = have_input(decompress, err);
                ssize_t put;

                if (more < 0)
                        return more;
                if (more == 0 && decompress->is_between)
                        break;
                /* without input there may still be output in the window */
                put = is_gzip ? inflate(decompress, (uint8_t *) out + done, n - done, err)
                              : decode(decompress, (uint8_t *) out + done, n - done, err);
                if (put < 0)
                        return put;
                done += (size_t) put;
                n_stuck = put == 0 && decompress->used == used ? n_stuck + 1 : 0;
                if (n_stuck > GZIP_MAX_STUCK)
                        return damaged(decompress, more == 0 ? "it is cut off" : "it leads nowhere", err);
        }
        if (done == 0) {
                ssize_t r = drain(decompress, err);

                if (r < 0)
                        return r;
                if (!decompress->has_begun)
                        return damaged(decompress, "it is empty", err);
        }
        return (ssize_t) done;
}
