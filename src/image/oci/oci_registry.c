/*
 * How it works: a registry is reached over one of several endpoints: its mirrors in their order, then itself, each with or
 * without TLS as its settings allow. The first that answers the first question is asked first from then on; what a mirror
 * does not have after all, a blob perhaps, those behind it are asked for. Each endpoint has its own token, and the login is
 * for the registry itself alone.
 */
#include "image/oci/oci_registry.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/scoped.h"
#include "image/oci/oci_auth.h"

#define OP            "image.registry"
#define ENDPOINTS_MAX 16U
#define REFUSAL_MAX   ((size_t) 64 << 10)

struct endpoint {
        char *base; /* owned; "https://host" */
        bool no_verify;
        bool is_mirror;
        bool has_answered;
        bool uses_basic;
        char *bearer; /* owned */
};

struct oci_registry {
        struct oci_http http;
        const struct oci_reference *reference; /* borrowed */
        const struct oci_registry_settings *settings;
        const char *ca_path; /* borrowed */
        struct endpoint endpoints[ENDPOINTS_MAX];
        unsigned n_endpoints;
        unsigned first; /* that is asked */
        char *name;     /* owned; of the reference, for messages */
        struct oci_credentials credentials;
        bool has_looked; /* for credentials */
        bool is_login;   /* of no repository */
};

static void add_endpoint(struct oci_registry *registry, const char *scheme, const char *host, bool no_verify,
                         bool is_mirror)
{
        struct endpoint *endpoint = &registry->endpoints[registry->n_endpoints];
        size_t n;

        if (registry->n_endpoints == ENDPOINTS_MAX)
                return;
        *endpoint = (struct endpoint){ .base = xasprintf("%s%s", scheme, host),
                                       .no_verify = no_verify,
                                       .is_mirror = is_mirror };
        for (n = strlen(endpoint->base); n > 0 && endpoint->base[n - 1] == '/'; n--)
                endpoint->base[n - 1] = '\0';
        registry->n_endpoints++;
}

/* RFC 6761 §6.3, RFC 1122 §3.2.1.3: what never leaves this machine. */
static bool is_loopback(const char *host)
{
        return text_starts_with(host, "127.") || text_starts_with(host, "[::1]") ||
               (text_starts_with(host, "localhost") && strchr(":", host[strlen("localhost")]));
}

/* "registry" without a scheme is one with TLS. */
static void add_mirror(struct oci_registry *registry, const char *mirror)
{
        if (strstr(mirror, "://"))
                add_endpoint(registry, "", mirror, false, true);
        else
                add_endpoint(registry, "https://", mirror, false, true);
}

static void add_endpoints(struct oci_registry *registry)
{
        const struct oci_reference *reference = registry->reference;
        const char *host = oci_reference_host(reference);
        const json_t *settings = json_object_get(registry->settings->registries, reference->registry);
        const json_t *mirror = NULL;
        size_t i;

        registry->ca_path = *json_text(settings, "ca") ? json_text(settings, "ca") : NULL;
        json_array_foreach (registry->is_login ? NULL : json_object_get(settings, "mirrors"), i, mirror)
                if (i + 3 < ENDPOINTS_MAX && json_is_string(mirror))
                        add_mirror(registry, json_string_value(mirror));
        if (json_flag(settings, "insecure")) {
                add_endpoint(registry, "https://", host, true, false);
                add_endpoint(registry, "http://", host, true, false);
        } else if (is_loopback(host) && !registry->ca_path) {
                add_endpoint(registry, "http://", host, false, false);
                add_endpoint(registry, "https://", host, false, false);
        } else {
                add_endpoint(registry, "https://", host, false, false);
        }
}

/* name: consumed. */
static int make(const struct oci_reference *reference, const struct oci_registry_settings *settings,
                char *name, bool is_login, struct oci_registry **ret_registry, struct err *err)
{
        struct oci_registry *registry = xcalloc(1, sizeof(*registry));
        int r;

        registry->reference = reference;
        registry->settings = settings;
        registry->name = name;
        registry->is_login = is_login;
        add_endpoints(registry);
        r = oci_http_init(&registry->http, err);
        if (r < 0) {
                oci_registry_free(registry);
                return r;
        }
        *ret_registry = registry;
        return 0;
}

int oci_registry_new(const struct oci_reference *reference, const struct oci_registry_settings *settings,
                     struct oci_registry **ret_registry, struct err *err)
{
        return make(reference, settings, oci_reference_format(reference), false, ret_registry, err);
}

