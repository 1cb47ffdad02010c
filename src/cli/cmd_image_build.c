/*
 * image build: a Dockerfile is built by buildah in a VM of its own, and what comes out is imported like any other archive. The
 * VM is deleted whatever the end is. Nothing of the build runs on this host: it reads the folder, and writes the archive.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "api/api_image.h"
#include "api/api_vm.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/cli_build_access.h"
#include "cli/cli_call.h"
#include "cli/cli_commands.h"
#include "cli/cli_guest.h"
#include "cli/cli_ignore.h"
#include "cli/cli_parse.h"
#include "cli/cli_proxies.h"
#include "cli/cli_signals.h"
#include "cli/cli_spool.h"
#include "cli/cli_vms.h"
#include "cli/render_progress.h"
#include "guest/client/guest_client.h"
#include "guest/client/guest_copy.h"

#define OP             "image.build"
#define BUILDER        "debian-builder" /* of the catalog */
#define GUEST_FOLDER   "/root/build"    /* on the work disk, whose size --disk-size sets */
#define GUEST_CONTEXT  GUEST_FOLDER "/context"
#define GUEST_RECIPE   GUEST_FOLDER "/Dockerfile"
#define GUEST_IGNORE   GUEST_FOLDER "/ignore"
#define GUEST_ARCHIVE  GUEST_FOLDER "/image.tar"
#define NAME_MAX_BYTES 63U
#define RECIPE_MAX     ((size_t) 4 << 20)

/*
 * vfs: the guests' kernel has no overlayfs without its modules. chroot: the VM is the wall, and a second one would need what a
 * bare guest lacks (buildah-build(1)). Each store layer is a copy, so none are kept between the steps. What needs a login is
 * fetched first, and the login is gone before the first word of the Dockerfile runs.
 */
static const char script[] =
        "mkdir -p " GUEST_FOLDER "/tmp && export TMPDIR=" GUEST_FOLDER "/tmp || exit\n"
        "bh() { buildah --root " GUEST_FOLDER "/store --runroot " GUEST_FOLDER
        "/run --storage-driver vfs \"$@\"; }\n"
        "if [ -e " BUILD_ACCESS_LOGINS " ]; then\n"
        "while read -r image; do\n"
        "bh pull --quiet --authfile " BUILD_ACCESS_LOGINS " \"$image\" </dev/null >/dev/null || exit\n"
        "done <" BUILD_ACCESS_IMAGES "\n"
        "rm " BUILD_ACCESS_LOGINS " || exit\n"
        "fi\n"
        "bh build --isolation chroot --layers=false --pull=false --tag result --file " GUEST_RECIPE
        " \"$@\" " GUEST_CONTEXT " || exit\n"
        "bh push --quiet result docker-archive:" GUEST_ARCHIVE ":result:latest";

/* All borrowed but what says otherwise. */
struct build {
        const struct cli_args *args;
        char *folder, *recipe, *name, *source; /* owned */
        struct cli_ignore ignore;
        const char *vm;                           /* its name, once it is made */
        const char *proxies[CLI_PROXIES_MAX + 1]; /* of the environment */
};

static void build_done(struct build *build)
{
        free(build->folder);
        free(build->recipe);
        free(build->name);
        free(build->source);
        cli_ignore_done(&build->ignore);
}

static inline void build_done_at_scope_end(struct build *build)
{
        build_done(build);
}

static bool is_file(const char *path)
{
        struct stat st;

        return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* The folder's name, as far as an image can have it. */
static char *derive_name(const char *folder)
{
        static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
        const char *base = strrchr(folder, '/');
        char *name = strndup(base ? base + 1 : folder, NAME_MAX_BYTES);

        for (char *at = name; *at != '\0'; at++)
                if (*at >= 'A' && *at <= 'Z')
                        *at = (char) (*at - 'A' + 'a');
                else if (!strchr(allowed, *at))
                        *at = '-';
        return name;
}

static int find_recipe(struct build *build, struct err *err)
{
        static const char *const usual[] = { "Dockerfile", "Containerfile" };
        const char *given = json_text(build->args->options, "file");

        if (*given) {
                build->recipe = path_absolute(given);
                return is_file(build->recipe)
                               ? 0
                               : err_set(err, ENOENT, OP, "--file: there is no file '%s'", given);
        }
        for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++) {
                build->recipe = xasprintf("%s/%s", build->folder, usual[i]);
                if (is_file(build->recipe))
                        return 0;
                free(take_ptr(build->recipe));
        }
        return err_set(err, ENOENT, OP, "'%s' has no Dockerfile and no Containerfile; name one with --file",
                       build->folder);
}

