#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/scoped.h"
#include "base/size.h"
#include "base/text.h"
#include "image/oci/oci_decompress.h"
#include "image/oci/oci_layers.h"
#include "image/oci/oci_layers_process.h"
#include "image/oci/oci_whiteout.h"
#include "unit.h"

#define HEX16     "0123456789abcdef"
#define HEX48     HEX16 HEX16 HEX16
#define HEX       HEX48 HEX16
#define DIGEST    "sha256:" HEX
#define TOO_LONG  DIGEST "0"
#define TOO_SHORT "sha256:" HEX48 "0123456789abcde"

static void whiteouts_are_read_from_names(void **state)
{
        static const struct {
                const char *path;
                enum oci_whiteout kind;
                const char *wanted;
                int code;
        } cases[] = {
                {"a/b",              OCI_WHITEOUT_NONE,   NULL,    0      },
                { "a/.wh.b",         OCI_WHITEOUT_REMOVE, "a/b",   0      },
                { ".wh.b",           OCI_WHITEOUT_REMOVE, "b",     0      },
                { "./a/.wh.b/",      OCI_WHITEOUT_REMOVE, "./a/b", 0      },
                { "a/.wh..b",        OCI_WHITEOUT_REMOVE, "a/.b",  0      },
                { "a/.wh..wh..opq",  OCI_WHITEOUT_OPAQUE, "a/",    0      },
                { ".wh..wh..opq",    OCI_WHITEOUT_OPAQUE, "",      0      },
                { "a/.wh..wh..opq/", OCI_WHITEOUT_OPAQUE, "a/",    0      },
                { "a/.wh..wh..opqx", OCI_WHITEOUT_IGNORE, NULL,    0      },
                { "a/.wh..wh.plnk",  OCI_WHITEOUT_IGNORE, NULL,    0      },
                { "a/.wh.",          OCI_WHITEOUT_NONE,   NULL,    EBADMSG},
                { "a/.wh..",         OCI_WHITEOUT_NONE,   NULL,    EBADMSG},
                { "a/.wh...",        OCI_WHITEOUT_NONE,   NULL,    EBADMSG},
                { "a/.wh....",       OCI_WHITEOUT_REMOVE, "a/...", 0      },
                { "a/.wh",           OCI_WHITEOUT_NONE,   NULL,    0      },
                { "a/x.wh.b",        OCI_WHITEOUT_NONE,   NULL,    0      },
                { ".wh.a/b",         OCI_WHITEOUT_NONE,   NULL,    0      },
                { "",                OCI_WHITEOUT_NONE,   NULL,    0      },
                { "///",             OCI_WHITEOUT_NONE,   NULL,    0      },
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                scoped_free char *path = NULL;
                enum oci_whiteout kind;
                struct err err = { 0 };

                assert_int_equal(oci_whiteout_read(cases[i].path, &kind, &path, &err), -cases[i].code);
                if (cases[i].code != 0)
                        continue;
                assert_int_equal(kind, cases[i].kind);
                if (cases[i].wanted)
                        assert_string_equal(path, cases[i].wanted);
                else
                        assert_null(path);
        }
}

static void digests_are_lower_case_sha256(void **state)
{
        uint8_t digest[OCI_DIGEST_BYTES];
        static const char *const bad[] = { "",
                                           "sha256:",
                                           "sha512:00",
                                           TOO_LONG,
                                           TOO_SHORT,
                                           "SHA256:" HEX,
                                           "sha256:0123456789ABCDEF" HEX48 };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(bad); i++) {
                struct err err = { 0 };

                assert_int_equal(oci_digest_parse(bad[i], "it", digest, &err), -EBADMSG);
        }
        {
                struct err err = { 0 };

                assert_int_equal(oci_digest_parse(DIGEST, "it", digest, &err), 0);
                assert_int_equal(digest[0], 0x01);
                assert_int_equal(digest[OCI_DIGEST_BYTES - 1], 0xef);
        }
}

/* "hello\n" by gzip(1), by zstd(1), and as it is. */
#define GZIP                                                                                               \
        "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\x48\xcd\xc9\xc9\xe7\x02\x00\x20\x30\x3a\x36\x06\x00" \
        "\x00\x00"
#define ZSTD "\x28\xb5\x2f\xfd\x04\x58\x31\x00\x00\x68\x65\x6c\x6c\x6f\x0a\x53\x88\xbd\x91"

struct stream_case {
        enum oci_compression compression;
        const char *blob;
        size_t n, size;
        const char *wanted; /* NULL: damaged */
};

