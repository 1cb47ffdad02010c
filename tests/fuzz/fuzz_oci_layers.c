/*
 * Layers of strangers, read in one process: any bytes become a file system, or an error and no file. The input is cut
 * into layers, top one first, at each line "--layer--"; they are read again as the builder asks.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base/size.h"
#include "base/text.h"
#include "ext4/ext4_tar.h"
#include "image/oci/oci_whiteout.h"

#define INPUT_MAX  (256U << 10)
#define LAYERS_MAX 8U
#define CUT        "--layer--"

struct piece {
        const uint8_t *data;
        size_t n;
        bool is_given, is_again;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static ssize_t more(void *userdata, const void **ret_data)
{
        struct piece *piece = userdata;

        *ret_data = piece->data;
        if (piece->is_given)
                return 0;
        piece->is_given = true;
        return (ssize_t) piece->n;
}

static int take(void *userdata, struct ext4_builder *builder, const struct ext4_entry *entry, struct err *err)
{
        const struct piece *piece = userdata;
        scoped_free char *path = NULL;
        enum oci_whiteout kind;
        int r = oci_whiteout_read(entry->path, &kind, &path, err);

        if (r < 0 || kind == OCI_WHITEOUT_NONE)
                return r;
        assert(!path == (kind == OCI_WHITEOUT_IGNORE));
        if (kind == OCI_WHITEOUT_REMOVE && !piece->is_again)
                r = ext4_builder_hide(builder, path, err);
        if (kind == OCI_WHITEOUT_OPAQUE && !piece->is_again)
                r = ext4_builder_hide_children(builder, path, err);
        return r < 0 ? r : 1;
}

static int read_piece(struct ext4_builder *builder, struct piece *piece, bool is_again, struct err *err)
{
        const struct ext4_tar_source source = {
                .more = more, .take = take, .userdata = piece, .is_plain = true
        };
        uint64_t n_entries = 0;
        int r;

        piece->is_given = false;
        piece->is_again = is_again;
        r = ext4_tar_read(&source, builder, &n_entries, err);
        return r < 0 ? r : ext4_builder_end_layer(builder, err);
}

static int read_pieces(struct ext4_builder *builder, struct piece *pieces, unsigned n, struct err *err)
{
        struct ext4_builder_report report;
        unsigned layer;
        int r = 0;

        for (unsigned i = 0; i < n && r == 0; i++)
                r = read_piece(builder, &pieces[i], false, err);
        while (r == 0) {
                r = ext4_builder_read_again(builder, &layer, err);
                if (r < 0 || layer == EXT4_LAYERS_MAX)
                        break;
                assert(layer < n);
                r = read_piece(builder, &pieces[n - 1 - layer], true, err);
        }
        return r < 0 ? r : ext4_builder_finish(builder, &report, err);
}

static unsigned cut(const uint8_t *data, size_t n, struct piece pieces[LAYERS_MAX])
{
        unsigned n_pieces = 0;

        while (n_pieces < LAYERS_MAX) {
                const uint8_t *at = n_pieces + 1 < LAYERS_MAX ? memmem(data, n, CUT, strlen(CUT)) : NULL;
                size_t n_piece = at ? (size_t) (at - data) : n;

                pieces[n_pieces++] = (struct piece){ .data = data, .n = n_piece };
                if (!at)
                        break;
                data = at + strlen(CUT);
                n -= n_piece + strlen(CUT);
        }
        return n_pieces;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        const struct ext4_options options = { .size = 16 * MIB, .time = 1700000000 };
        scoped_free char *path = xasprintf("/dev/shm/banger-fuzz-layers-%d", (int) getpid());
        struct piece pieces[LAYERS_MAX];
        struct ext4_builder *builder = NULL;
        struct err err = { 0 };
        unsigned n_pieces;
        int r;

        if (n > INPUT_MAX)
                return 0;
        n_pieces = cut(data, n, pieces);
        assert(ext4_builder_new(path, &options, n_pieces, &builder, &err) == 0);
        r = read_pieces(builder, pieces, n_pieces, &err);
        assert(r == 0 || (r < 0 && err.code > 0 && err.message[0] != '\0'));
        ext4_builder_free(builder);
        assert(access(path, F_OK) == (r == 0 ? 0 : -1));
        (void) unlink(path);
        return 0;
}