/* An image of this name that was built of another folder, or pulled, stays. */
static int check_name(struct cli *cli, const struct build *build, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        struct err failure = { 0 };
        const char *source;
        int r = cli_call(cli, &api_image_show, json_pack("{s:s}", "image", build->name), &reply, &failure);

        if (r == -ENOENT) {
                cli->code[0] = cli->op_id[0] = '\0';
                return 0;
        }
        if (r < 0) {
                *err = failure;
                return r;
        }
        assert(build->source);
        source = json_text(reply.result, "source");
        if (strcmp(source, build->source) == 0)
                return 0;
        return err_set(err, EEXIST, OP,
                       "image '%s' is there and comes from %s: delete it, or give another --name",
                       build->name, source);
}

/* Everything that can be wrong before there is a VM. */
static int prepare(struct build *build, struct err *err)
{
        const char *name = json_text(build->args->options, "name"), *path = build->args->operands[0];
        struct stat st;
        int r;

        build->folder = realpath(path, NULL);
        if (!build->folder || stat(build->folder, &st) < 0)
                return err_errno(err, OP, "build '%s'", path);
        if (!S_ISDIR(st.st_mode))
                return err_set(err, ENOTDIR, OP,
                               "'%s' is no folder; give the one to build in, and the file with --file", path);
        r = find_recipe(build, err);
        if (r == 0)
                r = cli_ignore_read(build->folder, build->recipe, &build->ignore, err);
        if (r == 0 && !json_flag(build->args->options, "no_network"))
                r = cli_proxies_find(build->proxies, err);
        build->name = *name ? xstrdup(name) : derive_name(build->folder);
        build->source = xasprintf("build:%s", build->folder);
        return r;
}

static int make_vm(struct cli *cli, const struct build *build, struct rpc_reply *reply, struct err *err)
{
        static const char *const passed[] = { "vcpu", "memory", "disk_size" };
        const json_t *options = build->args->options;
        json_t *params = json_pack("{s:s, s:b, s:s}", "image", BUILDER, "nat",
                                   !json_flag(options, "no_network"), "label", "banger=build");

        for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
                if (json_object_get(options, passed[i]))
                        (void) json_object_set(params, passed[i], json_object_get(options, passed[i]));
        return cli_call(cli, &api_vm_create, params, reply, err);
}

static int interrupted(struct cli *cli, int r, struct err *err)
{
        cli->signal = signals_unguard();
        return cli->signal != 0 && r == 0 ? err_set(err, ECANCELED, OP, "interrupted") : r;
}

static int copy_in(struct cli *cli, const struct build *build, struct guest_copy *copy, struct err *err)
{
        scoped_close int fd = cli_connect(cli, build->vm, NULL, err);

        if (fd < 0)
                return fd;
        copy->follow = true;
        signals_guard(fd);
        return interrupted(cli, guest_copy_in(fd, copy, err), err);
}

static int copy_file(struct cli *cli, const struct build *build, const char *path, const char *to,
                     struct err *err)
{
        const char *const paths[] = { path, NULL };
        struct guest_copy copy = { .paths = paths, .destination = to };

        return copy_in(cli, build, &copy, err);
}

/* What an exception may be in has to be looked through. buildah knows the rules too, and drops what is left of it. */
static bool is_left_out(void *userdata, const char *path, bool is_folder)
{
        const struct build *build = userdata;

        return !(is_folder && build->ignore.has_exceptions) && cli_ignore_leaves_out(&build->ignore, path);
}

static int copy_folder(struct cli *cli, const struct build *build, struct err *err)
{
        const char *const paths[] = { build->folder, NULL };
        struct guest_copy copy = { .paths = paths,
                                   .destination = GUEST_CONTEXT,
                                   .leaves_out = is_left_out,
                                   .leaves_out_context = (void *) (uintptr_t) build };

        return copy_in(cli, build, &copy, err);
}

static int send_context(struct cli *cli, const struct build *build, struct err *err)
{
        int r = cli_run_quietly(cli, build->vm, "mkdir -p " GUEST_FOLDER, FD_NONE, err);

        if (r > 0)
                return err_set(err, EIO, OP, "vm '%s' cannot make a folder (status %d)", build->vm, r);
        if (r == 0)
                r = copy_folder(cli, build, err);
        if (r == 0 && build->ignore.path)
                r = copy_file(cli, build, build->ignore.path, GUEST_IGNORE, err);
        return r == 0 ? copy_file(cli, build, build->recipe, GUEST_RECIPE, err) : r;
}

/* The words for buildah; the caller frees the array. */
static const char **make_arguments(const struct build *build)
{
        const json_t *options = build->args->options, *build_args = json_object_get(options, "build_arg");
        const char **argv = xcalloc(json_array_size(build_args) * 2 + 9, sizeof(*argv));
        const json_t *word = NULL;
        size_t n = 0, i;

        argv[n++] = "sh";
        argv[n++] = "-c";
        argv[n++] = script;
        argv[n++] = "buildah";
        if (build->ignore.path) {
                argv[n++] = "--ignorefile";
                argv[n++] = GUEST_IGNORE;
        }
        json_array_foreach (build_args, i, word) {
                argv[n++] = "--build-arg";
                argv[n++] = json_string_value(word);
        }
        if (*json_text(options, "target")) {
                argv[n++] = "--target";
                argv[n++] = json_text(options, "target");
        }
        return argv;
}

