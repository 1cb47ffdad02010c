#include "image/oci/oci_docker_config.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/json.h"
#include "base/scoped.h"
#include "base/spawn.h"
#include "base/text.h"

#define OP            "registry.credentials"
#define HUB           "docker.io"
#define HUB_KEY       "https://index.docker.io/v1/" /* docker/cli, registry.IndexServer: the key of Docker Hub */
#define HELPER_MS     30000
#define HELPER_MAX    ((size_t) 64 << 10)
#define HELPER_PREFIX "docker-credential-"
#define IDENTITY_USER "<token>" /* docker-credential-helpers: the secret is an identity token */
#define SECRET_MAX    ((size_t) 32 << 10)

static void wipe(char *secret)
{
        if (secret)
                OPENSSL_cleanse(secret, strlen(secret));
        free(secret);
}

void oci_credentials_done(struct oci_credentials *credentials)
{
        free(credentials->user);
        wipe(credentials->secret);
        wipe(credentials->identity_token);
        *credentials = (struct oci_credentials){ 0 };
}

void oci_docker_login_done(struct oci_docker_login *login)
{
        oci_credentials_done(&login->credentials);
        free(login->helper);
        free(login->server);
        *login = (struct oci_docker_login){ 0 };
}

/* "https://host/v1/" -> "host": the forms that keys have had over the years. Owned by the caller. */
static char *plain_key(const char *key)
{
        static const char *const schemes[] = { "https://", "http://" }, *const endings[] = { "/", "/v1",
                                                                                             "/v2" };
        char *plain;

        for (size_t i = 0; i < 2; i++)
                if (text_starts_with(key, schemes[i]))
                        key += strlen(schemes[i]);
        plain = xstrdup(key);
        for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++)
                if (text_ends_with(plain, endings[i]))
                        plain[strlen(plain) - strlen(endings[i])] = '\0';
        if (strcmp(plain, "index.docker.io") == 0 || strcmp(plain, "registry-1.docker.io") == 0) {
                free(plain);
                plain = xstrdup(HUB);
        }
        return plain;
}

/* How much of registry/repository the key covers (containers-auth.json(5) has keys with a path); 0: it does not. */
static size_t covers(const char *key, const char *registry, const char *repository)
{
        scoped_free char *plain = plain_key(key), *name = xasprintf("%s/%s", registry, repository);
        size_t n = strlen(plain);

        return n > 0 && strncmp(plain, name, n) == 0 && (name[n] == '/' || name[n] == '\0') ? n : 0;
}

/* "user:secret" in base64 (RFC 4648 §4). */
static int decode_auth(const char *text, const char *key, struct oci_credentials *credentials,
                       struct err *err)
{
        size_t n = strlen(text);
        scoped_free unsigned char *plain = NULL;
        char *colon;
        int length;

        if (n == 0 || n > SECRET_MAX || n % 4 != 0)
                return err_set(err, EBADMSG, OP, "the entry of '%.100s' has no base64 in \"auth\"", key);
        plain = xcalloc(1, n + 1);
        length = EVP_DecodeBlock(plain, (const unsigned char *) text, (int) n);
        colon = length > 0 ? strchr((char *) plain, ':') : NULL;
        if (!colon)
                return err_set(err, EBADMSG, OP, "the \"auth\" of '%.100s' is not user:secret in base64",
                               key);
        *colon = '\0';
        credentials->user = xstrdup((char *) plain);
        credentials->secret = xstrdup(colon + 1); /* the padding decoded to NULs */
        OPENSSL_cleanse(plain, n);
        return 0;
}

static int read_entry(const json_t *entry, const char *key, struct oci_credentials *credentials,
                      struct err *err)
{
        const char *token = json_text(entry, "identitytoken"), *user = json_text(entry, "username");
        const char *secret = json_text(entry, "password"), *auth = json_text(entry, "auth");

        if (*token != '\0')
                credentials->identity_token = xstrdup(token);
        if (*token != '\0' || (*auth == '\0' && *user == '\0'))
                return 0;
        if (*auth != '\0')
                return decode_auth(auth, key, credentials, err);
        credentials->user = xstrdup(user);
        credentials->secret = xstrdup(secret);
        return 0;
}