void oci_registry_free(struct oci_registry *registry)
{
        if (!registry)
                return;
        oci_http_done(&registry->http);
        oci_credentials_done(&registry->credentials);
        for (unsigned i = 0; i < registry->n_endpoints; i++) {
                free(registry->endpoints[i].base);
                free(registry->endpoints[i].bearer);
        }
        free(registry->name);
        free(registry);
}

/* What every request to an endpoint has in common. */
static void fill_request(const struct oci_registry *registry, unsigned at, struct oci_http_request *request)
{
        const struct endpoint *endpoint = &registry->endpoints[at];

        request->ca_path = registry->ca_path;
        request->no_verify = endpoint->no_verify;
        request->bearer = endpoint->bearer;
        request->user = endpoint->uses_basic ? registry->credentials.user : NULL;
        request->secret = endpoint->uses_basic ? registry->credentials.secret : NULL;
        request->asks_once = !endpoint->has_answered && at + 1 < registry->n_endpoints;
        if (endpoint->is_mirror)
                request->tries = 1; /* the registry itself is there */
}

/* The registry's own words are {"errors": [{"code", "message"}]} (distribution-spec, "Error Codes"). */
static void add_words(struct text *text, const char *body)
{
        json_auto_t *document = body ? json_loads(body, 0, NULL) : NULL;
        const json_t *first = json_array_get(json_object_get(document, "errors"), 0);
        const char *words =
                *json_text(first, "message") ? json_text(first, "message") : json_text(first, "code");
        char shown[200];

        oci_http_show(words, shown, sizeof(shown));
        if (*shown != '\0')
                text_appendf(text, " (it says: %s)", shown);
}

int oci_registry_refusal(const struct oci_registry *registry, long status, const char *body, const char *what,
                         struct err *err)
{
        const char *host = registry->reference->registry;
        bool has_login = registry->credentials.user || registry->credentials.identity_token;
        scoped_text struct text words = { 0 };

        add_words(&words, body);
        if (status == 404)
                return err_set(err, ENOENT, OP, "%s: the registry has no such %s%s", registry->name, what,
                               words.n ? words.s : "");
        if (status == 401 || status == 403)
                return err_set(
                        err, EACCES, OP,
                        has_login
                                ? "%s: %s refuses the %s to the login that is kept here: no such repository, "
                                  "or not "
                                  "for this user%s"
                                : "%s: %s refuses the %s: no such repository, or one that needs a login; try "
                                  "'banger registry login'%s",
                        registry->name, host, what, words.n ? words.s : "");
        if (status == 429)
                return err_set(err, EBUSY, OP,
                               "%s: %s has had too many requests from here; try again later%s",
                               registry->name, host, words.n ? words.s : "");
        return err_set(err, EIO, OP, "%s: %s answers %ld where the %s was asked for%s", registry->name, host,
                       status, what, words.n ? words.s : "");
}

static int look_for_credentials(struct oci_registry *registry, struct err *err)
{
        const struct oci_reference *reference = registry->reference;

        if (registry->has_looked || !registry->settings->credential_files)
                return 0;
        registry->has_looked = true;
        return oci_credentials_find(registry->settings->credential_files, reference->registry,
                                    reference->repository, &registry->credentials, err);
}

int oci_registry_authenticate(struct oci_registry *registry, unsigned at, const char *header, struct err *err)
{
        static const struct oci_credentials none = { 0 };
        scoped(oci_challenge_done) struct oci_challenge challenge = { 0 };
        struct endpoint *endpoint = &registry->endpoints[at];
        const struct oci_http_request like = { .url = endpoint->base,
                                               .ca_path = registry->ca_path,
                                               .no_verify = endpoint->no_verify };
        /* a mirror is somebody else: the registry's login is not for it */
        const struct oci_credentials *login = endpoint->is_mirror ? &none : &registry->credentials;
        char *token = NULL;
        int r = endpoint->is_mirror ? 0 : look_for_credentials(registry, err);

        if (r < 0)
                return r;
        oci_challenge_parse(header, &challenge);
        if (challenge.scheme == OCI_AUTH_BASIC && login->user && !endpoint->uses_basic) {
                endpoint->uses_basic = true;
                return 0;
        }
        if (challenge.scheme != OCI_AUTH_BEARER)
                return oci_registry_refusal(registry, 401, NULL, "image", err);
        if (registry->is_login) /* some registries name the scope of an example */
                free(take_ptr(challenge.scope));
        else if (!challenge.scope)
                challenge.scope = xasprintf("repository:%s:pull", registry->reference->repository);
        r = oci_token_get(&registry->http, &challenge, login, &like, &token, err);
        if (r < 0)
                return err_wrap(err, "%s", registry->name);
        free(endpoint->bearer);
        endpoint->bearer = token;
        return 0;
}

