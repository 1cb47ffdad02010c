#include "image/image_publish.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/scoped.h"
#include "base/text.h"
#include "image/image_files.h"

int image_report(const struct image_progress *progress, const char *stage, uint64_t done, uint64_t total,
                 struct err *err)
{
        if (progress->report && progress->report(progress->userdata, stage, done, total) < 0)
                return err_set(err, ECANCELED, "image.make", "cancelled");
        return 0;
}

int image_write_manifest(const char *folder, const struct image_facts *facts, struct err *err)
{
        scoped_free char *path = xasprintf("%s/" IMAGE_MANIFEST, folder);
        char created_at[CLOCK_TEXT_MAX];
        json_auto_t *manifest = NULL;

        clock_format(clock_real_ns(), created_at);
        manifest = json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:I, s:s*}", "version", 1, "name", facts->name,
                             "source", facts->source, "kernel", facts->kernel, "distro",
                             facts->distro ? facts->distro : "", "created_at", created_at, "rootfs_size",
                             (json_int_t) facts->rootfs_size, "rootfs_path", facts->rootfs_path);
        if (!manifest)
                return err_set(err, EINVAL, "image.make",
                               "image '%s': a name or path that is not UTF-8 cannot be remembered",
                               facts->name);
        if (facts->digest)
                (void) json_object_set_new(manifest, "digest", json_string(facts->digest));
        if (facts->config)
                (void) json_object_set_new(manifest, "config", json_deep_copy(facts->config));
        return json_write_file(path, manifest, 0644, err);
}

static int sync_path(const char *path, int flags)
{
        scoped_close int fd = open(path, flags | O_CLOEXEC);

        return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* After this a power cut finds the whole image or none. */
static int make_durable(const char *folder, struct err *err)
{
        static const char *const names[] = { IMAGE_ROOTFS, IMAGE_WORK_SEED };
        int r = 0;

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && r == 0; i++) {
                scoped_free char *path = xasprintf("%s/%s", folder, names[i]);

                r = file_is_missing(path) ? 0 : sync_path(path, O_RDONLY);
        }
        if (r == 0)
                r = sync_path(folder, O_RDONLY | O_DIRECTORY);
        if (r == 0)
                return 0;
        errno = -r;
        return err_errno(err, "image.publish", "sync '%s'", folder);
}

static bool is_image(const char *folder)
{
        scoped_free char *manifest = xasprintf("%s/" IMAGE_MANIFEST, folder);

        return access(manifest, F_OK) == 0;
}

int image_publish(const char *staged, const char *images_folder, const char *name, bool may_replace,
                  struct err *err)
{
        scoped_free char *target = xasprintf("%s/%s", images_folder, name);
        int r = make_durable(staged, err);

        if (r < 0)
                return r;
        r = renameat2(AT_FDCWD, staged, AT_FDCWD, target, RENAME_NOREPLACE) < 0 ? -errno : 0;
        /* a folder without a manifest is what a cut-off deletion left */
        if (r == -EEXIST && (may_replace || !is_image(target)))
                r = renameat2(AT_FDCWD, staged, AT_FDCWD, target, RENAME_EXCHANGE) < 0 ? -errno : 0;
        if (r == -EEXIST)
                return err_set(err, EEXIST, "image.publish",
                               "image '%s' exists: delete it, or choose another name", name);
        if (r == 0)
                r = sync_path(images_folder, O_RDONLY | O_DIRECTORY);
        if (r == 0)
                return 0;
        errno = -r;
        return err_errno(err, "image.publish", "move the finished image to '%s'", target);
}