static const struct stream_case stream_cases[] = {
        {OCI_COMPRESSION_NONE,  "hello\n",   6,                      6,                      "hello\n"       },
        { OCI_COMPRESSION_NONE, "",          0,                      0,                      ""              },
        { OCI_COMPRESSION_NONE, "hello\n",   6,                      7,                      NULL            },
        { OCI_COMPRESSION_NONE, "hello\n",   6,                      5,                      NULL            },
        { OCI_COMPRESSION_GZIP, GZIP,        sizeof(GZIP) - 1,       sizeof(GZIP) - 1,       "hello\n"       },
        { OCI_COMPRESSION_GZIP, GZIP GZIP,   2 * (sizeof(GZIP) - 1), 2 * (sizeof(GZIP) - 1), "hello\nhello\n"},
        { OCI_COMPRESSION_GZIP, GZIP "\0\0", sizeof(GZIP) + 1,       sizeof(GZIP) + 1,       "hello\n"       },
        { OCI_COMPRESSION_GZIP, GZIP,        sizeof(GZIP) - 3,       sizeof(GZIP) - 3,       NULL            },
        { OCI_COMPRESSION_GZIP, GZIP,        12,                     12,                     NULL            },
        { OCI_COMPRESSION_GZIP, GZIP,        5,                      5,                      NULL            },
        { OCI_COMPRESSION_GZIP, "",          0,                      0,                      NULL            },
        { OCI_COMPRESSION_GZIP, "hello\n",   6,                      6,                      NULL            },
        { OCI_COMPRESSION_ZSTD, ZSTD,        sizeof(ZSTD) - 1,       sizeof(ZSTD) - 1,       "hello\n"       },
        { OCI_COMPRESSION_ZSTD, ZSTD ZSTD,   2 * (sizeof(ZSTD) - 1), 2 * (sizeof(ZSTD) - 1), "hello\nhello\n"},
        { OCI_COMPRESSION_ZSTD, ZSTD,        sizeof(ZSTD) - 3,       sizeof(ZSTD) - 3,       NULL            },
        { OCI_COMPRESSION_ZSTD, "",          0,                      0,                      NULL            },
        { OCI_COMPRESSION_ZSTD, GZIP,        sizeof(GZIP) - 1,       sizeof(GZIP) - 1,       NULL            },
};

static void read_stream(const struct stream_case *it, size_t step)
{
        struct oci_decompress *decompress = oci_decompress_new(NULL, NULL);
        scoped_close int fd = memfd_create("blob", MFD_CLOEXEC);
        scoped_text struct text text = { 0 };
        struct err err = { 0 };
        char out[64];
        ssize_t n;

        assert_int_equal(fd_write_full(fd, it->blob, it->n), 0);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        assert_int_equal(oci_decompress_begin(decompress, fd, it->compression, it->size, &err), 0);
        while ((n = oci_decompress_read(decompress, out, step, &err)) > 0)
                text_append_bytes(&text, out, (size_t) n);
        if (it->wanted) {
                assert_int_equal(n, 0);
                assert_string_equal(text.s ? text.s : "", it->wanted);
                assert_int_equal(oci_decompress_bytes_read(decompress), it->size);
        } else {
                assert_int_equal(n, -EBADMSG);
        }
        oci_decompress_free(decompress);
}

static void streams_end_where_they_should(void **state)
{
        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(stream_cases); i++) {
                read_stream(&stream_cases[i], 64);
                read_stream(&stream_cases[i], 1);
        }
}

static int cancel(void *userdata, uint64_t bytes_read, uint64_t n_entries)
{
        (void) userdata;
        (void) bytes_read;
        (void) n_entries;
        return -1;
}

/* Of no layers, unless n_layers says that there are some. */
static int write_image(const char *path, struct oci_layers_options options, unsigned n_layers,
                       struct err *err)
{
        const struct oci_layer layer = { .fd = FD_NONE, .digest = DIGEST };
        struct oci_layers_result result = { 0 };
        int r;

        options.image_path = path;
        r = oci_layers_write(&layer, n_layers, &options, &result, err);
        if (r == 0)
                assert_int_equal(result.size, options.size ? options.size : GIB);
        return r;
}

static void what_is_asked_is_checked_and_nothing_is_left(void **state)
{
        static const struct {
                struct oci_layers_options options;
                unsigned n_layers;
                int code;
        } cases[] = {
                {{ .image_digest = DIGEST },                      0,                  0        },
                { { .image_digest = DIGEST, .size = 64 * MIB },   0,                  0        },
                { { .image_digest = "sha256:12" },                0,                  EBADMSG  },
                { { .image_digest = DIGEST, .size = MIB },        0,                  EINVAL   },
                { { .image_digest = DIGEST },                     OCI_LAYERS_MAX + 1, E2BIG    },
                { { .image_digest = DIGEST },                     1,                  EBADF    },
                { { .image_digest = DIGEST, .progress = cancel }, 0,                  ECANCELED},
        };
        char folder[] = "/tmp/banger-test-layers.XXXXXX";
        scoped_free char *path = NULL;

        (void) state;
        assert_non_null(mkdtemp(folder));
        path = xasprintf("%s/image", folder);
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct err err = { 0 };

                assert_int_equal(write_image(path, cases[i].options, cases[i].n_layers, &err),
                                 -cases[i].code);
                assert_int_equal(access(path, F_OK), cases[i].code == 0 ? 0 : -1);
                if (cases[i].code == 0) {
                        assert_int_equal(write_image(path, cases[i].options, 0, &err), -EEXIST);
                        assert_int_equal(unlink(path), 0);
                }
        }
        assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(whiteouts_are_read_from_names),
                cmocka_unit_test(digests_are_lower_case_sha256),
                cmocka_unit_test(streams_end_where_they_should),
                cmocka_unit_test(what_is_asked_is_checked_and_nothing_is_left),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