static bool helper_is_valid(const char *helper)
{
        size_t n = strlen(helper);

        return n > 0 && n <= 64 &&
               strspn(helper, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

static int use_helper(const char *helper, const char *server, struct oci_docker_login *login, struct err *err)
{
        if (!helper_is_valid(helper))
                return err_set(err, EBADMSG, OP, "'%.80s' is not the name of a credential helper", helper);
        login->helper = xstrdup(helper);
        login->server = xstrdup(server);
        return 0;
}

/* The key below auths that covers most of the name; NULL: none does. */
static const char *find_entry(const json_t *auths, const char *registry, const char *repository)
{
        const char *best = NULL, *key;
        json_t *value;
        size_t best_n = 0;

        json_object_foreach ((json_t *) (uintptr_t) auths, key, value) {
                size_t n = covers(key, registry, repository);

                if (n > best_n && json_is_object(value)) {
                        best_n = n;
                        best = key;
                }
        }
        return best;
}

/* docker/cli, configfile.GetCredentialsStore: the registry's own helper. NULL: it has none. */
static const char *find_helper(const json_t *helpers, const char *registry, const char *repository)
{
        const char *key;
        json_t *value;

        json_object_foreach ((json_t *) (uintptr_t) helpers, key, value)
                if (json_is_string(value) && covers(key, registry, repository) > 0)
                        return key;
        return NULL;
}

int oci_docker_config_find(const json_t *document, const char *registry, const char *repository,
                           struct oci_docker_login *ret_login, struct err *err)
{
        const json_t *auths = json_object_get(document, "auths"),
                     *helpers = json_object_get(document, "credHelpers");
        const char *store = json_text(document, "credsStore");
        const char *own = find_helper(helpers, registry, repository);
        const char *entry = find_entry(auths, registry, repository);

        if (own)
                return use_helper(json_text(helpers, own), own, ret_login, err);
        if (*store == '\0')
                return entry ? read_entry(json_object_get(auths, entry), entry, &ret_login->credentials, err)
                             : 0;
        if (!entry)
                entry = strcmp(registry, HUB) == 0 ? HUB_KEY : registry;
        return use_helper(store, entry, ret_login, err);
}

static int memory_file(const char *content, struct err *err)
{
        int fd = memfd_create("banger-credentials", MFD_CLOEXEC), r;

        if (fd < 0)
                return err_errno(err, OP, "memory file");
        r = fd_write_full(fd, content, strlen(content));
        if (r == 0 && lseek(fd, 0, SEEK_SET) == 0)
                return fd;
        (void) close(fd);
        return err_set(err, EIO, OP, "memory file: %s", strerror(-r));
}

/* Runs "docker-credential-X get" with the server on its input: its exit status, or -code. */
static int run_helper(const char *program, const char *server, int output, struct err *err)
{
        const char *const argv[] = { program, "get", NULL };
        scoped_close int input = memory_file(server, err), pidfd = FD_NONE;
        struct spawn spawn = { .argv = argv,
                               .stdin_fd = input,
                               .stdout_fd = output,
                               .stderr_fd = FD_NONE,
                               .death_signal = SIGKILL };
        pid_t pid;
        int r = input < 0 ? input : spawn_start(&spawn, &pid, &pidfd, err);

        if (r < 0)
                return err_wrap(err, "credential helper");
        r = fd_wait(pidfd, POLLIN, HELPER_MS);
        if (r < 0)
                (void) kill(pid, SIGKILL);
        if (r == -ETIMEDOUT) {
                (void) spawn_wait(pid, err);
                return err_set(err, ETIMEDOUT, OP, "'%s' did not answer within %d s", program,
                               HELPER_MS / 1000);
        }
        return spawn_wait(pid, err);
}

/* A helper tells on its standard output, in one line, why there is no answer. */
static int helper_failure(const char *program, int status, const char *text, struct err *err)
{
        scoped_free char *line = NULL;

        /* docker-credential-helpers, credentials/error.go: this very text says that it has none */
        if (strstr(text, "credentials not found"))
                return 0;
        line = xasprintf("%.*s", (int) strcspn(text, "\r\n"), text);
        text_make_printable(line);
        return err_set(err, EIO, OP, "'%s get' ended with status %d%s%.200s", program, status,
                       line[0] != '\0' ? ": " : "", line);
}

static int ask_helper(const char *helper, const char *server, struct oci_credentials *credentials,
                      struct err *err)
{
        scoped_free char *program = xasprintf(HELPER_PREFIX "%s", helper), *text = NULL;
        scoped_close int output = memory_file("", err);
        json_auto_t *answer = NULL;
        ssize_t n;
        int status = output < 0 ? output : run_helper(program, server, output, err);

        if (status < 0)
                return status;
        text = xcalloc(1, HELPER_MAX + 1);
        n = pread(output, text, HELPER_MAX, 0);
        if (n < 0)
                return err_errno(err, OP, "read what '%s' says", program);
        if (status != 0)
                return helper_failure(program, status, text, err);
        if (json_parse(text, (size_t) n, program, &answer, err) < 0)
                return -err->code;
        if (strcmp(json_text(answer, "Username"), IDENTITY_USER) == 0) {
                credentials->identity_token = xstrdup(json_text(answer, "Secret"));
        } else {
                credentials->user = xstrdup(json_text(answer, "Username"));
                credentials->secret = xstrdup(json_text(answer, "Secret"));
        }
        OPENSSL_cleanse(text, HELPER_MAX);
        return 0;
}

static bool is_found(const struct oci_credentials *credentials)
{
        return credentials->user || credentials->identity_token;
}

static int find_in(const char *path, const char *registry, const char *repository,
                   struct oci_credentials *credentials, struct err *err)
{
        scoped(oci_docker_login_done) struct oci_docker_login login = { 0 };
        json_auto_t *document = NULL;
        int r = json_read_file(path, OCI_DOCKER_CONFIG_MAX, &document, err);

        if (r == -ENOENT || r == -ENOTDIR) {
                *err = (struct err){ 0 };
                return 0;
        }
        if (r == 0)
                r = oci_docker_config_find(document, registry, repository, &login, err);
        if (r == 0 && login.helper)
                r = ask_helper(login.helper, login.server, &login.credentials, err);
        if (r < 0)
                return err_wrap(err, "'%s'", path);
        *credentials = login.credentials;
        login.credentials = (struct oci_credentials){ 0 };
        return 0;
}

int oci_credentials_find(const char *const *paths, const char *registry, const char *repository,
                         struct oci_credentials *ret_credentials, struct err *err)
{
        struct oci_credentials credentials = { 0 };
        int r = 0;

        for (; *paths && r == 0 && !is_found(&credentials); paths++)
                r = find_in(*paths, registry, repository, &credentials, err);
        if (r < 0) {
                oci_credentials_done(&credentials);
                return r;
        }
        *ret_credentials = credentials;
        return 0;
}

json_t *oci_credentials_entry(const struct oci_credentials *credentials)
{
        scoped_free char *plain = NULL;
        scoped_free unsigned char *encoded = NULL;
        json_t *entry;
        size_t n;

        if (credentials->identity_token)
                return json_pack("{s:s}", "identitytoken", credentials->identity_token);
        plain = xasprintf("%s:%s", credentials->user, credentials->secret);
        n = strlen(plain);
        encoded = xcalloc(1, n / 3 * 4 + 5);
        (void) EVP_EncodeBlock(encoded, (const unsigned char *) plain, (int) n);
        entry = json_pack("{s:s}", "auth", (const char *) encoded);
        OPENSSL_cleanse(plain, n);
        OPENSSL_cleanse(encoded, n / 3 * 4 + 5);
        return entry;
}

int oci_credentials_store(const char *path, const char *registry, const struct oci_credentials *credentials,
                          struct err *err)
{
        const char *key = strcmp(registry, HUB) == 0 ? HUB_KEY : registry;
        json_auto_t *document = NULL;
        json_t *auths;
        int r = json_read_file(path, OCI_DOCKER_CONFIG_MAX, &document, err);

        if (r < 0 && r != -ENOENT)
                return r;
        *err = (struct err){ 0 };
        if (!json_is_object(document)) {
                json_decref(document);
                document = json_object();
        }
        auths = json_object_get(document, "auths");
        if (!json_is_object(auths)) {
                (void) json_object_set_new(document, "auths", json_object());
                auths = json_object_get(document, "auths");
        }
        if (!credentials && json_object_del(auths, key) < 0)
                return err_set(err, ENOENT, OP, "there is no login for %s here", registry);
        if (credentials)
                (void) json_object_set_new(auths, key, oci_credentials_entry(credentials));
        return json_write_file(path, document, S_IRUSR | S_IWUSR, err);
}
