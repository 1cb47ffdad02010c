/* The writer: tar in, ext4 out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/scoped.h"
#include "base/size.h"
#include "ext4/ext4_tar.h"
#include "image/oci/oci_confine.h"
#include "image/oci/oci_layers_process.h"
#include "image/oci/oci_whiteout.h"

#define MEMORY_MAX \
        (256 * MIB) /* names have a limit of their own below it; this one is for what nobody thought of */
#define FILE_MAX  (UINT64_C(16) << 40)
#define TAR_BLOCK 512U /* POSIX.1-2017 pax, "ustar Interchange Format" */

struct making {
        const struct oci_job *job;
        struct ext4_builder *builder; /* owned */
        uint64_t at;                  /* of the ring */
        uint64_t n_read;              /* bytes of the layer */
        uint64_t n_entries;
        bool has_slot;  /* of the ring, to be given back */
        bool is_at_end; /* of the layer */
        bool is_again;  /* whiteouts have been heard the first time */
};

static void give_back(struct making *making)
{
        if (making->has_slot)
                oci_ring_done(&making->job->shared->ring, OCI_RING_WRITER);
        making->has_slot = false;
}

/*
 * Some layers end with the last file's content: umoci writes such, and Docker and buildah read them, since Go's archive/tar does
 * not miss the zeros that fill the last block. That nothing else is missing, the digest says.
 */
static ssize_t pad(const struct making *making, const void **ret_data)
{
        static const char zeros[TAR_BLOCK];

        *ret_data = zeros;
        return (ssize_t) ((TAR_BLOCK - making->n_read % TAR_BLOCK) % TAR_BLOCK);
}

static ssize_t more(void *userdata, const void **ret_data)
{
        struct making *making = userdata;
        struct oci_ring_slot slot;
        const char *data;

        if (making->is_at_end)
                return 0;
        give_back(making);
        slot = oci_ring_read(&making->job->shared->ring, OCI_RING_WRITER, making->at++, &data);
        making->has_slot = true;
        making->is_at_end = slot.n == 0;
        making->n_read += slot.n;
        *ret_data = data;
        return slot.n > 0 ? (ssize_t) slot.n : pad(making, ret_data);
}

static int take(void *userdata, struct ext4_builder *builder, const struct ext4_entry *entry, struct err *err)
{
        const struct making *making = userdata;
        scoped_free char *path = NULL;
        enum oci_whiteout kind;
        int r = oci_whiteout_read(entry->path, &kind, &path, err);

        if (r < 0 || kind == OCI_WHITEOUT_NONE)
                return r;
        if (kind == OCI_WHITEOUT_REMOVE && !making->is_again)
                r = ext4_builder_hide(builder, path, err);
        if (kind == OCI_WHITEOUT_OPAQUE && !making->is_again)
                r = ext4_builder_hide_children(builder, path, err);
        return r < 0 ? r : 1;
}

static int progress(void *userdata, struct err *err)
{
        const struct making *making = userdata;

        (void) err;
        atomic_store_explicit(&making->job->shared->n_entries, making->n_entries, memory_order_relaxed);
        return 0;
}

static int make_layer(struct making *making, unsigned layer, struct err *err)
{
        const struct ext4_tar_source source = {
                .more = more, .take = take, .progress = progress, .userdata = making, .is_plain = true
        };
        const void *rest;
        int r;

        making->is_at_end = false;
        making->n_read = 0;
        r = ext4_tar_read(&source, making->builder, &making->n_entries, err);
        while (r == 0 && !making->is_at_end) /* what follows the archive's end counts for the digest alone */
                (void) more(making, &rest);
        give_back(making);
        if (r == 0)
                r = ext4_builder_end_layer(making->builder, err);
        return r < 0 ? oci_layers_wrap(making->job, layer, err) : 0;
}

static int make_again(struct making *making, struct err *err)
{
        struct oci_shared *shared = making->job->shared;
        unsigned layer = EXT4_LAYERS_MAX;
        int r;

        making->is_again = true;
        do {
                r = making->job->n_layers > 0 ? ext4_builder_read_again(making->builder, &layer, err) : 0;
                if (r < 0)
                        return r;
                atomic_store(&shared->wanted, layer < EXT4_LAYERS_MAX ? layer : OCI_LAYER_NONE);
                (void) sem_post(&shared->asked);
                if (layer < EXT4_LAYERS_MAX)
                        r = make_layer(making, layer, err);
        } while (r == 0 && layer < EXT4_LAYERS_MAX);
        return r;
}

static int make(struct making *making, struct err *err)
{
        struct oci_layers_result *result = &making->job->shared->result;
        struct ext4_builder_report report;
        int r = 0;

        for (unsigned i = making->job->n_layers; i-- > 0 && r == 0;)
                r = make_layer(making, i, err);
        if (r == 0)
                r = make_again(making, err);
        if (r == 0)
                r = ext4_builder_finish(making->builder, &report, err);
        if (r < 0)
                return r;
        result->n_entries = making->n_entries;
        result->content_bytes = report.content_bytes;
        result->n_names = report.n_names;
        result->size = report.size;
        return 0;
}

int oci_layers_make(const struct oci_job *job, pid_t parent, struct err *err)
{
        const struct oci_confine confine = { .may_write = true,
                                             .memory_max = MEMORY_MAX,
                                             .file_max = FILE_MAX };
        struct ext4_options options = { .size = job->options->size,
                                        .label = job->options->label,
                                        /* the same image, the same bytes: now is no time */
                                        .time = job->options->time > 0 ? job->options->time : 1 };
        struct making making = { .job = job };
        int r = oci_confine_begin(NULL, 0, parent, err);

        memcpy(options.uuid, job->uuid, sizeof(options.uuid));
        memcpy(options.hash_seed, job->hash_seed, sizeof(options.hash_seed));
        if (r == 0)
                r = ext4_builder_new(job->options->image_path, &options,
                                     job->n_layers > 0 ? job->n_layers : 1, &making.builder, err);
        if (r == 0)
                r = oci_confine_enter(&confine, err);
        /* the builder is not freed: that would remove the image, which is no longer allowed here */
        return r < 0 ? r : make(&making, err);
}
