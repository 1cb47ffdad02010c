/*
 * The grammar is that of distribution/reference (docs: "reference.go", the rules Docker and Podman share): the first
 * component is a registry when it has a dot, a colon or a capital letter, or is "localhost".
 */
#include "image/oci/oci_reference.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define OP              "image.reference"
#define HUB             "docker.io"
#define HUB_HOST        "registry-1.docker.io"
#define HUB_OLD_NAME    "index.docker.io"
#define HUB_OFFICIAL    "library/"
#define DEFAULT_TAG     "latest"
#define TAG_MAX         128U
#define REPOSITORY_MAX  255U
#define PORT_MAX        65535U
#define DIGEST_PREFIX   "sha256:"
#define DIGEST_HEX      64U
#define SHORT_DIGEST    12
#define LOWER_OR_DIGIT  "abcdefghijklmnopqrstuvwxyz0123456789"
#define LETTER_OR_DIGIT LOWER_OR_DIGIT "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

static const struct {
        const char *prefix;
        enum oci_transport transport;
} transports[] = {
        {"oci:",             OCI_TRANSPORT_LAYOUT        },
        { "oci-archive:",    OCI_TRANSPORT_OCI_ARCHIVE   },
        { "docker-archive:", OCI_TRANSPORT_DOCKER_ARCHIVE},
};

bool oci_digest_is_valid(const char *digest)
{
        return text_starts_with(digest, DIGEST_PREFIX) &&
               strlen(digest) == strlen(DIGEST_PREFIX) + DIGEST_HEX &&
               strspn(digest + strlen(DIGEST_PREFIX), "0123456789abcdef") == DIGEST_HEX;
}

static bool tag_is_valid(const char *tag)
{
        size_t n = strlen(tag);

        return n > 0 && n <= TAG_MAX && tag[0] != '.' && tag[0] != '-' &&
               strspn(tag, LETTER_OR_DIGIT "_.-") == n;
}

/* Lower case and digits, between them one '.', one or two '_', or any number of '-'. */
static bool component_is_valid(const char *s, size_t n)
{
        for (size_t at = 0;;) {
                size_t word = strspn(s + at, LOWER_OR_DIGIT), gap;

                if (word == 0 || at + word > n)
                        return false;
                at += word;
                if (at == n)
                        return true;
                gap = s[at] == '-' ? strspn(s + at, "-") : s[at] == '.' ? 1 : strspn(s + at, "_");
                if (gap == 0 || (s[at] == '_' && gap > 2))
                        return false;
                at += gap;
        }
}

static bool repository_is_valid(const char *repository)
{
        if (strlen(repository) > REPOSITORY_MAX)
                return false;
        for (const char *at = repository;;) {
                size_t n = strcspn(at, "/");

                if (!component_is_valid(at, n))
                        return false;
                if (at[n] == '\0')
                        return true;
                at += n + 1;
        }
}

/* A host name or an address, in brackets when it has colons, and perhaps a port. */
static bool registry_is_valid(const char *registry)
{
        const char *end = registry;
        uint64_t port;

        if (registry[0] == '[') {
                size_t n = strspn(registry + 1, "0123456789abcdefABCDEF:.");

                if (n == 0 || registry[1 + n] != ']')
                        return false;
                end = registry + n + 2;
        } else {
                for (;;) {
                        size_t n = strspn(end, LETTER_OR_DIGIT "-");

                        if (n == 0 || end[0] == '-' || end[n - 1] == '-')
                                return false;
                        end += n;
                        if (*end != '.')
                                break;
                        end++;
                }
        }
        if (*end == '\0')
                return true;
        return *end == ':' && text_parse_u64(end + 1, PORT_MAX, &port) == 0 && port > 0;
}

static bool is_registry(const char *s, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (s[i] == '.' || s[i] == ':' || s[i] == '[' || isupper((unsigned char) s[i]))
                        return true;
        return n == strlen("localhost") && strncmp(s, "localhost", n) == 0;
}