/* A server that wanted TLS, one that has none, a mirror that lacks the thing or is down: the next endpoint may do. */
static bool has_next(const struct oci_registry *registry, unsigned at, bool is_answer, long status)
{
        const struct endpoint *endpoint = &registry->endpoints[at];

        if (at + 1 == registry->n_endpoints)
                return false;
        if (endpoint->is_mirror)
                return !is_answer || status != 200;
        if (endpoint->has_answered)
                return false;
        return !is_answer || (status == 400 && text_starts_with(endpoint->base, "http://"));
}

bool oci_registry_goes_on(struct oci_registry *registry, unsigned *at, bool is_answer, long status)
{
        struct endpoint *endpoint = &registry->endpoints[*at];
        bool goes_on = has_next(registry, *at, is_answer, status);

        if (status != 0 && !goes_on)
                endpoint->has_answered = true;
        *at += goes_on;
        return goes_on;
}

/* One question to one endpoint, with one answer to its challenge. */
static int ask_at(struct oci_registry *registry, unsigned at, const char *path,
                  struct oci_http_request request, struct oci_http_answer *ret_answer, struct err *err)
{
        scoped_free char *url = xasprintf("%s%s", registry->endpoints[at].base, path);

        for (bool again = false;; again = true) {
                scoped(oci_http_answer_done) struct oci_http_answer answer = { 0 };
                int r;

                request.url = url;
                fill_request(registry, at, &request);
                r = oci_http_ask(&registry->http, &request, &answer, err);
                if (r < 0)
                        return r;
                if (answer.status == 401 && answer.headers.authenticate && !again) {
                        r = oci_registry_authenticate(registry, at, answer.headers.authenticate, err);
                        if (r < 0)
                                return r;
                        continue;
                }
                *ret_answer = answer;
                answer = (struct oci_http_answer){ 0 };
                return 0;
        }
}

static int ask(struct oci_registry *registry, const char *path, struct oci_http_request request,
               struct oci_http_answer *ret_answer, struct err *err)
{
        unsigned at = registry->first;
        struct err first = { 0 };

        for (;;) {
                bool is_mirror = registry->endpoints[at].is_mirror;
                struct err failure = { 0 };
                int r = ask_at(registry, at, path, request, ret_answer, &failure);

                if (!oci_registry_goes_on(registry, &at, r == 0, ret_answer->status)) {
                        /* what the registry's first way said is nearer to the point than what the fallback did */
                        if (r < 0)
                                *err = first.code && !is_mirror ? first : failure;
                        else if (!registry->endpoints[registry->first].has_answered)
                                registry->first = at;
                        return r < 0 ? -err->code : 0;
                }
                if (r < 0 && !is_mirror)
                        first = failure;
                oci_http_answer_done(ret_answer);
        }
}

bool oci_registry_leave_mirrors(struct oci_registry *registry)
{
        unsigned was = registry->first;

        while (registry->endpoints[registry->first].is_mirror && registry->first + 1 < registry->n_endpoints)
                registry->first++;
        return registry->first != was;
}

static char *manifest_path(const struct oci_registry *registry, const char *digest)
{
        const struct oci_reference *reference = registry->reference;

        if (!digest)
                digest = reference->digest ? reference->digest : reference->tag;
        return xasprintf("/v2/%s/manifests/%s", reference->repository, digest);
}

int oci_registry_resolve(struct oci_registry *registry, char ret_digest[OCI_DIGEST_MAX], struct err *err)
{
        scoped(oci_http_answer_done) struct oci_http_answer answer = { 0 };
        scoped_free char *path = manifest_path(registry, NULL);
        const struct oci_http_request request = { .method = "HEAD", .accept = oci_manifest_accept };
        int r = ask(registry, path, request, &answer, err);

        ret_digest[0] = '\0';
        if (r < 0)
                return r;
        if (answer.status != 200)
                return oci_registry_refusal(registry, answer.status, NULL, "image", err);
        if (answer.headers.digest && oci_digest_is_valid(answer.headers.digest))
                (void) snprintf(ret_digest, OCI_DIGEST_MAX, "%s", answer.headers.digest);
        return 0;
}

