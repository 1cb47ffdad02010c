#include "image/oci/oci_place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/scoped.h"
#include "image/oci/oci_archive.h"
#include "image/oci/oci_config.h"

#define OP              "image.place"
#define INDEX           "index.json"    /* image-spec image-layout.md */
#define LAYOUT          "oci-layout"    /* the same */
#define DOCKER_MANIFEST "manifest.json" /* docker/docs, `docker image save` */
#define NAMES_SHOWN     8U
/* image-spec annotations.md; the second is containerd's and modern Docker's whole name */
#define REF_NAME   "org.opencontainers.image.ref.name"
#define IMAGE_NAME "io.containerd.image.name"

struct oci_place {
        const struct oci_reference *reference; /* borrowed */
        char *name;                            /* owned; for messages */
        int folder;                            /* owned; of a layout, else FD_NONE */
        struct oci_archive archive;
        bool is_docker;
        json_t *document;   /* owned; index.json or manifest.json */
        char **layer_names; /* owned; docker's, in the archive, bottom first */
        char **layer_ids;   /* owned; their digests, as the manifest made here calls them */
        unsigned n_layers;
        struct text config; /* docker's, which has its digest from us */
};

void oci_place_close(struct oci_place *place)
{
        if (!place)
                return;
        for (unsigned i = 0; i < place->n_layers; i++) {
                free(place->layer_names[i]);
                free(place->layer_ids[i]);
        }
        free(place->layer_names);
        free(place->layer_ids);
        text_done(&place->config);
        json_decref(place->document);
        oci_archive_done(&place->archive);
        close_at_scope_end(&place->folder);
        free(place->name);
        free(place);
}

/* A file of the place: descriptor (owned by the caller), where it begins, how long it is. */
static int open_file(const struct oci_place *place, const char *name, int *ret_fd, uint64_t *ret_offset,
                     uint64_t *ret_size, struct err *err)
{
        const struct oci_archive_entry *entry;
        struct stat st;

        if (place->folder >= 0) {
                int fd = openat(place->folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

                if (fd < 0)
                        return err_errno(err, OP, "%s: '%s'", place->name, name);
                if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
                        (void) close(fd);
                        return err_set(err, EBADMSG, OP, "%s: '%s' is no file", place->name, name);
                }
                *ret_fd = fd;
                *ret_offset = 0;
                *ret_size = (uint64_t) st.st_size;
                return 0;
        }
        entry = oci_archive_find(&place->archive, name);
        if (!entry)
                return err_set(err, ENOENT, OP, "%s has no '%.150s'", place->name, name);
        *ret_fd = fcntl(place->archive.fd, F_DUPFD_CLOEXEC, 3);
        *ret_offset = entry->offset;
        *ret_size = entry->size;
        return *ret_fd < 0 ? err_errno(err, OP, "%s", place->name) : 0;
}

static int read_file(const struct oci_place *place, const char *name, uint64_t max, struct text *ret_text,
                     struct err *err)
{
        scoped_close int fd = FD_NONE;
        uint64_t offset = 0, size = 0;
        char buffer[16384];
        int r = open_file(place, name, &fd, &offset, &size, err);

        if (r < 0)
                return r;
        if (size > max)
                return err_set(err, E2BIG, OP, "%s: '%.150s' is larger than %llu bytes", place->name, name,
                               (unsigned long long) max);
        while (size > 0) {
                ssize_t n = pread(fd, buffer, size < sizeof(buffer) ? (size_t) size : sizeof(buffer),
                                  (off_t) offset);

                if (n <= 0)
                        return err_set(err, EIO, OP, "%s: '%.150s' cannot be read", place->name, name);
                text_append_bytes(ret_text, buffer, (size_t) n);
                offset += (uint64_t) n;
                size -= (uint64_t) n;
        }
        return 0;
}

static int read_document(struct oci_place *place, const char *name, struct err *err)
{
        scoped_text struct text text = { 0 };
        int r = read_file(place, name, OCI_MANIFEST_MAX, &text, err);

        return r < 0 ? r : json_parse(text.s ? text.s : "", text.n, place->name, &place->document, err);
}

