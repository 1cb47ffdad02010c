/*
 * One loop: libcurl moves bytes from the network into files without names, sendfile(2) moves them from there into the
 * pipes. The file is the buffer between the two, so that neither waits for the other and memory stays small.
 */
#include "image/oci/oci_fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/scoped.h"

#define OP             "image.fetch"
#define PARALLEL_MAX   4U
#define TRIES_MAX      5U   /* without a byte in between */
#define TRIES_ALL_MAX  100U /* whatever comes: one byte a connection is no way to send a blob */
#define AUTHS_MAX      3U   /* tokens end while a large blob comes */
#define REPORT_MS      100U
#define FEED_MAX       ((size_t) 1 << 20)
#define REFUSAL_MAX    ((size_t) 64 << 10)
#define STATUS_OK      200L
#define STATUS_PARTIAL 206L
#define STATUS_AUTH    401L

enum transfer_state {
        TRANSFER_WAITS,
        TRANSFER_RUNS,
        TRANSFER_DONE
};

struct transfer {
        struct oci_fetch *fetch;
        struct oci_fetch_blob *blob;
        enum transfer_state state;
        CURL *easy; /* owned, while it runs */
        struct curl_slist *list;
        char *url;
        struct oci_http_headers headers;
        struct text refusal; /* body of an answer that is not the blob */
        char detail[CURL_ERROR_SIZE];
        EVP_MD_CTX *sum; /* owned */
        uint64_t have;   /* bytes in the file, all hashed */
        uint64_t from;   /* where this answer was asked to begin */
        uint64_t skip;   /* of this answer: what we have already, when a server begins anew */
        bool is_begun;   /* bytes of this answer have come */
        uint64_t fed;
        uint64_t start_ms; /* not before */
        unsigned endpoint; /* of the registry */
        unsigned tries, all_tries, auths;
        int error; /* errno of our own side */
};

struct loop {
        struct oci_fetch *fetch;
        CURLM *multi;
        struct transfer *transfers;
        uint64_t reported_ms;
};

/* An answer counts when it continues where it was asked to, or begins at the start. */
static bool is_usable(const struct transfer *t, long status)
{
        uint64_t start = 0;

        if (status == STATUS_OK)
                return true;
        if (status != STATUS_PARTIAL || !t->headers.range)
                return false;
        return sscanf(t->headers.range, "bytes %" SCNu64 "-", &start) == 1 && start == t->from;
}

static size_t keep(struct transfer *t, const char *data, size_t n)
{
        size_t known = t->skip < n ? (size_t) t->skip : n;

        t->skip -= known;
        data += known;
        n -= known;
        if (n > t->blob->descriptor->size - t->have) {
                t->error = EFBIG;
                return 0;
        }
        for (size_t done = 0; done < n;) {
                ssize_t put = pwrite(t->blob->fd, data + done, n - done, (off_t) (t->have + done));

                if (put < 0) {
                        t->error = errno;
                        return 0;
                }
                done += (size_t) put;
        }
        if (EVP_DigestUpdate(t->sum, data, n) != 1) {
                t->error = EIO;
                return 0;
        }
        t->have += n;
        if (n > 0)
                t->tries = 0;
        return known + n;
}

static size_t on_data(char *data, size_t size, size_t n, void *userdata)
{
        struct transfer *t = userdata;
        long status = 0;

        (void) size;
        (void) curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
        if (is_usable(t, status)) {
                if (!t->is_begun && status == STATUS_OK)
                        t->skip = t->from;
                t->is_begun = true;
                return n == 0 || keep(t, data, n) == n ? n : 0;
        }
        if (t->refusal.n + n <= REFUSAL_MAX)
                text_append_bytes(&t->refusal, data, n);
        return n;
}

static void transfer_stop(struct loop *loop, struct transfer *t)
{
        if (t->easy) {
                (void) curl_multi_remove_handle(loop->multi, t->easy);
                curl_easy_cleanup(t->easy);
        }
        t->easy = NULL;
        curl_slist_free_all(t->list);
        t->list = NULL;
        free(t->url);
        t->url = NULL;
        oci_http_headers_done(&t->headers);
        text_done(&t->refusal);
}

