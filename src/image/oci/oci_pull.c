#include "image/oci/oci_pull.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/scoped.h"
#include "image/oci/oci_cache.h"
#include "image/oci/oci_fetch.h"
#include "image/oci/oci_place.h"
#include "image/oci/oci_space.h"
#include "image/oci/oci_write.h"

#define OP "image.pull"

/* What one pull holds. */
struct state {
        const struct oci_pull *pull;
        char *name; /* owned; of the reference, for messages */
        struct oci_cache cache;
        struct oci_registry *registry; /* owned; one of these two */
        struct oci_place *place;       /* owned */
        struct oci_manifest manifest;
        struct oci_pulled pulled;
        struct oci_fetch_blob *blobs; /* owned, as many as layers */
};

static void state_done(struct state *state)
{
        for (unsigned i = 0; state->blobs && i < state->manifest.n_layers; i++)
                close_at_scope_end(&state->blobs[i].fd);
        free(state->blobs);
        oci_registry_free(state->registry);
        oci_place_close(state->place);
        oci_manifest_done(&state->manifest);
        oci_pulled_done(&state->pulled);
        oci_cache_done(&state->cache);
        free(state->name);
}

void oci_pulled_done(struct oci_pulled *pulled)
{
        oci_config_done(&pulled->config);
        *pulled = (struct oci_pulled){ 0 };
}

static int open_source(struct state *state, struct err *err)
{
        const struct oci_pull *pull = state->pull;
        int r = oci_cache_open(pull->cache_folder, &state->cache, err);

        if (r < 0)
                return r;
        if (pull->reference->transport == OCI_TRANSPORT_REGISTRY)
                return oci_registry_new(pull->reference, &pull->settings, &state->registry, err);
        return oci_place_open(pull->reference, &state->cache, pull->stdin_fd, pull->stdin_name, &state->place,
                              err);
}

static int get_manifest(struct state *state, const char *digest, struct text *text,
                        char ret_digest[OCI_DIGEST_MAX], struct err *err)
{
        return state->registry ? oci_registry_manifest(state->registry, digest, text, ret_digest, err)
                               : oci_place_manifest(state->place, digest, text, ret_digest, err);
}

/* The manifest that an index names, from the cache when it is there. */
static int get_chosen(struct state *state, const struct oci_descriptor *chosen, struct text *text,
                      struct err *err)
{
        int r;

        (void) snprintf(state->pulled.manifest, OCI_DIGEST_MAX, "%s", chosen->digest);
        if (oci_cache_read(&state->cache, chosen, text) == 0)
                return 0;
        r = get_manifest(state, chosen->digest, text, state->pulled.manifest, err);
        if (r == 0 && state->registry)
                oci_cache_keep(&state->cache, chosen->digest, text->s, text->n);
        return r;
}

