#include "image/image_build.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/scoped.h"
#include "base/spawn_guard.h"
#include "base/text.h"
#include "ext4/ext4_image.h"
#include "image/image_host.h"
#include "image/image_staging.h"

#define BUILD_PREFIX    ".banger-build-"
#define FALLBACK_FOLDER "/var/tmp"
#define ASK_MS          200 /* how often a cancel is heard while nothing comes */
#define N_STAGES        10U /* lines that mmdebstrap 1.3 writes on the way, about */
#define SAID_MAX        (1U << 20)
#define FREE_ARGS       24U /* arguments besides packages, paths and sources */

struct build {
        const struct image_recipe *recipe;
        const struct image_progress *progress;
        struct image_staging staging;
        struct spawn_guard mmdebstrap; /* told to stop, it goes on to the end of what it does */
        int tar_fd;                    /* owned; the reading end */
        int said_fd; /* owned; an unnamed file with its standard error: never full, never waited for */
        unsigned n_stages;
};

static int report(const struct build *build, const char *stage, uint64_t done, uint64_t total,
                  struct err *err)
{
        const struct image_progress *progress = build->progress;

        if (progress->report && progress->report(progress->userdata, stage, done, total) < 0)
                return err_set(err, ECANCELED, "image.build", "cancelled");
        return 0;
}

static char *join(const char *const *words)
{
        scoped_text struct text joined = { 0 };

        for (size_t i = 0; words[i]; i++)
                text_appendf(&joined, "%s%s", i > 0 ? "," : "", words[i]);
        return text_take(&joined);
}

struct arguments {
        char **argv; /* all owned */
        size_t n;
};

/* owned: freed with the rest. */
static void add(struct arguments *arguments, char *owned)
{
        arguments->argv[arguments->n++] = owned;
}

static void arguments_done(struct arguments *arguments)
{
        for (size_t i = 0; i < arguments->n; i++)
                free(arguments->argv[i]);
        free(arguments->argv);
}

static void add_paths(struct arguments *arguments, const char *option, const char *const *paths)
{
        for (; *paths; paths++)
                add(arguments, xasprintf("--dpkgopt=%s=%s", option, *paths));
}

static size_t count(const char *const *words)
{
        size_t n = 0;

        while (words[n])
                n++;
        return n;
}

static struct arguments make_arguments(const struct image_recipe *recipe)
{
        char *sources[IMAGE_HOST_N_SOURCES + 1] = { NULL };
        struct arguments arguments = { .argv = xcalloc(count(recipe->excluded_paths) +
                                                               count(recipe->included_paths) + FREE_ARGS,
                                                       sizeof(char *)) };
        scoped_free char *packages = join(recipe->packages);

        image_host_sources(recipe->suite, sources);
        add(&arguments, xstrdup("mmdebstrap"));
        add(&arguments, xstrdup(geteuid() == 0 ? "--mode=root" : "--mode=unshare"));
        add(&arguments, xstrdup("--variant=minbase"));
        add(&arguments, xstrdup("--format=tar"));
        add(&arguments, xasprintf("--include=%s", packages));
        /* a tree that is thrown away after a crash need not survive one */
        add(&arguments, xstrdup("--dpkgopt=force-unsafe-io"));
        add_paths(&arguments, "path-exclude", recipe->excluded_paths);
        add_paths(&arguments, "path-include", recipe->included_paths);
        add(&arguments, xasprintf("--customize-hook=%s", recipe->customize));
        add(&arguments, xstrdup(recipe->suite));
        add(&arguments, xstrdup("-"));
        for (size_t i = 0; sources[i]; i++)
                add(&arguments, sources[i]);
        return arguments;
}

/* The environment with TMPDIR, and without what would change what mmdebstrap says or does. */
static char **make_environment(const char *tmpdir)
{
        size_t n = 0, kept = 0;
        char **environment;

        while (environ[n])
                n++;
        environment = xcalloc(n + 4, sizeof(*environment));
        for (size_t i = 0; i < n; i++)
                if (!text_starts_with(environ[i], "TMPDIR=") && !text_starts_with(environ[i], "LC_") &&
                    !text_starts_with(environ[i], "LANG") && !text_starts_with(environ[i], "APT_CONFIG="))
                        environment[kept++] = xstrdup(environ[i]);
        environment[kept++] = xasprintf("TMPDIR=%s", tmpdir);
        environment[kept++] = xstrdup("LC_ALL=C.UTF-8");
        return environment;
}

static int start(struct build *build, struct err *err)
{
        struct arguments arguments = make_arguments(build->recipe);
        char **environment = make_environment(build->staging.path);
        scoped_close int tar_write = FD_NONE;
        int pipe_fds[2], r;

        if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
                r = err_errno(err, "image.build", "pipe");
        } else {
                build->tar_fd = pipe_fds[0];
                tar_write = pipe_fds[1];
                const struct spawn spawn = { .argv = (const char *const *) arguments.argv,
                                             .env = (const char *const *) environment,
                                             .folder = build->staging.path,
                                             .stdin_fd = FD_NONE,
                                             .stdout_fd = tar_write,
                                             .stderr_fd = build->said_fd };

                r = spawn_guard_start(&spawn, build->staging.fd, &build->mmdebstrap, err);
        }
        arguments_done(&arguments);
        for (char **variable = environment; *variable; variable++)
                free(*variable);
        free(environment);
        return r;
}

