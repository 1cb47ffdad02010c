#include "image/oci/oci_auth.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/scoped.h"
#include "base/text.h"

#define OP        "registry.token"
#define CLIENT_ID "banger"
#define TCHAR \
        "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" /* RFC 9110 §5.6.2 */

void oci_challenge_done(struct oci_challenge *challenge)
{
        free(challenge->realm);
        free(challenge->service);
        free(challenge->scope);
        *challenge = (struct oci_challenge){ 0 };
}

/* The value after '=': a token or a quoted string. Returns where it ends, NULL when it does not. */
static const char *take_value(const char *at, struct text *value)
{
        size_t n;

        if (*at != '"') {
                n = strspn(at, TCHAR);
                text_append_bytes(value, at, n);
                return at + n;
        }
        for (at++; *at != '"'; at++) {
                if (*at == '\\' && at[1] != '\0')
                        at++;
                if (*at == '\0' || *at == '\n')
                        return NULL;
                text_append_bytes(value, at, 1);
        }
        return at + 1;
}

/* name=value, name="value", ... up to the end of the line. */
static void take_parameters(const char *at, struct oci_challenge *challenge)
{
        while (at) {
                scoped_text struct text value = { 0 };
                const char *name;
                char **slot;
                size_t n;

                at += strspn(at, " \t,");
                name = at;
                n = strspn(at, TCHAR);
                at += n;
                if (n == 0 || *at != '=')
                        return;
                at = take_value(at + 1, &value);
                slot = n == 5 && strncasecmp(name, "realm", n) == 0     ? &challenge->realm
                       : n == 7 && strncasecmp(name, "service", n) == 0 ? &challenge->service
                       : n == 5 && strncasecmp(name, "scope", n) == 0   ? &challenge->scope
                                                                        : NULL;
                if (at && slot && !*slot)
                        *slot = text_take(&value);
        }
}

/* One line of the header: true when there is nothing better to come. */
static bool take_line(const char *line, struct oci_challenge *challenge)
{
        if (strncasecmp(line, "Bearer ", 7) == 0) {
                oci_challenge_done(challenge);
                take_parameters(line + 7, challenge);
                if (challenge->realm) {
                        challenge->scheme = OCI_AUTH_BEARER;
                        return true;
                }
                oci_challenge_done(challenge);
        } else if (strncasecmp(line, "Basic", 5) == 0 && (line[5] == ' ' || line[5] == '\0')) {
                challenge->scheme = OCI_AUTH_BASIC;
        }
        return false;
}

void oci_challenge_parse(const char *header, struct oci_challenge *ret_challenge)
{
        *ret_challenge = (struct oci_challenge){ 0 };
        for (const char *line = header; line && *line != '\0';) {
                const char *end = strchr(line, '\n');

                if (take_line(line, ret_challenge))
                        return;
                line = end ? end + 1 : NULL;
        }
}

static void add_query(CURL *easy, struct text *query, const char *name, const char *value)
{
        char *escaped = value ? curl_easy_escape(easy, value, 0) : NULL;

        if (escaped)
                text_appendf(query, "%s%s=%s", query->n ? "&" : "", name, escaped);
        curl_free(escaped);
}

/* distribution docs "Token Authentication Specification", and "... using OAuth2" for identity tokens. */
static int ask_realm(struct oci_http *http, const struct oci_challenge *challenge,
                     const struct oci_credentials *credentials, const struct oci_http_request *like,
                     struct oci_http_answer *answer, struct err *err)
{
        scoped_text struct text query = { 0 };
        scoped_free char *url = NULL;
        struct oci_http_request request = { .ca_path = like->ca_path,
                                            .no_verify = like->no_verify,
                                            .max = OCI_TOKEN_MAX };

        add_query(http->easy, &query, "service", challenge->service);
        add_query(http->easy, &query, "scope", challenge->scope);
        if (credentials->identity_token) {
                add_query(http->easy, &query, "grant_type", "refresh_token");
                add_query(http->easy, &query, "client_id", CLIENT_ID);
                add_query(http->easy, &query, "refresh_token", credentials->identity_token);
                request.form = query.n ? query.s : "";
                request.url = challenge->realm;
                return oci_http_ask(http, &request, answer, err);
        }
        url = xasprintf("%s%s%s", challenge->realm, strchr(challenge->realm, '?') ? "&" : "?",
                        query.n ? query.s : "");
        request.url = url;
        request.user = credentials->user;
        request.secret = credentials->secret;
        return oci_http_ask(http, &request, answer, err);
}

/* A token goes into a header line: nothing that would end it. */
static bool token_is_valid(const char *token)
{
        for (const char *c = token; *c != '\0'; c++)
                if (*c <= ' ' || *c > '~')
                        return false;
        return *token != '\0';
}

int oci_token_get(struct oci_http *http, const struct oci_challenge *challenge,
                  const struct oci_credentials *credentials, const struct oci_http_request *like,
                  char **ret_token, struct err *err)
{
        scoped(oci_http_answer_done) struct oci_http_answer answer = { 0 };
        bool plain = text_starts_with(like->url, "http://");
        json_auto_t *document = NULL;
        const char *token;
        char realm[200];
        int r;

        oci_http_show(challenge->realm, realm, sizeof(realm));
        if (!text_starts_with(challenge->realm, "https://") &&
            !(plain && text_starts_with(challenge->realm, "http://")))
                return err_set(err, EINVAL, OP, "the registry sends us for a token to '%s', which has no TLS",
                               realm);
        r = ask_realm(http, challenge, credentials, like, &answer, err);
        if (r < 0)
                return r;
        if (answer.status == 401 || answer.status == 403)
                return err_set(err, EACCES, OP, "'%s' refuses %s", realm,
                               credentials->user || credentials->identity_token
                                       ? "the login that is kept here"
                                       : "those who have no login");
        if (answer.status != 200)
                return err_set(err, EIO, OP, "'%s' answers %ld where a token was asked for", realm,
                               answer.status);
        r = json_parse(answer.body.s ? answer.body.s : "", answer.body.n, "the token server's answer",
                       &document, err);
        if (r < 0)
                return r;
        token = json_text(document, "token");
        if (*token == '\0')
                token = json_text(document, "access_token");
        if (!token_is_valid(token))
                return err_set(err, EBADMSG, OP, "'%s' answers without a token", realm);
        *ret_token = xstrdup(token);
        return 0;
}
