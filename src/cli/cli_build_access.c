/* The files are those of containers-auth.json(5), containers-registries.conf(5) and containers-certs.d(5). */
#include "cli/cli_build_access.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "api/api_registry.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/cli_call.h"
#include "cli/cli_guest.h"
#include "cli/cli_recipe.h"
#include "cli/cli_signals.h"
#include "guest/client/guest_client.h"

#define OP       "image.build"
#define SETTINGS "/etc/containers/registries.conf.d/zz-banger-host.conf"
#define CA       "/etc/containers/certs.d/%s/ca.crt"

/* What was found for all images. All owned. */
struct access {
        json_t *logins;       /* "registry/repository" -> entry */
        json_t *authorities;  /* registry -> PEM */
        struct text images;   /* with logins, a line each */
        struct text settings; /* TOML */
        json_t *seen;         /* registries whose settings are there */
};

static void access_done(struct access *access)
{
        json_decref(access->logins);
        json_decref(access->authorities);
        json_decref(access->seen);
        text_done(&access->images);
        text_done(&access->settings);
}

static inline void access_done_at_scope_end(struct access *access)
{
        access_done(access);
}

/* A JSON string is a string of TOML, too. */
static void add_line(struct text *settings, const char *key, const char *value)
{
        json_auto_t *string = json_string(value);
        scoped_free char *quoted = json_dumps(string, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);

        text_appendf(settings, "%s = %s\n", key, quoted ? quoted : "\"\"");
}

static void add_settings(struct access *access, const json_t *found)
{
        const char *registry = json_text(found, "registry");
        const json_t *mirror = NULL;
        size_t i;

        if (json_object_get(access->seen, registry))
                return;
        (void) json_object_set_new(access->seen, registry, json_true());
        if (*json_text(found, "ca") != '\0')
                (void) json_object_set(access->authorities, registry, json_object_get(found, "ca"));
        text_append(&access->settings, "[[registry]]\n");
        add_line(&access->settings, "location", registry);
        text_appendf(&access->settings, "insecure = %s\n", json_flag(found, "insecure") ? "true" : "false");
        json_array_foreach (json_object_get(found, "mirrors"), i, mirror) {
                const char *url = json_string_value(mirror), *scheme = url ? strstr(url, "://") : NULL;

                if (!url)
                        continue;
                text_append(&access->settings, "[[registry.mirror]]\n");
                add_line(&access->settings, "location", scheme ? scheme + strlen("://") : url);
                text_appendf(&access->settings, "insecure = %s\n",
                             text_starts_with(url, "http://") ? "true" : "false");
        }
}

static void add_image(struct access *access, const json_t *found)
{
        scoped_free char *key =
                xasprintf("%s/%s", json_text(found, "registry"), json_text(found, "repository"));
        json_t *login = json_object_get(found, "login");

        add_settings(access, found);
        if (!login)
                return;
        (void) json_object_set(access->logins, key, login);
        text_appendf(&access->images, "%s\n", json_text(found, "image"));
}

/* An image that is none, by our rules, is left for buildah to refuse. */
static int find(struct cli *cli, const char *image, struct access *access, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        struct err failure = { 0 };
        int r = cli_call(cli, &api_registry_access, json_pack("{s:s}", "image", image), &reply, &failure);

        if (r == -EINVAL) {
                cli->code[0] = cli->op_id[0] = '\0';
                return 0;
        }
        if (r < 0)
                *err = failure;
        else
                add_image(access, reply.result);
        return r;
}

static int find_all(struct cli *cli, const char *recipe, const json_t *build_args, struct access *access,
                    struct err *err)
{
        json_auto_t *images = recipe_images(recipe, build_args);
        const json_t *image = NULL;
        size_t i;
        int r = 0;

        *access = (struct access){ .logins = json_object(),
                                   .authorities = json_object(),
                                   .seen = json_object() };
        json_array_foreach (images, i, image)
                if (r == 0)
                        r = find(cli, json_string_value(image), access, err);
        return r;
}

/* Through standard input: a command line is everybody's to read. */
static int write_file(struct cli *cli, const char *vm, const char *path, const char *content, struct err *err)
{
        static const char script[] = "umask 077; mkdir -p \"${1%/*}\" && cat >\"$1\"";
        const char *const argv[] = { "sh", "-c", script, "sh", path, NULL };
        scoped_close int input = memfd_create("banger-build", MFD_CLOEXEC), fd = FD_NONE;
        struct guest_exec exec = { .argv = argv,
                                   .stdin_fd = input,
                                   .stdout_fd = STDERR_FILENO,
                                   .stderr_fd = STDERR_FILENO,
                                   .signal_fd = FD_NONE };
        int r;

        if (input < 0 || fd_write_full(input, content, strlen(content)) < 0 || lseek(input, 0, SEEK_SET) < 0)
                return err_errno(err, OP, "keep '%s' in memory", path);
        fd = cli_connect(cli, vm, NULL, err);
        if (fd < 0)
                return fd;
        signals_guard(fd);
        r = guest_exec(fd, &exec, err);
        cli->signal = signals_unguard();
        if (r == 0 && cli->signal != 0)
                r = err_set(err, ECANCELED, OP, "interrupted");
        return r > 0 ? err_set(err, EIO, OP, "vm '%s' cannot write '%s' (status %d)", vm, path, r) : r;
}

static int write_logins(struct cli *cli, const char *vm, const struct access *access, struct err *err)
{
        json_auto_t *document = json_pack("{s:O}", "auths", access->logins);
        scoped_free char *text = json_dumps(document, 0);
        int r = write_file(cli, vm, BUILD_ACCESS_LOGINS, text, err);

        explicit_bzero(text, strlen(text));
        return r == 0 ? write_file(cli, vm, BUILD_ACCESS_IMAGES, access->images.s, err) : r;
}

int cli_build_access_give(struct cli *cli, const char *vm, const char *recipe, const json_t *build_args,
                          struct err *err)
{
        scoped(access_done) struct access access = { 0 };
        const char *registry;
        json_t *pem;
        int r = find_all(cli, recipe, build_args, &access, err);

        if (r == 0 && access.settings.n > 0)
                r = write_file(cli, vm, SETTINGS, access.settings.s, err);
        json_object_foreach (access.authorities, registry, pem) {
                scoped_free char *path = xasprintf(CA, registry);

                if (r == 0)
                        r = write_file(cli, vm, path, json_string_value(pem), err);
        }
        return r == 0 && access.images.n > 0 ? write_logins(cli, vm, &access, err) : r;
}
