#include "image/oci/oci_layers.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/scoped.h"
#include "base/text.h"
#include "ext4/ext4_builder.h"
#include "image/oci/oci_layers_process.h"

#define OP          "image.layers"
#define PROGRESS_MS 100

static_assert(OCI_LAYERS_MAX <= EXT4_LAYERS_MAX, "every layer has a rank");

struct import {
        struct oci_job job;
        pid_t pids[OCI_N_ROLES]; /* 0: not running */
        int pidfds[OCI_N_ROLES]; /* owned */
        uint64_t peak_kib;
};

int oci_layers_wrap(const struct oci_job *job, unsigned layer, struct err *err)
{
        const char *digest = job->layers[layer].digest;

        return err_wrap(err, "layer %u of %u (%.19s)", layer + 1, job->n_layers,
                        digest ? digest : job->layers[layer].diff_id);
}

int oci_digest_parse(const char *text, const char *what, uint8_t ret_digest[OCI_DIGEST_BYTES],
                     struct err *err)
{
        static const char prefix[] = "sha256:";
        const char *hex = text + sizeof(prefix) - 1;

        if (!text_starts_with(text, prefix) || strlen(hex) != 2UL * OCI_DIGEST_BYTES ||
            strspn(hex, "0123456789abcdef") != 2UL * OCI_DIGEST_BYTES)
                return err_set(err, EBADMSG, OP, "%s is not a SHA-256 digest: '%.100s'", what, text);
        for (size_t i = 0; i < OCI_DIGEST_BYTES; i++) {
                const char digits[] = { hex[2 * i], hex[2 * i + 1], '\0' };

                ret_digest[i] = (uint8_t) strtoul(digits, NULL, 16);
        }
        return 0;
}

static int read_digests(struct oci_job *job, struct err *err)
{
        for (unsigned i = 0; i < job->n_layers; i++) {
                const struct oci_layer *layer = &job->layers[i];
                const char *digest = layer->diff_id ? layer->diff_id : layer->digest;
                int r = digest ? oci_digest_parse(digest, "the digest of a layer", job->digests[i], err)
                               : err_set(err, EINVAL, OP, "layer %u has no digest", i + 1);

                if (r < 0)
                        return r;
        }
        return 0;
}

/* Version 8 of RFC 9562 section 5.8, "for custom formats": the name decides every bit that is free. */
static int derive_ids(struct oci_job *job, struct err *err)
{
        const char *image = job->options->image_digest;
        scoped_free char *name = xasprintf("banger ext4 of %s", image);
        uint8_t digest[EVP_MAX_MD_SIZE], ignored[OCI_DIGEST_BYTES];
        int r = oci_digest_parse(image, "the digest of the image", ignored, err);

        if (r < 0)
                return r;
        if (EVP_Digest(name, strlen(name), digest, NULL, EVP_sha256(), NULL) != 1)
                return err_set(err, EIO, OP, "libcrypto cannot compute SHA-256");
        memcpy(job->uuid, digest, sizeof(job->uuid));
        memcpy(job->hash_seed, digest + sizeof(job->uuid), sizeof(job->hash_seed));
        job->uuid[6] = (uint8_t) ((job->uuid[6] & 0x0f) | 0x80);
        job->uuid[8] = (uint8_t) ((job->uuid[8] & 0x3f) | 0x80);
        return 0;
}

