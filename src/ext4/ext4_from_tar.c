#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/scoped.h"
#include "base/size.h"
#include "base/text.h"
#include "ext4/ext4_image.h"
#include "ext4/ext4_tar.h"

#define READ_BYTES     (256U << 10)
#define PROGRESS_BYTES MIB
#define PROGRESS_COUNT 1024U

struct reading {
        int fd;
        char *buffer; /* owned */
        const struct ext4_options *options;
        struct ext4_builder *builder; /* owned */
        struct ext4_report report;
        uint64_t reported_bytes, reported_entries;
};

static void reading_free(struct reading *reading)
{
        if (!reading)
                return;
        ext4_builder_free(reading->builder);
        free(reading->buffer);
        free(reading);
}
SCOPED_FUNC(struct reading *, reading_free);

static ssize_t more(void *userdata, const void **ret_data)
{
        struct reading *reading = userdata;
        ssize_t got;

        do
                got = read(reading->fd, reading->buffer, READ_BYTES);
        while (got < 0 && errno == EINTR);
        if (got < 0)
                return -errno;
        reading->report.bytes_read += (uint64_t) got;
        *ret_data = reading->buffer;
        return got;
}

static int progress(void *userdata, struct err *err)
{
        struct reading *reading = userdata;
        const struct ext4_options *options = reading->options;
        const struct ext4_report *report = &reading->report;

        if (!options->progress || (report->bytes_read - reading->reported_bytes < PROGRESS_BYTES &&
                                   report->n_entries - reading->reported_entries < PROGRESS_COUNT))
                return 0;
        reading->reported_bytes = report->bytes_read;
        reading->reported_entries = report->n_entries;
        if (options->progress(options->userdata, report->bytes_read, report->n_entries) < 0)
                return err_set(err, ECANCELED, "ext4.tar", "cancelled");
        return 0;
}

static int build(struct reading *reading, const char *image_path, struct err *err)
{
        const struct ext4_tar_source source = { .more = more,
                                                .progress = progress,
                                                .userdata = reading,
                                                .only_below = reading->options->only_below };
        struct ext4_builder_report built;
        int r = ext4_builder_new(image_path, reading->options, 1, &reading->builder, err);

        if (r == 0)
                r = ext4_tar_read(&source, reading->builder, &reading->report.n_entries, err);
        if (r == 0)
                r = ext4_builder_finish(reading->builder, &built, err);
        if (r < 0)
                return r;
        reading->report.size = built.size;
        reading->report.content_bytes = built.content_bytes;
        return 0;
}

int ext4_from_tar(int tar_fd, const char *image_path, const struct ext4_options *options,
                  struct ext4_report *ret_report, struct err *err)
{
        scoped(reading_free) struct reading *reading = xcalloc(1, sizeof(*reading));
        int r;

        reading->fd = tar_fd;
        reading->options = options;
        reading->buffer = xmalloc(READ_BYTES);
        r = build(reading, image_path, err);
        if (r < 0)
                return err_wrap(err, "archive to '%s'", image_path);
        if (ret_report)
                *ret_report = reading->report;
        return 0;
}