/* What it says goes to standard error: standard output is for the image's name. Exit status or -code. */
static int run(struct cli *cli, const struct build *build, struct err *err)
{
        scoped_free const char **argv = make_arguments(build);
        scoped_close int fd = cli_connect(cli, build->vm, NULL, err);
        struct guest_exec exec = { .argv = argv,
                                   .env = build->proxies,
                                   .login_shell = true,
                                   .stdin_fd = FD_NONE,
                                   .stdout_fd = STDERR_FILENO,
                                   .stderr_fd = STDERR_FILENO };
        int r;

        if (fd < 0)
                return fd;
        exec.signal_fd = signals_begin(false);
        r = guest_exec(fd, &exec, err);
        signals_end(exec.signal_fd);
        if (r > 0)
                (void) fprintf(stderr, "banger: '%s' was not built: see above (status %d)\n", build->folder,
                               r);
        return r;
}

static int take_archive(struct cli *cli, const struct build *build, struct cli_spool *spool, struct err *err)
{
        const char *const paths[] = { GUEST_ARCHIVE, NULL };
        struct guest_copy copy = { .paths = paths,
                                   .destination = spool->path,
                                   .bytes_max = cli_spool_room(spool),
                                   .entries_max = 1 };
        scoped_close int fd = cli_connect(cli, build->vm, NULL, err);
        int r;

        if (fd < 0)
                return fd;
        signals_guard(fd);
        r = interrupted(cli, guest_copy_out(fd, &copy, err), err);
        if (r == -EFBIG)
                return err_wrap(err, "the image does not fit into '%s'", spool->folder);
        return r == 0 ? cli_spool_hand_over(cli, spool, err) : r;
}

/* So that buildah reaches the registries as this machine does. */
static int give_access(struct cli *cli, const struct build *build, struct err *err)
{
        scoped_free char *recipe = NULL;
        int r;

        if (json_flag(build->args->options, "no_network"))
                return 0;
        r = file_read(build->recipe, RECIPE_MAX, &recipe, NULL, err);
        return r < 0 ? r
                     : cli_build_access_give(cli, build->vm, recipe,
                                             json_object_get(build->args->options, "build_arg"), err);
}

static int build_in_vm(struct cli *cli, const struct build *build, struct cli_spool *spool, struct err *err)
{
        int r = send_context(cli, build, err);

        if (r == 0)
                r = give_access(cli, build, err);
        if (r == 0)
                r = run(cli, build, err);
        return r == 0 ? take_archive(cli, build, spool, err) : r;
}

static int build_archive(struct cli *cli, struct build *build, struct cli_spool *spool, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        int r = make_vm(cli, build, &reply, err);

        if (r < 0)
                return r;
        build->vm = json_text(reply.result, "name");
        r = vms_is_interrupted(cli) ? err_set(err, ECANCELED, OP, "interrupted")
                                    : build_in_vm(cli, build, spool, err);
        vms_delete_at_end(cli, build->vm);
        return r;
}

static int import(struct cli *cli, const struct build *build, const struct cli_spool *spool, struct err *err)
{
        const json_t *size = json_object_get(build->args->options, "size");
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        json_t *params = json_pack("{s:s, s:s, s:s, s:s}", "image", "-", "name", build->name, "input",
                                   spool->path, "source", build->source);
        int r;

        if (!params)
                return err_set(err, EINVAL, OP, "the path '%s' is not UTF-8", build->folder);
        if (size)
                (void) json_object_set(params, "size", (json_t *) (uintptr_t) size);
        r = cli_call(cli, &api_image_pull, params, &reply, err);
        if (r < 0)
                return r;
        if (json_flag(build->args->options, "json"))
                print_json(reply.result);
        else
                (void) printf("%s\n", json_text(reply.result, "name"));
        return 0;
}

int cmd_image_build(struct cli *cli, const struct cli_args *args, struct err *err)
{
        scoped(build_done) struct build build = { .args = args };
        scoped(cli_spool_end) struct cli_spool spool = { 0 };
        int r = prepare(&build, err);

        if (r == 0)
                r = check_name(cli, &build, err);
        if (r == 0)
                r = cli_need_helper(cli, err);
        if (r < 0)
                return r;
        signals_hold(); /* from here on there may be something to delete */
        r = cli_spool_begin(cli, &spool, err);
        if (r == 0)
                r = build_archive(cli, &build, &spool, err);
        if (r == 0)
                r = import(cli, &build, &spool, err);
        cli_spool_end(&spool);
        signals_release();
        return r;
}