/* What kind it is: a modern `docker save` is both, and OCI's side of it says more. */
static int recognise(struct oci_place *place, struct err *err)
{
        bool is_folder = place->folder >= 0;
        bool is_layout = is_folder ? faccessat(place->folder, INDEX, F_OK, 0) == 0
                                   : oci_archive_find(&place->archive, LAYOUT) != NULL;
        bool has_docker = !is_folder && oci_archive_find(&place->archive, DOCKER_MANIFEST) != NULL;

        if (place->reference->transport == OCI_TRANSPORT_DOCKER_ARCHIVE)
                place->is_docker = true;
        else if (place->reference->transport == OCI_TRANSPORT_STDIN)
                place->is_docker = !is_layout;
        if (place->is_docker ? !has_docker : !is_layout)
                return err_set(err, EBADMSG, OP, "%s is no image: it has no '%s'", place->name,
                               place->is_docker ? DOCKER_MANIFEST
                               : is_folder      ? INDEX
                                                : LAYOUT);
        return read_document(place, place->is_docker ? DOCKER_MANIFEST : INDEX, err);
}

static int open_place(struct oci_place *place, const struct oci_cache *cache, int stdin_fd, struct err *err)
{
        const struct oci_reference *reference = place->reference;
        int fd;

        if (reference->transport == OCI_TRANSPORT_LAYOUT) {
                place->folder = open(reference->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
                return place->folder < 0 ? err_errno(err, OP, "open '%s'", reference->path)
                                         : recognise(place, err);
        }
        if (reference->transport == OCI_TRANSPORT_STDIN)
                fd = stdin_fd < 0 ? FD_NONE : fcntl(stdin_fd, F_DUPFD_CLOEXEC, 3);
        else
                fd = open(reference->path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return reference->path ? err_errno(err, OP, "open '%s'", reference->path)
                                       : err_set(err, EINVAL, OP,
                                                 "'-' is standard input, of which there is none here");
        fd = oci_archive_open(fd, place->name, cache, &place->archive, err);
        return fd < 0 ? fd : recognise(place, err);
}

int oci_place_open(const struct oci_reference *reference, const struct oci_cache *cache, int stdin_fd,
                   const char *stdin_name, struct oci_place **ret_place, struct err *err)
{
        struct oci_place *place = xcalloc(1, sizeof(*place));
        int r;

        *place = (struct oci_place){ .reference = reference,
                                     .folder = FD_NONE,
                                     .archive = { .fd = FD_NONE },
                                     .name = reference->transport == OCI_TRANSPORT_STDIN
                                                     ? xstrdup(stdin_name ? stdin_name : "standard input")
                                                     : xasprintf("'%s'", reference->path) };
        r = open_place(place, cache, stdin_fd, err);
        if (r < 0) {
                oci_place_close(place);
                return r;
        }
        *ret_place = place;
        return 0;
}

static bool tag_matches(const char *name, const char *tag)
{
        size_t n = strlen(name), n_tag = strlen(tag);

        return strcmp(name, tag) == 0 ||
               (n > n_tag && strcmp(name + n - n_tag, tag) == 0 && strchr(":/", name[n - n_tag - 1]));
}

static bool entry_matches(const json_t *entry, const char *tag, bool is_docker)
{
        const json_t *annotations = json_object_get(entry, "annotations"), *name = NULL;
        size_t i;

        if (!is_docker)
                return tag_matches(json_text(annotations, REF_NAME), tag) ||
                       tag_matches(json_text(annotations, IMAGE_NAME), tag);
        json_array_foreach (json_object_get(entry, "RepoTags"), i, name)
                if (json_is_string(name) && tag_matches(json_string_value(name), tag))
                        return true;
        return false;
}

static void list_names(const json_t *entries, bool is_docker, struct text *list)
{
        const json_t *entry = NULL;
        size_t i;

        json_array_foreach (entries, i, entry) {
                const char *name =
                        is_docker ? json_string_value(json_array_get(json_object_get(entry, "RepoTags"), 0))
                                  : json_text(json_object_get(entry, "annotations"), REF_NAME);
                char shown[100];

                oci_http_show(name ? name : "", shown, sizeof(shown));
                if (*shown != '\0' && i < NAMES_SHOWN)
                        text_appendf(list, "%s%s", list->n ? ", " : "", shown);
        }
}

/* The one image, or the one that the tag names. */
static int choose(const struct oci_place *place, const json_t **ret_entry, struct err *err)
{
        const json_t *entries =
                place->is_docker ? place->document : json_object_get(place->document, "manifests");
        const char *tag = place->reference->tag;
        scoped_text struct text names = { 0 };
        const json_t *entry = NULL;
        size_t i;

        if (!tag && json_array_size(entries) == 1) {
                *ret_entry = json_array_get(entries, 0);
                return 0;
        }
        json_array_foreach (entries, i, entry)
                if (tag && entry_matches(entry, tag, place->is_docker)) {
                        *ret_entry = entry;
                        return 0;
                }
        list_names(entries, place->is_docker, &names);
        if (tag)
                return err_set(err, ENOENT, OP, "%s has no image '%s'%s%s", place->name, tag,
                               names.n ? "; it has " : "", names.n ? names.s : "");
        return err_set(err, EINVAL, OP, "%s has %zu images; choose one by ':' and its name%s%s", place->name,
                       json_array_size(entries), names.n ? ": " : "", names.n ? names.s : "");
}

static char *blob_path(const char *digest)
{
        return xasprintf("blobs/sha256/%s", digest + strlen("sha256:"));
}

static int read_verified(const struct oci_place *place, const char *digest, uint64_t max,
                         struct text *ret_text, struct err *err)
{
        scoped_free char *path = blob_path(digest);
        char found[OCI_DIGEST_MAX];
        int r = read_file(place, path, max, ret_text, err);

        if (r < 0)
                return r;
        oci_digest_of(ret_text->s ? ret_text->s : "", ret_text->n, found);
        return strcmp(found, digest) == 0
                       ? 0
                       : err_set(err, EBADMSG, OP, "%s: '%s' has the digest %s", place->name, path, found);
}

static enum oci_compression compression_of(const struct oci_place *place,
                                           const struct oci_archive_entry *entry)
{
        unsigned char head[4] = { 0 };

        if (pread(place->archive.fd, head, sizeof(head), (off_t) entry->offset) != (ssize_t) sizeof(head))
                return OCI_COMPRESSION_NONE;
        if (head[0] == 0x1f && head[1] == 0x8b)
                return OCI_COMPRESSION_GZIP;
        return memcmp(head, "\x28\xb5\x2f\xfd", 4) == 0 ? OCI_COMPRESSION_ZSTD : OCI_COMPRESSION_NONE;
}

/* One layer of docker's list as OCI's manifest has it. It is named by what it unpacks to, which is what there is. */
static json_t *layer_descriptor(struct oci_place *place, const json_t *name, const char *diff_id,
                                struct err *err)
{
        static const char *const types[OCI_N_COMPRESSIONS] = {
                [OCI_COMPRESSION_NONE] = "application/vnd.oci.image.layer.v1.tar",
                [OCI_COMPRESSION_GZIP] = "application/vnd.oci.image.layer.v1.tar+gzip",
                [OCI_COMPRESSION_ZSTD] = "application/vnd.oci.image.layer.v1.tar+zstd",
        };
        const char *path = json_string_value(name);
        const struct oci_archive_entry *entry = path ? oci_archive_find(&place->archive, path) : NULL;

        if (!entry) {
                (void) err_set(err, EBADMSG, OP, "%s has no layer '%.150s', which it lists", place->name,
                               path ? path : "");
                return NULL;
        }
        place->layer_names[place->n_layers] = xstrdup(path);
        place->layer_ids[place->n_layers++] = xstrdup(diff_id);
        return json_pack("{s:s, s:s, s:I}", "mediaType", types[compression_of(place, entry)], "digest",
                         diff_id, "size", (json_int_t) entry->size);
}

static int add_layers(struct oci_place *place, const json_t *names, const struct oci_config *config,
                      json_t *layers, struct err *err)
{
        place->layer_names = xcalloc(config->n_diff_ids, sizeof(char *));
        place->layer_ids = xcalloc(config->n_diff_ids, sizeof(char *));
        for (unsigned i = 0; i < config->n_diff_ids; i++) {
                json_t *layer = layer_descriptor(place, json_array_get(names, i), config->diff_ids[i], err);

                if (!layer)
                        return -err->code;
                (void) json_array_append_new(layers, layer);
        }
        return 0;
}

/* `docker save` has no manifest as registries have it: this makes the one it would have. */
static int make_manifest(struct oci_place *place, const json_t *entry, struct text *ret_text, struct err *err)
{
        scoped(oci_config_done) struct oci_config config = { 0 };
        const json_t *names = json_object_get(entry, "Layers");
        json_auto_t *manifest = NULL, *layers = json_array();
        char digest[OCI_DIGEST_MAX];
        size_t n = json_array_size(names);
        char *text;
        int r = read_file(place, json_text(entry, "Config"), OCI_CONFIG_MAX, &place->config, err);

        if (r == 0 && (n == 0 || n > OCI_LAYERS_MAX))
                r = err_set(err, EBADMSG, OP, "%s has %zu layers", place->name, n);
        if (r == 0)
                r = oci_config_parse(place->config.s, place->config.n, (unsigned) n, place->name, &config,
                                     err);
        if (r == 0)
                r = add_layers(place, names, &config, layers, err);
        if (r < 0)
                return r;
        oci_digest_of(place->config.s, place->config.n, digest);
        manifest = json_pack("{s:i, s:s, s:{s:s, s:s, s:I}, s:O}", "schemaVersion", 2, "mediaType",
                             "application/vnd.oci.image.manifest.v1+json", "config", "mediaType",
                             "application/vnd.oci.image.config.v1+json", "digest", digest, "size",
                             (json_int_t) place->config.n, "layers", layers);
        text = json_dumps(manifest, JSON_COMPACT);
        if (!text)
                return err_set(err, ENOMEM, OP, "no memory for a manifest");
        text_append(ret_text, text);
        free(text);
        return 0;
}

int oci_place_manifest(struct oci_place *place, const char *digest, struct text *ret_text,
                       char ret_digest[OCI_DIGEST_MAX], struct err *err)
{
        const json_t *entry = NULL;
        int r;

        if (!digest) {
                r = choose(place, &entry, err);
                if (r < 0)
                        return r;
                if (place->is_docker) {
                        r = make_manifest(place, entry, ret_text, err);
                        if (r == 0)
                                oci_digest_of(ret_text->s, ret_text->n, ret_digest);
                        return r;
                }
                digest = json_text(entry, "digest");
        }
        if (!oci_digest_is_valid(digest))
                return err_set(err, EBADMSG, OP, "%s: '%.80s' is no sha256 digest", place->name, digest);
        (void) snprintf(ret_digest, OCI_DIGEST_MAX, "%s", digest);
        return read_verified(place, digest, OCI_MANIFEST_MAX, ret_text, err);
}

int oci_place_blob(struct oci_place *place, const struct oci_descriptor *descriptor, struct text *ret_text,
                   struct err *err)
{
        if (!place->is_docker)
                return read_verified(place, descriptor->digest, descriptor->size, ret_text, err);
        text_append_bytes(ret_text, place->config.s, place->config.n);
        return 0;
}

int oci_place_layer(struct oci_place *place, struct oci_fetch_blob *blob, struct err *err)
{
        const struct oci_descriptor *descriptor = blob->descriptor;
        scoped_free char *path = place->is_docker ? NULL : blob_path(descriptor->digest);
        const char *name = path;
        uint64_t size = 0;
        int r;

        for (unsigned i = 0; place->is_docker && i < place->n_layers; i++)
                if (strcmp(place->layer_ids[i], descriptor->digest) == 0)
                        name = place->layer_names[i];
        if (!name)
                return err_set(err, EBADMSG, OP, "%s has no layer %s", place->name, descriptor->digest);
        r = open_file(place, name, &blob->fd, &blob->offset, &size, err);
        if (r == 0 && size != descriptor->size)
                r = err_set(err, EBADMSG, OP, "%s: layer '%s' has %llu bytes, not %llu as its manifest says",
                            place->name, name, (unsigned long long) size,
                            (unsigned long long) descriptor->size);
        return r;
}