static int transfer_start(struct loop *loop, struct transfer *t, struct err *err)
{
        struct oci_http_request request;
        char range[32];
        int r;

        if (t->blob->fd < 0) {
                t->blob->fd = oci_cache_begin(loop->fetch->cache, err);
                if (t->blob->fd < 0)
                        return t->blob->fd;
        }
        t->easy = curl_easy_init();
        if (!t->easy)
                return err_set(err, ENOMEM, OP, "libcurl cannot be used");
        oci_registry_blob_request(loop->fetch->registry, t->endpoint, t->blob->descriptor->digest, &request,
                                  &t->url);
        r = oci_http_prepare(t->easy, &request, &t->headers, &t->list, err);
        if (r < 0)
                return r;
        t->from = t->have;
        t->skip = 0;
        t->is_begun = false;
        t->detail[0] = '\0';
        (void) curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
        (void) curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->detail);
        (void) curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_data);
        (void) curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
        (void) curl_easy_setopt(t->easy, CURLOPT_BUFFERSIZE, 256L << 10);
        if (t->have > 0) {
                (void) snprintf(range, sizeof(range), "%" PRIu64 "-", t->have);
                (void) curl_easy_setopt(t->easy, CURLOPT_RANGE, range);
        }
        t->state = TRANSFER_RUNS;
        t->all_tries++;
        return curl_multi_add_handle(loop->multi, t->easy) == CURLM_OK
                       ? 0
                       : err_set(err, ENOMEM, OP, "libcurl cannot be used");
}

/* As many as may run at once, those on top first. */
static int start_some(struct loop *loop, struct err *err)
{
        unsigned running = 0;

        for (unsigned i = 0; i < loop->fetch->n_blobs; i++)
                running += loop->transfers[i].state == TRANSFER_RUNS;
        for (unsigned i = loop->fetch->n_blobs; i > 0 && running < PARALLEL_MAX; i--) {
                struct transfer *t = &loop->transfers[i - 1];
                int r;

                if (t->state != TRANSFER_WAITS || clock_monotonic_ms() < t->start_ms)
                        continue;
                r = transfer_start(loop, t, err);
                if (r < 0)
                        return r;
                running++;
        }
        return 0;
}

/* Whole: is it what was asked for? Then it has its name from now on. */
static int finish(struct loop *loop, struct transfer *t, struct err *err)
{
        const struct oci_descriptor *blob = t->blob->descriptor;
        unsigned char sum[EVP_MAX_MD_SIZE] = { 0 };
        char digest[OCI_DIGEST_MAX] = "sha256:";

        if (EVP_DigestFinal_ex(t->sum, sum, NULL) != 1)
                return err_set(err, EIO, OP, "libcrypto cannot be used");
        text_hex(sum, 32, digest + strlen(digest));
        if (strcmp(digest, blob->digest) != 0)
                return err_set(err, EBADMSG, OP,
                               "layer %s: what the registry sends has the digest %s; nothing of it was kept",
                               blob->digest, digest);
        t->state = TRANSFER_DONE;
        t->blob->is_here = true;
        return oci_cache_publish(loop->fetch->cache, t->blob->fd, blob->digest, err);
}

static int own_error(const struct transfer *t, struct err *err)
{
        const struct oci_descriptor *blob = t->blob->descriptor;

        if (t->error == EFBIG)
                return err_set(err, EBADMSG, OP,
                               "layer %s: the registry sends more than the %" PRIu64 " bytes it has",
                               blob->digest, blob->size);
        return err_set(err, t->error, OP, "write layer %s to '%s': %s", blob->digest, t->fetch->cache->folder,
                       strerror(t->error));
}

static int try_again(struct transfer *t, uint64_t retry_after_ms)
{
        t->tries++;
        if (t->tries >= TRIES_MAX || t->all_tries >= TRIES_ALL_MAX)
                return -EAGAIN;
        t->state = TRANSFER_WAITS;
        t->start_ms = clock_monotonic_ms() +
                      (t->tries == 1 && t->have > 0 ? 0 : oci_http_pause_ms(t->tries, retry_after_ms));
        return 0;
}

static int take_challenge(struct loop *loop, struct transfer *t, struct err *err)
{
        scoped_free char *challenge = xstrdup(t->headers.authenticate ? t->headers.authenticate : "");

        if (++t->auths > AUTHS_MAX)
                return oci_registry_refusal(loop->fetch->registry, STATUS_AUTH, t->refusal.s, "layer", err);
        t->state = TRANSFER_WAITS;
        return oci_registry_authenticate(loop->fetch->registry, t->endpoint, challenge, err);
}

