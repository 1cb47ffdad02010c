#include "image/oci/oci_http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>

#include "base/scoped.h"
#include "base/version.h"

#define OP                "image.http"
#define REDIRECTS_MAX     10L
#define CONNECT_MS        15000L
#define STALL_BYTES       1L  /* slower than this ... */
#define STALL_S           30L /* ... for so long is a cut connection */
#define HEADERS_MAX       ((size_t) 64 << 10)
#define PAUSE_FIRST_MS    500U
#define PAUSE_MAX_MS      30000U
#define RETRY_AFTER_MAX_S 60U
#define TOO_MANY          429L
#define LOOPBACK          "localhost,127.0.0.0/8,::1" /* RFC 6761 §6.3, RFC 1122 §3.2.1.3 */
#define SERVER_ERROR      500L

static void set_text(char **slot, const char *value, size_t n)
{
        free(*slot);
        *slot = strndup(value, n);
}

static void add_line(char **slot, const char *value, size_t n)
{
        char *joined = xasprintf("%s%s%.*s", *slot ? *slot : "", *slot ? "\n" : "", (int) n, value);

        free(*slot);
        *slot = joined;
}

/* Seconds, or a date (RFC 9110 §10.2.3). */
static uint64_t read_retry_after(const char *value, size_t n)
{
        scoped_free char *text = strndup(value, n);
        uint64_t seconds;
        time_t at, now = time(NULL);

        if (!text)
                return 0;
        if (text_parse_u64(text, RETRY_AFTER_MAX_S, &seconds) == 0)
                return seconds * 1000;
        if (text[0] >= '0' && text[0] <= '9')
                return RETRY_AFTER_MAX_S * UINT64_C(1000);
        at = curl_getdate(text, NULL);
        if (at <= now)
                return 0;
        return (uint64_t) (at - now < RETRY_AFTER_MAX_S ? at - now : RETRY_AFTER_MAX_S) * 1000;
}

static void take_header(struct oci_http_headers *headers, const char *name, size_t n_name, const char *value,
                        size_t n_value)
{
#define IS(word) (n_name == strlen(word) && strncasecmp(name, word, n_name) == 0)
        if (IS("content-type"))
                set_text(&headers->content_type, value, n_value);
        else if (IS("docker-content-digest"))
                set_text(&headers->digest, value, n_value);
        else if (IS("www-authenticate"))
                add_line(&headers->authenticate, value, n_value);
        else if (IS("content-range"))
                set_text(&headers->range, value, n_value);
        else if (IS("retry-after"))
                headers->retry_after_ms = read_retry_after(value, n_value);
#undef IS
}

/* CURLOPT_HEADERFUNCTION(3): one call a line; those of a redirect come first, so a status line begins anew. */
static size_t on_header(char *line, size_t size, size_t n, void *userdata)
{
        struct oci_http_headers *headers = userdata;
        const char *colon = memchr(line, ':', n), *end = line + n;

        (void) size;
        headers->n += n;
        if (headers->n > HEADERS_MAX)
                return 0;
        if (n >= 5 && memcmp(line, "HTTP/", 5) == 0) {
                size_t seen = headers->n;

                oci_http_headers_done(headers);
                headers->n = seen;
                return n;
        }
        if (!colon)
                return n;
        while (end > colon + 1 && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' '))
                end--;
        for (line[colon - line] = '\0'; ++colon < end && *colon == ' ';)
                continue;
        take_header(headers, line, strlen(line), colon, (size_t) (end - colon));
        return n;
}

void oci_http_headers_done(struct oci_http_headers *headers)
{
        free(headers->content_type);
        free(headers->digest);
        free(headers->authenticate);
        free(headers->range);
        *headers = (struct oci_http_headers){ 0 };
}

void oci_http_answer_done(struct oci_http_answer *answer)
{
        text_done(&answer->body);
        oci_http_headers_done(&answer->headers);
        *answer = (struct oci_http_answer){ 0 };
}

/* libcurl reads this one in small letters alone, for the sake of CGI programs (CURLOPT_PROXY(3)), which we are not. */
static void read_proxy(void)
{
        const char *proxy = getenv("HTTP_PROXY");

        if (proxy)
                (void) setenv("http_proxy", proxy, 0);
}

int oci_http_init(struct oci_http *http, struct err *err)
{
        *http = (struct oci_http){ 0 };
        read_proxy();
        if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
                return err_set(err, ENOMEM, OP, "libcurl cannot be used");
        http->easy = curl_easy_init();
        return http->easy ? 0 : err_set(err, ENOMEM, OP, "libcurl cannot be used");
}