/* All that mmdebstrap said so far; the caller owns it. */
static char *read_said(const struct build *build)
{
        char *said = xcalloc(1, SAID_MAX + 1);
        ssize_t n = pread(build->said_fd, said, SAID_MAX, 0);

        said[n > 0 ? n : 0] = '\0';
        return said;
}

/* Its lines "I: ..." are the stages. */
static int follow(struct build *build, struct err *err)
{
        scoped_free char *said = read_said(build);
        unsigned n = 0;

        for (const char *line = said; line; line = strchr(line, '\n')) {
                line += *line == '\n';
                n += text_starts_with(line, "I: ");
        }
        build->n_stages = n < N_STAGES ? n : N_STAGES;
        return report(build, "packages", build->n_stages, N_STAGES, err);
}

/* Until the first byte of the tar, or the end of mmdebstrap without one. */
static int await_tar(struct build *build, struct err *err)
{
        for (;;) {
                int r = fd_wait(build->tar_fd, POLLIN, ASK_MS);

                if (r == 0)
                        return 0;
                if (r != -ETIMEDOUT && r != -EINTR) {
                        errno = -r;
                        return err_errno(err, "image.build", "wait for mmdebstrap");
                }
                r = follow(build, err);
                if (r < 0)
                        return r;
        }
}

static int write_progress(void *userdata, uint64_t bytes_read, uint64_t n_entries)
{
        const struct build *build = userdata;
        struct err ignored = { 0 };

        (void) n_entries;
        return report(build, "write", bytes_read, 0, &ignored);
}

/* The last line that says what went wrong: mmdebstrap's own last words are about cleaning up. */
static const char *last_reason(char *said)
{
        const char *reason = "it said nothing";
        char *rest = said;

        for (char *line = strtok_r(rest, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
                if (!text_is_blank(line) && !text_starts_with(line, "I: ") &&
                    !(text_starts_with(line, "E: mmdebstrap failed") ||
                      text_starts_with(line, "W: hooklistener")))
                        reason = line;
        return reason;
}

static int finish(struct build *build, struct err *err)
{
        scoped_free char *said = NULL;
        int status = spawn_guard_wait(&build->mmdebstrap, err);

        if (status == 0)
                return 0;
        said = read_said(build);
        *err = (struct err){ 0 };
        return err_set(err, EIO, "image.build", "mmdebstrap ended with status %d: %.500s", status,
                       last_reason(said));
}

static int run(struct build *build, const char *rootfs_path, uint64_t size, struct err *err)
{
        const struct ext4_options options = {
                .size = size, .label = "root", .progress = write_progress, .userdata = build
        };
        int r = start(build, err);

        if (r == 0)
                r = await_tar(build, err);
        if (r == 0)
                r = ext4_from_tar(build->tar_fd, rootfs_path, &options, NULL, err);
        /* A broken archive is mmdebstrap's failure, and it knows why. Any other failure is not. */
        if (r == -EBADMSG) {
                struct err reason = { 0 };

                if (finish(build, &reason) < 0)
                        *err = reason;
                return -err->code;
        }
        return r < 0 ? r : finish(build, err);
}

static const char *build_folder(const char *cache_folder)
{
        return image_host_can_others_enter(cache_folder) ? cache_folder : FALLBACK_FOLDER;
}

unsigned image_build_sweep(const char *cache_folder)
{
        return image_staging_sweep(build_folder(cache_folder), BUILD_PREFIX);
}

int image_build(const struct image_recipe *recipe, const char *rootfs_path, uint64_t size,
                const char *cache_folder, const struct image_progress *progress, struct err *err)
{
        struct build build = { .recipe = recipe,
                               .progress = progress,
                               .staging = IMAGE_STAGING_NONE,
                               .mmdebstrap = SPAWN_GUARD_NONE,
                               .tar_fd = FD_NONE,
                               .said_fd = memfd_create("mmdebstrap", MFD_CLOEXEC) };
        int r = build.said_fd < 0 ? err_errno(err, "image.build", "memfd_create") : 0;

        if (r == 0)
                r = image_host_check(err);
        if (r == 0)
                r = image_staging_begin(build_folder(cache_folder), BUILD_PREFIX, 0711, &build.staging, err);
        if (r == 0)
                r = run(&build, rootfs_path, size, err);
        if (r < 0)
                (void) unlink(rootfs_path);
        spawn_guard_end(&build.mmdebstrap);
        image_staging_end(&build.staging);
        if (build.tar_fd >= 0)
                (void) close(build.tar_fd);
        if (build.said_fd >= 0)
                (void) close(build.said_fd);
        return r;
}