/* What an endpoint does not have goes on at the next, where there is one. A mirror that was cut off has the rest too. */
static bool goes_on_elsewhere(struct transfer *t, CURLcode code, long status)
{
        if (t->have > t->from ||
            !oci_registry_goes_on(t->fetch->registry, &t->endpoint, code == CURLE_OK, status))
                return false;
        t->auths = t->tries = 0;
        t->state = TRANSFER_WAITS;
        return true;
}

/* One transfer has ended, one way or the other. */
static int take_end(struct loop *loop, struct transfer *t, CURLcode code, struct err *err)
{
        const struct oci_descriptor *blob = t->blob->descriptor;
        long status = 0;
        bool usable;

        (void) curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
        if (t->error)
                return own_error(t, err);
        if (code == CURLE_OK && status == STATUS_AUTH) {
                struct err failure = { 0 };

                if (take_challenge(loop, t, &failure) == 0 || goes_on_elsewhere(t, code, status))
                        return 0;
                *err = failure;
                return -err->code;
        }
        usable = status == STATUS_OK || status == STATUS_PARTIAL;
        if (code == CURLE_OK && usable && t->have == blob->size)
                return finish(loop, t, err);
        if (goes_on_elsewhere(t, code, status))
                return 0;
        /* an end before the last byte is a cut connection, whatever the server calls it */
        if ((code == CURLE_OK && usable) || oci_http_may_pass(code, status) ||
            (code == CURLE_COULDNT_CONNECT && t->all_tries > 1))
                if (try_again(t, t->headers.retry_after_ms) == 0)
                        return 0;
        if (code != CURLE_OK)
                return oci_http_error(t->easy, code, t->url, t->detail, err);
        if (usable)
                return err_set(err, EBADMSG, OP, "layer %s: the registry sends %" PRIu64 " bytes of %" PRIu64,
                               blob->digest, t->have, blob->size);
        return oci_registry_refusal(loop->fetch->registry, status, t->refusal.s, "layer", err);
}

static int take_ends(struct loop *loop, struct err *err)
{
        CURLMsg *message;
        int left, r = 0;

        while (r == 0 && (message = curl_multi_info_read(loop->multi, &left))) {
                struct transfer *t = NULL;

                if (message->msg != CURLMSG_DONE)
                        continue;
                (void) curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **) &t);
                r = take_end(loop, t, message->data.result, err);
                transfer_stop(loop, t);
        }
        return r;
}

static bool has_food(const struct transfer *t)
{
        return t->blob->feed >= 0 && t->fed < t->have;
}

/* What has come goes into the pipe, as far as that takes it. A reader that is gone has its reason; it says so itself. */
static int feed(struct transfer *t, struct err *err)
{
        while (has_food(t)) {
                off_t at = (off_t) (t->blob->offset + t->fed);
                size_t n = t->have - t->fed < FEED_MAX ? (size_t) (t->have - t->fed) : FEED_MAX;
                ssize_t put = sendfile(t->blob->feed, t->blob->fd, &at, n);

                if (put < 0 && errno == EAGAIN)
                        return 0;
                if (put < 0 && errno == EPIPE) {
                        (void) close(take_fd(&t->blob->feed));
                        return 0;
                }
                if (put <= 0)
                        return err_set(err, put < 0 ? errno : EBADMSG, OP, "hand on layer %s: %s",
                                       t->blob->descriptor->digest,
                                       put < 0 ? strerror(errno) : "its file ends too early");
                t->fed += (uint64_t) put;
        }
        if (t->blob->feed >= 0 && t->state == TRANSFER_DONE && t->fed == t->blob->descriptor->size)
                (void) close(take_fd(&t->blob->feed));
        return 0;
}

static int feed_all(struct loop *loop, struct err *err)
{
        int r = 0;

        for (unsigned i = 0; i < loop->fetch->n_blobs && r == 0; i++)
                r = feed(&loop->transfers[i], err);
        return r;
}

static bool is_over(const struct loop *loop)
{
        for (unsigned i = 0; i < loop->fetch->n_blobs; i++)
                if (loop->transfers[i].state != TRANSFER_DONE || loop->transfers[i].blob->feed >= 0)
                        return false;
        return true;
}