static int share_memory(struct oci_job *job, struct err *err)
{
        job->shared =
                mmap(NULL, sizeof(*job->shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (job->shared == MAP_FAILED) {
                job->shared = NULL;
                return err_errno(err, OP, "memory to share");
        }
        oci_ring_init(&job->shared->ring);
        if (sem_init(&job->shared->asked, 1, 0) < 0)
                abort(); /* sem_init(3): only a value above SEM_VALUE_MAX fails */
        return 0;
}

static int prepare(struct oci_job *job, struct err *err)
{
        const struct oci_layers_options *options = job->options;
        struct stat status;
        int r;

        if (job->n_layers > OCI_LAYERS_MAX)
                return err_set(err, E2BIG, OP, "%u layers: at most %u are possible", job->n_layers,
                               OCI_LAYERS_MAX);
        if (lstat(options->image_path, &status) == 0)
                return err_set(err, EEXIST, OP, "'%s' exists", options->image_path);
        job->unpacked_max = options->unpacked_max > 0 ? options->unpacked_max : OCI_UNPACKED_MAX;
        job->ratio_max = options->ratio_max > 0 ? options->ratio_max : OCI_RATIO_MAX;
        job->digests = xcalloc(job->n_layers + 1, sizeof(*job->digests));
        r = read_digests(job, err);
        if (r == 0)
                r = derive_ids(job, err);
        return r < 0 ? r : share_memory(job, err);
}

typedef int role_function(const struct oci_job *job, pid_t parent, struct err *err);

__attribute__((noreturn)) static void be(role_function *function, struct oci_failure *failure,
                                         const struct oci_job *job, pid_t parent)
{
        struct err err = { 0 };

        oci_child_end(failure, function(job, parent, &err), &err);
}

static int start(struct import *import, struct err *err)
{
        static role_function *const functions[OCI_N_ROLES] = {
                [OCI_INFLATER] = oci_layers_inflate,
                [OCI_CHECKER] = oci_layers_check,
                [OCI_WRITER] = oci_layers_make,
        };
        pid_t parent = getpid();

        for (unsigned i = 0; i < OCI_N_ROLES; i++) {
                pid_t pid = fork();

                if (pid < 0)
                        return err_errno(err, OP, "fork");
                if (pid == 0)
                        be(functions[i], &import->job.shared->failures[i], &import->job, parent);
                import->pids[i] = pid;
                import->pidfds[i] = fd_pidfd_open(pid);
                if (import->pidfds[i] < 0)
                        return err_set(err, -import->pidfds[i], OP, "pidfd_open: %s",
                                       strerror(-import->pidfds[i]));
        }
        return 0;
}

static int reap(struct import *import, unsigned role, struct err *err)
{
        static const char *const does[OCI_N_ROLES] = {
                [OCI_INFLATER] = "unpacks the layers",
                [OCI_CHECKER] = "checks the layers",
                [OCI_WRITER] = "writes the layers",
        };
        struct rusage usage;
        int status = 0;

        while (wait4(import->pids[role], &status, 0, &usage) < 0)
                if (errno != EINTR)
                        return err_errno(err, OP, "wait for a process");
        import->pids[role] = 0;
        import->peak_kib += (uint64_t) usage.ru_maxrss;
        return oci_child_judge(&import->job.shared->failures[role], does[role], status, err);
}

static int report(const struct import *import, struct err *err)
{
        const struct oci_layers_options *options = import->job.options;
        struct oci_shared *shared = import->job.shared;

        if (options->progress && options->progress(options->userdata, atomic_load(&shared->bytes_read),
                                                   atomic_load(&shared->n_entries)) < 0)
                return err_set(err, ECANCELED, OP, "cancelled");
        return 0;
}

static int supervise(struct import *import, struct err *err)
{
        for (unsigned n_left = OCI_N_ROLES; n_left > 0;) {
                struct pollfd polled[OCI_N_ROLES];
                int r = report(import, err);

                for (unsigned i = 0; i < OCI_N_ROLES; i++)
                        polled[i] = (struct pollfd){ .fd = import->pids[i] > 0 ? import->pidfds[i] : -1,
                                                     .events = POLLIN };
                if (r == 0 && poll(polled, OCI_N_ROLES, PROGRESS_MS) < 0 && errno != EINTR)
                        r = err_errno(err, OP, "wait for a process");
                for (unsigned i = 0; i < OCI_N_ROLES && r == 0; i++) {
                        if (polled[i].fd < 0 || (polled[i].revents & POLLIN) == 0)
                                continue;
                        r = reap(import, i, err);
                        n_left--;
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

static void stop(struct import *import)
{
        for (unsigned i = 0; i < OCI_N_ROLES; i++)
                if (import->pids[i] > 0)
                        (void) kill(import->pids[i], SIGKILL);
        for (unsigned i = 0; i < OCI_N_ROLES; i++) {
                struct err ignored = { 0 };

                if (import->pids[i] > 0)
                        (void) reap(import, i, &ignored);
                close_at_scope_end(&import->pidfds[i]);
        }
}

static int run(struct import *import, struct oci_layers_result *ret_result, struct err *err)
{
        const struct oci_shared *shared = import->job.shared;
        int r = start(import, err);

        if (r == 0)
                r = supervise(import, err);
        stop(import);
        if (r != 0) {
                (void) unlink(import->job.options->image_path);
                return r;
        }
        *ret_result = shared->result;
        ret_result->unpacked_bytes = atomic_load(&shared->unpacked_bytes);
        ret_result->peak_kib = import->peak_kib;
        return 0;
}

int oci_layers_write(const struct oci_layer *layers, unsigned n_layers,
                     const struct oci_layers_options *options, struct oci_layers_result *ret_result,
                     struct err *err)
{
        struct import import = {
                .job = {.layers = layers, .n_layers = n_layers, .options = options},
                .pidfds = { FD_NONE,         FD_NONE,              FD_NONE           }
        };
        int r = prepare(&import.job, err);

        if (r == 0)
                r = run(&import, ret_result, err);
        if (import.job.shared)
                (void) munmap(import.job.shared, sizeof(*import.job.shared));
        free(import.job.digests);
        return r;
}