void oci_http_done(struct oci_http *http)
{
        if (http->easy)
                curl_easy_cleanup(http->easy);
        *http = (struct oci_http){ 0 };
}

void oci_http_show(const char *text, char *out, size_t n)
{
        size_t i = 0;

        for (; i + 1 < n && text[i] != '\0'; i++)
                if (text[i] < ' ' || text[i] > '~')
                        out[i] = '?';
                else
                        out[i] = text[i];
        out[i] = '\0';
}

static int add_headers(const struct oci_http_request *request, struct curl_slist **list, struct err *err)
{
        scoped_free char *bearer =
                request->bearer ? xasprintf("Authorization: Bearer %s", request->bearer) : NULL;
        const char *const lines[] = { request->accept, bearer };

        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
                struct curl_slist *longer = lines[i] ? curl_slist_append(*list, lines[i]) : *list;

                if (lines[i] && !longer)
                        return err_set(err, ENOMEM, OP, "no memory for a request");
                *list = longer;
        }
        return 0;
}

static void set_tls(CURL *easy, const struct oci_http_request *request)
{
        long verify = request->no_verify ? 0 : 1;

        (void) curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, verify);
        (void) curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, verify * 2);
        /* beside the file libcurl also looks into the system's folder of authorities, CURLOPT_CAPATH(3) */
        if (request->ca_path)
                (void) curl_easy_setopt(easy, CURLOPT_CAINFO, request->ca_path);
}

/*
 * A redirect may lead to another host (registries keep their blobs elsewhere). libcurl then leaves out both kinds of
 * credentials, a header "Authorization" of ours included (CURLOPT_UNRESTRICTED_AUTH(3)); from TLS it never leads to none.
 */
static void set_redirects(CURL *easy, const struct oci_http_request *request)
{
        bool plain = text_starts_with(request->url, "http://");

        (void) curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, plain ? "http,https" : "https");
        (void) curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, plain ? "http,https" : "https");
        (void) curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
        (void) curl_easy_setopt(easy, CURLOPT_MAXREDIRS, REDIRECTS_MAX);
}

/* A proxy cannot reach what is on this machine's loopback. CURLOPT_NOPROXY(3): "*" counts only when it stands alone. */
static void set_proxy(CURL *easy)
{
        const char *given = getenv("no_proxy") ? getenv("no_proxy") : getenv("NO_PROXY");
        scoped_free char *direct = xasprintf("%s%s" LOOPBACK, given ? given : "", given ? "," : "");

        (void) curl_easy_setopt(easy, CURLOPT_NOPROXY, given && strcmp(given, "*") == 0 ? given : direct);
}

static void set_credentials(CURL *easy, const struct oci_http_request *request)
{
        if (!request->user || !request->secret)
                return;
        (void) curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long) CURLAUTH_BASIC);
        (void) curl_easy_setopt(easy, CURLOPT_USERNAME, request->user);
        (void) curl_easy_setopt(easy, CURLOPT_PASSWORD, request->secret);
}

int oci_http_prepare(CURL *easy, const struct oci_http_request *request, struct oci_http_headers *headers,
                     struct curl_slist **ret_list, struct err *err)
{
        scoped_free char *agent = xasprintf("banger/%s", BANGER_VERSION);
        int r = add_headers(request, ret_list, err);

        if (r < 0)
                return r;
        (void) curl_easy_setopt(easy, CURLOPT_URL, request->url);
        (void) curl_easy_setopt(easy, CURLOPT_HTTPHEADER, *ret_list);
        (void) curl_easy_setopt(easy, CURLOPT_USERAGENT, agent);
        (void) curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
        (void) curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
        (void) curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, STALL_BYTES);
        (void) curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, STALL_S);
        (void) curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
        (void) curl_easy_setopt(easy, CURLOPT_HEADERDATA, headers);
        set_tls(easy, request);
        set_redirects(easy, request);
        set_proxy(easy);
        set_credentials(easy, request);
        if (request->form)
                (void) curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, request->form);
        if (request->method && strcmp(request->method, "HEAD") == 0)
                (void) curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
        return 0;
}