static int report(struct loop *loop, struct err *err)
{
        struct oci_fetch *fetch = loop->fetch;
        uint64_t now = clock_monotonic_ms();

        if (!fetch->report || now - loop->reported_ms < REPORT_MS)
                return 0;
        loop->reported_ms = now;
        for (unsigned i = 0; i < fetch->n_blobs; i++) {
                const struct transfer *t = &loop->transfers[i];

                if (t->sum && t->have > 0 &&
                    fetch->report(fetch->userdata, t->blob->descriptor->digest, t->have,
                                  t->blob->descriptor->size) < 0)
                        return err_set(err, ECANCELED, OP, "cancelled");
        }
        return 0;
}

/* Until the network, a pipe or the reader's end has news, or it is time to report. */
static int wait_for_news(struct loop *loop, struct err *err)
{
        struct oci_fetch *fetch = loop->fetch;
        scoped_free struct curl_waitfd *fds = xcalloc(fetch->n_blobs + 1, sizeof(*fds));
        unsigned n = 0;

        for (unsigned i = 0; i < fetch->n_blobs; i++)
                if (has_food(&loop->transfers[i]))
                        fds[n++] = (struct curl_waitfd){ .fd = fetch->blobs[i].feed,
                                                         .events = CURL_WAIT_POLLOUT };
        if (fetch->stop_fd >= 0)
                fds[n++] = (struct curl_waitfd){ .fd = fetch->stop_fd, .events = CURL_WAIT_POLLIN };
        if (curl_multi_poll(loop->multi, fds, n, REPORT_MS, NULL) != CURLM_OK)
                return err_set(err, EIO, OP, "libcurl cannot wait");
        if (fetch->stop_fd < 0 || fd_wait(fetch->stop_fd, POLLIN, 0) < 0)
                return 0;
        if (fetch->is_stopped(fetch->stop_userdata))
                return err_set(err, ECANCELED, OP, "nobody reads what comes");
        fetch->stop_fd = FD_NONE; /* it has read all it needed */
        return 0;
}

static int run(struct loop *loop, struct err *err)
{
        int r = 0, running;

        while (r == 0 && !is_over(loop)) {
                r = start_some(loop, err);
                if (r == 0 && curl_multi_perform(loop->multi, &running) != CURLM_OK)
                        r = err_set(err, EIO, OP, "libcurl cannot go on");
                if (r == 0)
                        r = take_ends(loop, err);
                if (r == 0)
                        r = feed_all(loop, err);
                if (r == 0)
                        r = report(loop, err);
                if (r == 0 && !is_over(loop))
                        r = wait_for_news(loop, err);
        }
        loop->reported_ms = 0;
        return r == 0 ? report(loop, err) : r;
}

static int init_transfers(struct loop *loop, struct err *err)
{
        for (unsigned i = 0; i < loop->fetch->n_blobs; i++) {
                struct transfer *t = &loop->transfers[i];

                t->fetch = loop->fetch;
                t->blob = &loop->fetch->blobs[i];
                t->endpoint = loop->fetch->registry ? oci_registry_first(loop->fetch->registry) : 0;
                if (t->blob->feed >= 0)
                        (void) fd_set_nonblocking(t->blob->feed, true);
                if (t->blob->is_here) {
                        t->state = TRANSFER_DONE;
                        t->have = t->blob->descriptor->size;
                        continue;
                }
                t->sum = EVP_MD_CTX_new();
                if (!t->sum || EVP_DigestInit_ex(t->sum, EVP_sha256(), NULL) != 1)
                        return err_set(err, ENOMEM, OP, "libcrypto cannot be used");
        }
        return 0;
}

int oci_fetch_run(struct oci_fetch *fetch, struct err *err)
{
        struct loop loop = { .fetch = fetch, .multi = curl_multi_init() };
        int r;

        loop.transfers = xcalloc(fetch->n_blobs, sizeof(*loop.transfers));
        r = loop.multi ? init_transfers(&loop, err) : err_set(err, ENOMEM, OP, "libcurl cannot be used");
        if (r == 0)
                r = run(&loop, err);
        for (unsigned i = 0; i < fetch->n_blobs; i++) {
                transfer_stop(&loop, &loop.transfers[i]);
                EVP_MD_CTX_free(loop.transfers[i].sum);
                if (fetch->blobs[i].feed >= 0)
                        (void) close(take_fd(&fetch->blobs[i].feed));
        }
        free(loop.transfers);
        if (loop.multi)
                (void) curl_multi_cleanup(loop.multi);
        return r;
}