/* Cuts "@digest" and ":tag" off rest and takes them. A colon before the last slash is a port. */
static int take_suffixes(char *rest, const char *text, struct oci_reference *reference, struct err *err)
{
        char *at = strchr(rest, '@'), *slash, *colon;

        if (at) {
                *at = '\0';
                if (!oci_digest_is_valid(at + 1))
                        return err_set(err, EINVAL, OP,
                                       "'%s': '%.100s' is not a digest: sha256: and 64 of 0-9a-f", text,
                                       at + 1);
                reference->digest = xstrdup(at + 1);
        }
        slash = strrchr(rest, '/');
        colon = strrchr(slash ? slash : rest, ':');
        if (colon) {
                *colon = '\0';
                if (!tag_is_valid(colon + 1))
                        return err_set(err, EINVAL, OP,
                                       "'%s': '%.150s' is not a tag: at most %u letters, digits, '_', '.' "
                                       "and '-', not starting with '.' or '-'",
                                       text, colon + 1, TAG_MAX);
                reference->tag = xstrdup(colon + 1);
        } else if (!at) {
                reference->tag = xstrdup(DEFAULT_TAG);
        }
        return 0;
}

static int take_names(const char *rest, const char *text, struct oci_reference *reference, struct err *err)
{
        const char *slash = strchr(rest, '/');
        bool has_registry = slash && is_registry(rest, (size_t) (slash - rest));
        const char *path = has_registry ? slash + 1 : rest;

        reference->registry = has_registry ? strndup(rest, (size_t) (slash - rest)) : xstrdup(HUB);
        if (strcmp(reference->registry, HUB_OLD_NAME) == 0) {
                free(reference->registry);
                reference->registry = xstrdup(HUB);
        }
        if (!registry_is_valid(reference->registry))
                return err_set(err, EINVAL, OP,
                               "'%s': '%s' is not a registry: a host, perhaps ':' and a port", text,
                               reference->registry);
        if (strcmp(reference->registry, HUB) == 0 && !strchr(path, '/'))
                reference->repository = xasprintf(HUB_OFFICIAL "%s", path);
        else
                reference->repository = xstrdup(path);
        if (repository_is_valid(reference->repository))
                return 0;
        for (const char *c = path; *c != '\0'; c++)
                if (isupper((unsigned char) *c))
                        return err_set(err, EINVAL, OP,
                                       "'%s': the name '%s' has capital letters, which no repository has",
                                       text, path);
        return err_set(err, EINVAL, OP,
                       "'%s': '%s' is not a repository: lower-case letters and digits, joined by '.', '_', "
                       "'-' or '/'",
                       text, path);
}

/* Words that say what was meant are answered in its terms. */
static int check_shape(const char *text, struct err *err)
{
        size_t n = strlen(text);

        if (n == 0)
                return err_set(err, EINVAL, OP,
                               "an image has a name, such as debian or ghcr.io/owner/app:1.0");
        if (n > OCI_REFERENCE_MAX)
                return err_set(err, EINVAL, OP, "'%.40s...': an image's name has at most %u characters", text,
                               OCI_REFERENCE_MAX);
        for (size_t i = 0; i < n; i++)
                if ((unsigned char) text[i] <= ' ' || (unsigned char) text[i] >= 0x7f)
                        return err_set(err, EINVAL, OP,
                                       "an image's name has neither spaces nor characters beyond ASCII");
        if (strstr(text, "://"))
                return err_set(err, EINVAL, OP, "'%s': an image's name has no scheme; try '%s'", text,
                               strstr(text, "://") + 3);
        return 0;
}

/* "oci:DIR", "oci-archive:FILE:tag": the last colon behind the last slash begins the tag. */
static int take_place(const char *rest, const char *text, struct oci_reference *reference, struct err *err)
{
        const char *slash = strrchr(rest, '/'), *colon = strchr(slash ? slash : rest, ':');

        if (rest[0] == '\0' || rest == colon)
                return err_set(err, EINVAL, OP, "'%s' names no %s", text,
                               reference->transport == OCI_TRANSPORT_LAYOUT ? "folder" : "file");
        reference->path = colon ? strndup(rest, (size_t) (colon - rest)) : xstrdup(rest);
        if (!colon)
                return 0;
        reference->tag = xstrdup(colon + 1);
        return reference->tag[0] != '\0'
                       ? 0
                       : err_set(err, EINVAL, OP, "'%s': the tag after the last ':' is empty", text);
}

static int parse(const char *text, struct oci_reference *reference, struct err *err)
{
        scoped_free char *rest = NULL;
        int r;

        if (strcmp(text, "-") == 0) {
                reference->transport = OCI_TRANSPORT_STDIN;
                return 0;
        }
        for (size_t i = 0; i < sizeof(transports) / sizeof(transports[0]); i++)
                if (text_starts_with(text, transports[i].prefix)) {
                        reference->transport = transports[i].transport;
                        return take_place(text + strlen(transports[i].prefix), text, reference, err);
                }
        r = check_shape(text, err);
        if (r < 0)
                return r;
        rest = xstrdup(text);
        r = take_suffixes(rest, text, reference, err);
        return r < 0 ? r : take_names(rest, text, reference, err);
}

