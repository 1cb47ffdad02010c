/* The inflater and the checker: the two ends of what no tar parser has seen yet. */
#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/scoped.h"
#include "base/size.h"
#include "base/text.h"
#include "image/oci/oci_confine.h"
#include "image/oci/oci_decompress.h"
#include "image/oci/oci_layers_process.h"

#define OP         "image.layers"
#define MEMORY_MAX (96 * MIB) /* far above what either takes */

static void evp_free(EVP_MD_CTX *context)
{
        EVP_MD_CTX_free(context);
}
SCOPED_FUNC(EVP_MD_CTX *, evp_free);

/* Before the process is confined: libcrypto reads its configuration and finds its provider. */
static int sha256_new(EVP_MD_CTX **ret_context, struct err *err)
{
        *ret_context = EVP_MD_CTX_new();
        if (*ret_context && EVP_DigestInit_ex(*ret_context, EVP_sha256(), NULL) == 1)
                return 0;
        return err_set(err, EIO, OP, "libcrypto cannot compute SHA-256");
}

/* Ends one digest and begins the next. */
static int sha256_verify(const struct oci_job *job, EVP_MD_CTX *context, unsigned layer, const char *what,
                         struct err *err)
{
        uint8_t digest[EVP_MAX_MD_SIZE];
        char hex[2 * OCI_DIGEST_BYTES + 1];

        if (EVP_DigestFinal_ex(context, digest, NULL) != 1 ||
            EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1)
                return err_set(err, EIO, OP, "libcrypto cannot compute SHA-256");
        if (memcmp(digest, job->digests[layer], OCI_DIGEST_BYTES) == 0)
                return 0;
        text_hex(digest, OCI_DIGEST_BYTES, hex);
        (void) err_set(err, EBADMSG, OP, "%s has the digest sha256:%s, not %s as the image says", what, hex,
                       job->layers[layer].diff_id ? job->layers[layer].diff_id : job->layers[layer].digest);
        return oci_layers_wrap(job, layer, err);
}

int oci_layers_check(const struct oci_job *job, pid_t parent, struct err *err)
{
        const struct oci_confine confine = { .memory_max = MEMORY_MAX };
        struct oci_ring *ring = &job->shared->ring;
        scoped(evp_free) EVP_MD_CTX *context = NULL;
        int r = oci_confine_begin(NULL, 0, parent, err);

        if (r == 0)
                r = sha256_new(&context, err);
        if (r == 0)
                r = oci_confine_enter(&confine, err);
        for (uint64_t at = 0; r == 0; at++) {
                const char *data;
                struct oci_ring_slot slot = oci_ring_read(ring, OCI_RING_CHECKER, at, &data);

                if (slot.layer >= job->n_layers)
                        return 0;
                if (!job->layers[slot.layer].diff_id)
                        r = 0;
                else if (slot.n > 0)
                        r = EVP_DigestUpdate(context, data, slot.n) == 1
                                    ? 0
                                    : err_set(err, EIO, OP, "libcrypto cannot compute SHA-256");
                else
                        r = sha256_verify(job, context, slot.layer, "what it unpacks to", err);
                oci_ring_done(ring, OCI_RING_CHECKER);
        }
        return r;
}

struct inflater {
        const struct oci_job *job;
        struct oci_decompress *decompress; /* owned */
        EVP_MD_CTX *context;               /* owned; of blobs without diff_id */
        off_t *starts;                     /* owned; where each blob begins in its file, -1: a pipe */
        uint64_t at;                       /* of the ring */
        uint64_t unpacked_before;          /* of all layers but the one at hand */
};

static void inflater_done(struct inflater *inflater)
{
        oci_decompress_free(inflater->decompress);
        evp_free(inflater->context);
        free(inflater->starts);
}

static void see_blob(void *userdata, const void *data, size_t n)
{
        struct inflater *inflater = userdata;

        (void) EVP_DigestUpdate(inflater->context, data, n);
}

/* Bombs: S-240 - S-245, for what unpacks. */
static int check_caps(const struct inflater *inflater, uint64_t unpacked, struct err *err)
{
        const struct oci_job *job = inflater->job;
        uint64_t read = oci_decompress_bytes_read(inflater->decompress);
        char text[SIZE_TEXT_MAX];

        size_human(job->unpacked_max, text);
        if (unpacked > job->unpacked_max - inflater->unpacked_before)
                return err_set(err, E2BIG, OP, "the image unpacks to more than the limit of %s", text);
        if (unpacked > OCI_RATIO_FREE && unpacked / job->ratio_max > read)
                return err_set(err, E2BIG, OP,
                               "it unpacks to more than %u times its size, as only a bomb does",
                               job->ratio_max);
        return 0;
}