int oci_registry_manifest(struct oci_registry *registry, const char *digest, struct text *ret_text,
                          char ret_digest[OCI_DIGEST_MAX], struct err *err)
{
        scoped(oci_http_answer_done) struct oci_http_answer answer = { 0 };
        scoped_free char *path = manifest_path(registry, digest);
        const struct oci_http_request request = { .accept = oci_manifest_accept, .max = OCI_MANIFEST_MAX };
        const char *wanted = digest ? digest : registry->reference->digest;
        int r = ask(registry, path, request, &answer, err);

        if (r < 0)
                return r;
        if (answer.status != 200)
                return oci_registry_refusal(registry, answer.status, answer.body.s, "image", err);
        oci_digest_of(answer.body.s ? answer.body.s : "", answer.body.n, ret_digest);
        if (wanted && strcmp(ret_digest, wanted) != 0 && oci_registry_leave_mirrors(registry))
                return oci_registry_manifest(registry, digest, ret_text, ret_digest, err);
        if (wanted && strcmp(ret_digest, wanted) != 0)
                return err_set(err, EBADMSG, OP,
                               "%s: the registry sends a manifest whose digest is %s, not %s", registry->name,
                               ret_digest, wanted);
        *ret_text = answer.body;
        answer.body = (struct text){ 0 };
        return 0;
}

unsigned oci_registry_first(const struct oci_registry *registry)
{
        return registry->first;
}

void oci_registry_blob_request(const struct oci_registry *registry, unsigned at, const char *digest,
                               struct oci_http_request *ret_request, char **ret_url)
{
        *ret_url = xasprintf("%s/v2/%s/blobs/%s", registry->endpoints[at].base,
                             registry->reference->repository, digest);
        *ret_request = (struct oci_http_request){ .url = *ret_url };
        fill_request(registry, at, ret_request);
}

int oci_registry_blob(struct oci_registry *registry, const struct oci_descriptor *descriptor,
                      struct text *ret_text, struct err *err)
{
        scoped(oci_http_answer_done) struct oci_http_answer answer = { 0 };
        scoped_free char *path =
                xasprintf("/v2/%s/blobs/%s", registry->reference->repository, descriptor->digest);
        const size_t max = (size_t) descriptor->size > REFUSAL_MAX ? (size_t) descriptor->size : REFUSAL_MAX;
        char digest[OCI_DIGEST_MAX];
        int r = ask(registry, path, (struct oci_http_request){ .max = max }, &answer, err);

        if (r < 0)
                return r;
        if (answer.status != 200)
                return oci_registry_refusal(registry, answer.status, answer.body.s, "configuration", err);
        oci_digest_of(answer.body.s ? answer.body.s : "", answer.body.n, digest);
        if (strcmp(digest, descriptor->digest) != 0 && oci_registry_leave_mirrors(registry))
                return oci_registry_blob(registry, descriptor, ret_text, err);
        if (strcmp(digest, descriptor->digest) != 0)
                return err_set(err, EBADMSG, OP, "%s: the registry sends a blob whose digest is %s, not %s",
                               registry->name, digest, descriptor->digest);
        *ret_text = answer.body;
        answer.body = (struct text){ 0 };
        return 0;
}

int oci_registry_login(const char *host, const struct oci_registry_settings *settings,
                       const struct oci_credentials *credentials, struct err *err)
{
        scoped(oci_http_answer_done) struct oci_http_answer answer = { 0 };
        scoped(oci_registry_free) struct oci_registry *registry = NULL;
        char empty[] = "";
        struct oci_reference reference = { .registry = (char *) (uintptr_t) host,
                                           .repository = empty,
                                           .tag = empty };
        int r = make(&reference, settings, xstrdup(host), true, &registry, err);

        if (r < 0)
                return r;
        registry->has_looked = true;
        registry->credentials.user = xstrdup(credentials->user);
        registry->credentials.secret = xstrdup(credentials->secret);
        r = ask(registry, "/v2/", (struct oci_http_request){ .max = REFUSAL_MAX }, &answer, err);
        if (r == 0 && answer.status != 200)
                r = oci_registry_refusal(registry, answer.status, answer.body.s, "login", err);
        return r;
}