int oci_reference_parse(const char *text, struct oci_reference *ret_reference, struct err *err)
{
        struct oci_reference reference = { 0 };
        int r = parse(text, &reference, err);

        if (r < 0) {
                oci_reference_done(&reference);
                return r;
        }
        *ret_reference = reference;
        return 0;
}

void oci_reference_done(struct oci_reference *reference)
{
        free(reference->path);
        free(reference->registry);
        free(reference->repository);
        free(reference->tag);
        free(reference->digest);
        *reference = (struct oci_reference){ 0 };
}

char *oci_reference_format(const struct oci_reference *reference)
{
        const char *tag = reference->tag, *digest = reference->digest;

        for (size_t i = 0; i < sizeof(transports) / sizeof(transports[0]); i++)
                if (transports[i].transport == reference->transport)
                        return xasprintf("%s%s%s%s", transports[i].prefix, reference->path, tag ? ":" : "",
                                         tag ? tag : "");
        if (reference->transport == OCI_TRANSPORT_STDIN)
                return xstrdup("-");
        return xasprintf("%s/%s%s%s%s%s", reference->registry, reference->repository, tag ? ":" : "",
                         tag ? tag : "", digest ? "@" : "", digest ? digest : "");
}

const char *oci_reference_host(const struct oci_reference *reference)
{
        return strcmp(reference->registry, HUB) == 0 ? HUB_HOST : reference->registry;
}

/* Of a file or folder: its name up to the first of the usual endings. */
static char *name_of_place(const char *path)
{
        static const char *const endings[] = { ".tar", ".tar.gz", ".tgz", ".tar.zst", ".oci" };
        size_t n = strlen(path);
        const char *base;

        while (n > 0 && path[n - 1] == '/')
                n--;
        for (base = path + n; base > path && base[-1] != '/';)
                base--;
        for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
                size_t ending = strlen(endings[i]), length = (size_t) (path + n - base);

                if (length > ending && strncmp(path + n - ending, endings[i], ending) == 0)
                        return strndup(base, length - ending);
        }
        return strndup(base, (size_t) (path + n - base));
}

/* What a name may not have becomes a hyphen; one that is too long ends in a number made of all of it. */
static char *fit(char *owned_name, const char *identity)
{
        uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

        for (char *c = owned_name; *c != '\0'; c++)
                if (!strchr(LETTER_OR_DIGIT "._-", *c) || (c == owned_name && *c == '.'))
                        *c = '-';
        if (strlen(owned_name) <= OCI_LOCAL_NAME_MAX)
                return owned_name;
        for (; *identity != '\0'; identity++)
                hash = (hash ^ (unsigned char) *identity) * UINT64_C(0x100000001b3);
        owned_name[OCI_LOCAL_NAME_MAX - 17] = '\0';
        {
                char *shorter = xasprintf("%s-%016" PRIx64, owned_name, hash);

                free(owned_name);
                return shorter;
        }
}

char *oci_reference_local_name(const struct oci_reference *reference, bool whole)
{
        scoped_free char *identity = oci_reference_format(reference);
        scoped_text struct text name = { 0 };
        const char *base;

        if (reference->transport == OCI_TRANSPORT_STDIN)
                return xstrdup("");
        if (reference->path) {
                scoped_free char *place = name_of_place(reference->path);

                text_appendf(&name, "%s%s%s", place, reference->tag ? "-" : "",
                             reference->tag ? reference->tag : "");
                return fit(text_take(&name), identity);
        }
        base = strrchr(reference->repository, '/');
        if (whole)
                text_appendf(&name, "%s-%s", reference->registry, reference->repository);
        else
                text_append(&name, base ? base + 1 : reference->repository);
        if (reference->tag && (whole || strcmp(reference->tag, DEFAULT_TAG) != 0))
                text_appendf(&name, "-%s", reference->tag);
        if (reference->digest)
                text_appendf(&name, "-%.*s", SHORT_DIGEST, reference->digest + strlen(DIGEST_PREFIX));
        return fit(text_take(&name), identity);
}