static int inflate_blob(struct inflater *inflater, unsigned layer, struct err *err)
{
        struct oci_shared *shared = inflater->job->shared;
        uint64_t unpacked = 0, reported = 0;
        ssize_t n;

        do {
                char *to = oci_ring_fill(&shared->ring, inflater->at);
                uint64_t read;
                int r;

                n = oci_decompress_read(inflater->decompress, to, OCI_RING_SLOT_BYTES, err);
                if (n < 0)
                        return (int) n;
                unpacked += (uint64_t) n;
                r = check_caps(inflater, unpacked, err);
                if (r < 0)
                        return r;
                oci_ring_filled(&shared->ring, inflater->at++, layer, (uint32_t) n);
                read = oci_decompress_bytes_read(inflater->decompress);
                atomic_fetch_add(&shared->bytes_read, read - reported);
                atomic_fetch_add(&shared->unpacked_bytes, (uint64_t) n);
                reported = read;
        } while (n > 0);
        inflater->unpacked_before += unpacked;
        return 0;
}

static int inflate_layer(struct inflater *inflater, unsigned layer, struct err *err)
{
        const struct oci_job *job = inflater->job;
        const struct oci_layer *from = &job->layers[layer];
        int r = oci_decompress_begin(inflater->decompress, from->fd, from->compression, from->size, err);

        if (r == 0)
                r = inflate_blob(inflater, layer, err);
        if (r < 0)
                return oci_layers_wrap(job, layer, err);
        return from->diff_id ? 0 : sha256_verify(job, inflater->context, layer, "the blob", err);
}

static int inflate_again(struct inflater *inflater, struct err *err)
{
        const struct oci_job *job = inflater->job;

        for (;;) {
                uint32_t layer;
                int r;

                while (sem_wait(&job->shared->asked) < 0)
                        ;
                layer = atomic_load(&job->shared->wanted);
                if (layer >= job->n_layers)
                        return 0;
                if (inflater->starts[layer] < 0) {
                        (void) err_set(err, ESPIPE, OP,
                                       "it has a hard link to a file that an upper layer replaced, and comes "
                                       "through a pipe that cannot be read twice");
                        return oci_layers_wrap(job, layer, err);
                }
                if (lseek(job->layers[layer].fd, inflater->starts[layer], SEEK_SET) < 0)
                        return err_errno(err, OP, "go back in a blob");
                r = inflate_layer(inflater, layer, err);
                if (r < 0)
                        return r;
        }
}

static int inflate_all(struct inflater *inflater, struct err *err)
{
        struct oci_shared *shared = inflater->job->shared;
        int r = 0;

        for (unsigned i = inflater->job->n_layers; i-- > 0 && r == 0;)
                r = inflate_layer(inflater, i, err);
        if (r == 0)
                r = inflate_again(inflater, err);
        if (r < 0)
                return r;
        (void) oci_ring_fill(&shared->ring, inflater->at);
        oci_ring_filled(&shared->ring, inflater->at++, OCI_LAYER_NONE, 0);
        return 0;
}

static int confine_inflater(const struct oci_job *job, pid_t parent, struct err *err)
{
        const struct oci_confine confine = { .may_read = true, .memory_max = MEMORY_MAX };
        scoped_free int *fds = xcalloc(job->n_layers + 1, sizeof(*fds));
        int r;

        for (unsigned i = 0; i < job->n_layers; i++)
                fds[i] = job->layers[i].fd;
        r = oci_confine_begin(fds, job->n_layers, parent, err);
        return r < 0 ? r : oci_confine_enter(&confine, err);
}

int oci_layers_inflate(const struct oci_job *job, pid_t parent, struct err *err)
{
        struct inflater inflater = { .job = job, .starts = xcalloc(job->n_layers + 1, sizeof(off_t)) };
        bool by_blob = false;
        int r;

        for (unsigned i = 0; i < job->n_layers; i++) {
                inflater.starts[i] = lseek(job->layers[i].fd, 0, SEEK_CUR);
                by_blob = by_blob || !job->layers[i].diff_id;
        }
        inflater.decompress = oci_decompress_new(by_blob ? see_blob : NULL, &inflater);
        r = sha256_new(&inflater.context, err);
        if (r == 0)
                r = confine_inflater(job, parent, err);
        if (r == 0)
                r = inflate_all(&inflater, err);
        inflater_done(&inflater);
        return r;
}