int oci_http_error(CURL *easy, CURLcode code, const char *url, const char *detail, struct err *err)
{
        const char *said = detail[0] != '\0' ? detail : curl_easy_strerror(code);
        char shown[256];

        (void) easy;
        oci_http_show(said, shown, sizeof(shown));
        if (code == CURLE_PEER_FAILED_VERIFICATION)
                return err_set(err, EACCES, OP,
                               "%s: the certificate is not trusted (%s); 'ca' in the [registry] table of "
                               "config.toml names the authority that signed it",
                               url, shown);
        if (code == CURLE_OPERATION_TIMEDOUT)
                return err_set(err, ETIMEDOUT, OP, "%s: %s", url, shown);
        if (code == CURLE_FILESIZE_EXCEEDED || code == CURLE_WRITE_ERROR)
                return err_set(err, E2BIG, OP, "%s: the answer is larger than it may be", url);
        if (code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_CONNECT)
                return err_set(
                        err, EIO, OP,
                        "%s: %s; where only a proxy leads there, bangerd must have been started with it "
                        "in HTTPS_PROXY",
                        url, shown);
        return err_set(err, EIO, OP, "%s: %s", url, shown);
}

bool oci_http_may_pass(CURLcode code, long status)
{
        switch ((int) code) {
        case CURLE_OK:
                return status == TOO_MANY || (status >= SERVER_ERROR && status != 501);
        case CURLE_RECV_ERROR:
        case CURLE_SEND_ERROR:
        case CURLE_GOT_NOTHING:
        case CURLE_PARTIAL_FILE:
        case CURLE_OPERATION_TIMEDOUT:
        case CURLE_HTTP2:
        case CURLE_HTTP2_STREAM:
                return true;
        default:
                return false;
        }
}

/* Doubled each time, with some chance in it, so that those who were sent away together do not come back together. */
uint64_t oci_http_pause_ms(unsigned attempt, uint64_t retry_after_ms)
{
        uint64_t pause = PAUSE_FIRST_MS;
        uint16_t chance = 0;

        (void) !getrandom(&chance, sizeof(chance), GRND_NONBLOCK);
        for (; attempt > 1 && pause < PAUSE_MAX_MS; attempt--)
                pause *= 2;
        if (pause > PAUSE_MAX_MS)
                pause = PAUSE_MAX_MS;
        pause = pause / 2 + pause * chance / (2 * UINT64_C(65536));
        return pause > retry_after_ms ? pause : retry_after_ms;
}

static void wait_ms(uint64_t ms)
{
        struct timespec left = { .tv_sec = (time_t) (ms / 1000), .tv_nsec = (long) (ms % 1000) * 1000000 };

        while (nanosleep(&left, &left) < 0 && errno == EINTR)
                continue;
}

struct body {
        struct text *text;
        size_t max;
};

static size_t on_body(char *data, size_t size, size_t n, void *userdata)
{
        struct body *body = userdata;

        (void) size;
        if (body->text->n + n > body->max)
                return 0;
        text_append_bytes(body->text, data, n);
        return n;
}

static CURLcode perform(struct oci_http *http, const struct oci_http_request *request,
                        struct oci_http_answer *answer, char detail[CURL_ERROR_SIZE], struct err *err)
{
        struct body body = { .text = &answer->body, .max = request->max };
        struct curl_slist *list = NULL;
        CURLcode code = CURLE_OUT_OF_MEMORY;

        curl_easy_reset(http->easy);
        detail[0] = '\0';
        if (oci_http_prepare(http->easy, request, &answer->headers, &list, err) == 0) {
                (void) curl_easy_setopt(http->easy, CURLOPT_ERRORBUFFER, detail);
                (void) curl_easy_setopt(http->easy, CURLOPT_WRITEFUNCTION, on_body);
                (void) curl_easy_setopt(http->easy, CURLOPT_WRITEDATA, &body);
                code = curl_easy_perform(http->easy);
                (void) curl_easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &answer->status);
                (void) curl_easy_setopt(http->easy, CURLOPT_ERRORBUFFER, NULL);
        }
        curl_slist_free_all(list);
        return code;
}

int oci_http_ask(struct oci_http *http, const struct oci_http_request *request,
                 struct oci_http_answer *ret_answer, struct err *err)
{
        unsigned tries = request->tries ? request->tries : OCI_HTTP_TRIES;
        char detail[CURL_ERROR_SIZE];

        for (unsigned attempt = 1;; attempt++) {
                scoped(oci_http_answer_done) struct oci_http_answer answer = { 0 };
                CURLcode code = perform(http, request, &answer, detail, err);

                if (code != CURLE_OK && err->code != 0)
                        return -err->code;
                if (attempt < tries && !(request->asks_once && code != CURLE_OK) &&
                    oci_http_may_pass(code, answer.status)) {
                        wait_ms(oci_http_pause_ms(attempt, answer.headers.retry_after_ms));
                        continue;
                }
                if (code != CURLE_OK)
                        return oci_http_error(http->easy, code, request->url, detail, err);
                *ret_answer = answer;
                answer = (struct oci_http_answer){ 0 };
                return 0;
        }
}