static int read_manifest(struct state *state, struct err *err)
{
        scoped_text struct text text = { 0 }, chosen = { 0 };
        int r = get_manifest(state, NULL, &text, state->pulled.digest, err);

        if (r == 0)
                r = oci_manifest_parse(text.s ? text.s : "", text.n, state->name, &state->manifest, err);
        if (r < 0)
                return r;
        (void) snprintf(state->pulled.manifest, OCI_DIGEST_MAX, "%s", state->pulled.digest);
        /* an index in an index (an oci: folder of a multi-platform image has such) is as deep as it may be */
        for (unsigned depth = 0; state->manifest.is_index; depth++) {
                struct oci_descriptor descriptor = state->manifest.chosen;

                if (depth == 2)
                        return err_set(err, EBADMSG, OP, "%s: an index in an index in an index", state->name);
                text_done(&chosen);
                oci_manifest_done(&state->manifest);
                r = get_chosen(state, &descriptor, &chosen, err);
                if (r == 0)
                        r = oci_manifest_parse(chosen.s ? chosen.s : "", chosen.n, state->name,
                                               &state->manifest, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_config(struct state *state, struct err *err)
{
        const struct oci_descriptor *descriptor = &state->manifest.config;
        scoped_text struct text text = { 0 };
        int r = 0;

        if (oci_cache_read(&state->cache, descriptor, &text) < 0) {
                r = state->registry ? oci_registry_blob(state->registry, descriptor, &text, err)
                                    : oci_place_blob(state->place, descriptor, &text, err);
                if (r == 0 && state->registry)
                        oci_cache_keep(&state->cache, descriptor->digest, text.s, text.n);
        }
        if (r == 0)
                r = oci_config_parse(text.s ? text.s : "", text.n, state->manifest.n_layers, state->name,
                                     &state->pulled.config, err);
        return r;
}

static int find_layers(struct state *state, struct err *err)
{
        int r = 0;

        state->blobs = xcalloc(state->manifest.n_layers, sizeof(*state->blobs));
        for (unsigned i = 0; i < state->manifest.n_layers; i++)
                state->blobs[i] = (struct oci_fetch_blob){ .descriptor = &state->manifest.layers[i],
                                                           .fd = FD_NONE,
                                                           .feed = FD_NONE };
        for (unsigned i = 0; i < state->manifest.n_layers && r == 0; i++) {
                struct oci_fetch_blob *blob = &state->blobs[i];

                if (state->place) {
                        r = oci_place_layer(state->place, blob, err);
                        blob->is_here = true;
                        continue;
                }
                blob->fd = oci_cache_find(&state->cache, blob->descriptor);
                blob->is_here = blob->fd >= 0;
        }
        return r;
}

static int check_space(const struct state *state, struct err *err)
{
        const char *path = state->pull->image_path, *slash = strrchr(path, '/');
        scoped_free char *folder = slash ? strndup(path, (size_t) (slash - path)) : xstrdup(".");

        return oci_space_check(state->blobs, state->manifest.n_layers, state->cache.folder, folder, err);
}

static int write_image(struct state *state, struct err *err)
{
        struct oci_fetch fetch = { .registry = state->registry,
                                   .cache = &state->cache,
                                   .blobs = state->blobs,
                                   .n_blobs = state->manifest.n_layers,
                                   .stop_fd = FD_NONE,
                                   .report = state->pull->progress.layer,
                                   .userdata = state->pull->progress.userdata };

        return oci_write(state->pull, &fetch, &state->pulled.config, state->pulled.manifest,
                         &state->pulled.layers, err);
}

/*
 * A layer that is not what its name says is fetched again, once: one of the cache, after a power cut perhaps, or of a mirror,
 * which then is asked for nothing more.
 */
static int write_again(struct state *state, struct err *err)
{
        for (unsigned i = 0; i < state->manifest.n_layers; i++) {
                oci_cache_drop(&state->cache, state->manifest.layers[i].digest);
                close_at_scope_end(&state->blobs[i].fd);
        }
        free(take_ptr(state->blobs));
        *err = (struct err){ 0 };
        if (find_layers(state, err) < 0)
                return -err->code;
        return write_image(state, err);
}

static int stage(const struct oci_pull *pull, const char *name, struct err *err)
{
        if (pull->progress.stage && pull->progress.stage(pull->progress.userdata, name, 0, 0) < 0)
                return err_set(err, ECANCELED, OP, "cancelled");
        return 0;
}

static int run(struct state *state, struct err *err)
{
        bool may_be_another = false; /* a second time */
        int r = open_source(state, err);

        if (r == 0)
                r = stage(state->pull, "resolve", err);
        if (r == 0)
                r = read_manifest(state, err);
        if (r == 0)
                r = read_config(state, err);
        if (r == 0)
                r = find_layers(state, err);
        if (r == 0)
                r = check_space(state, err);
        if (r == 0)
                r = stage(state->pull, "layers", err);
        if (r < 0)
                return r;
        for (unsigned i = 0; i < state->manifest.n_layers; i++)
                may_be_another = may_be_another || state->blobs[i].is_here;
        r = write_image(state, err);
        if (r != -EBADMSG || !state->registry)
                return r;
        may_be_another = oci_registry_leave_mirrors(state->registry) || may_be_another;
        return may_be_another ? write_again(state, err) : r;
}

int oci_pull(const struct oci_pull *pull, struct oci_pulled *ret_pulled, struct err *err)
{
        struct state state = { .pull = pull, .name = oci_reference_format(pull->reference) };
        int r = run(&state, err);

        if (r == 0) {
                *ret_pulled = state.pulled;
                state.pulled = (struct oci_pulled){ 0 };
        }
        state_done(&state);
        return r;
}

int oci_pull_resolve(const struct oci_pull *pull, char ret_digest[OCI_DIGEST_MAX], struct err *err)
{
        scoped(oci_registry_free) struct oci_registry *registry = NULL;
        int r;

        ret_digest[0] = '\0';
        if (pull->reference->transport != OCI_TRANSPORT_REGISTRY)
                return 0;
        r = oci_registry_new(pull->reference, &pull->settings, &registry, err);
        return r < 0 ? r : oci_registry_resolve(registry, ret_digest, err);
}
