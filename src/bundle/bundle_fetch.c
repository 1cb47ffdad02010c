#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/scoped.h"
#include "base/size.h"
#include "base/text.h"
#include "base/version.h"
#include "bundle/bundle.h"

#define REDIRECTS_MAX 10L
#define CONNECT_MS    15000L
#define STALL_BYTES   1L  /* slower than this ... */
#define STALL_S       30L /* ... for so long is a cut connection */
#define SHA256_BYTES  32U

static void curl_free_handle(CURL *curl)
{
        curl_easy_cleanup(curl);
}
SCOPED_FUNC(CURL *, curl_free_handle);

static void hash_free(EVP_MD_CTX *hash)
{
        EVP_MD_CTX_free(hash);
}
SCOPED_FUNC(EVP_MD_CTX *, hash_free);

struct fetching {
        const struct bundle_source *source;
        const struct bundle_progress *progress;
        EVP_MD_CTX *hash; /* borrowed */
        int fd;           /* borrowed */
        uint64_t n;       /* bytes staged */
        int failure;      /* errno of a write; EFBIG beyond the cap; ECANCELED */
};

static size_t on_data(char *data, size_t size, size_t n, void *userdata)
{
        struct fetching *fetching = userdata;

        n *= size;
        if (fetching->n + n > fetching->source->max)
                fetching->failure = EFBIG;
        else if (EVP_DigestUpdate(fetching->hash, data, n) != 1)
                fetching->failure = EIO;
        else
                fetching->failure = -fd_write_full(fetching->fd, data, n);
        if (fetching->failure != 0)
                return CURL_WRITEFUNC_ERROR;
        fetching->n += n;
        return n;
}

static int on_progress(void *userdata, curl_off_t total, curl_off_t done, curl_off_t up_total, curl_off_t up)
{
        struct fetching *fetching = userdata;
        const struct bundle_progress *progress = fetching->progress;
        uint64_t known = total > 0 ? (uint64_t) total : fetching->source->size;

        (void) up_total;
        (void) up;
        if (progress->report &&
            progress->report(progress->userdata, "download", (uint64_t) done, known) < 0) {
                fetching->failure = ECANCELED;
                return 1;
        }
        return 0;
}

static int refuse_size(const struct bundle_source *source, struct err *err)
{
        char cap[SIZE_TEXT_MAX];

        size_human(source->max, cap);
        return err_set(err, EFBIG, "bundle.fetch", "'%s' is larger than the cap of %s (%" PRIu64 " bytes)",
                       source->url, cap, source->max);
}

static int explain(const struct fetching *fetching, CURL *curl, CURLcode code, const char *said,
                   struct err *err)
{
        const char *url = fetching->source->url;
        long status = 0;

        if (code == CURLE_FILESIZE_EXCEEDED || fetching->failure == EFBIG)
                return refuse_size(fetching->source, err);
        if (fetching->failure == ECANCELED)
                return err_set(err, ECANCELED, "bundle.fetch", "cancelled");
        if (fetching->failure != 0) {
                errno = fetching->failure;
                return err_errno(err, "bundle.fetch", "keep what '%s' sends", url);
        }
        (void) curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
        if (code == CURLE_HTTP_RETURNED_ERROR)
                return err_set(err, EIO, "bundle.fetch", "'%s': the server answers %ld", url, status);
        return err_set(err, EIO, "bundle.fetch", "'%s': %s", url, *said ? said : curl_easy_strerror(code));
}

static void set_up(CURL *curl, struct fetching *fetching, char *said)
{
        const struct bundle_source *source = fetching->source;
        scoped_free char *version = xasprintf("banger/%s", BANGER_VERSION);

        (void) curl_easy_setopt(curl, CURLOPT_URL, source->url);
        (void) curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https,http,file");
        /* a server cannot send us to a file of this host, nor from https to http */
        (void) curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR,
                                text_starts_with(source->url, "https:") ? "https" : "https,http");
        (void) curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
        (void) curl_easy_setopt(curl, CURLOPT_MAXREDIRS, REDIRECTS_MAX);
        (void) curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
        (void) curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        (void) curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
        (void) curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, STALL_BYTES);
        (void) curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, STALL_S);
        (void) curl_easy_setopt(curl, CURLOPT_USERAGENT, version);
        /* what the server announces; what it sends beyond that, on_data refuses */
        (void) curl_easy_setopt(curl, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t) source->max);
        (void) curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
        (void) curl_easy_setopt(curl, CURLOPT_WRITEDATA, fetching);
        (void) curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
        (void) curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
        (void) curl_easy_setopt(curl, CURLOPT_XFERINFODATA, fetching);
        (void) curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, said);
}

static int check_space(const struct bundle_source *source, const char *folder, struct err *err)
{
        char missing[SIZE_TEXT_MAX];
        struct statvfs space;
        uint64_t available;

        if (source->size > source->max)
                return refuse_size(source, err);
        if (statvfs(folder, &space) < 0)
                return err_errno(err, "bundle.fetch", "look at the space of '%s'", folder);
        available = (uint64_t) space.f_bavail * space.f_frsize;
        if (source->size <= available)
                return 0;
        size_human(source->size - available, missing);
        return err_set(err, ENOSPC, "bundle.fetch", "'%s' lacks %s of space for '%s'", folder, missing,
                       source->url);
}

/* A file without a name; where the file system has no such thing, one whose name goes at once. */
static int open_nameless(const char *folder, struct err *err)
{
        scoped_free char *path = xasprintf("%s/.bundle-XXXXXX", folder);
        int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

        if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {
                fd = mkostemp(path, O_CLOEXEC);
                if (fd >= 0)
                        (void) unlink(path);
        }
        return fd < 0 ? err_errno(err, "bundle.fetch", "create a file in '%s'", folder) : fd;
}

static int check_hash(const struct fetching *fetching, struct err *err)
{
        unsigned char digest[EVP_MAX_MD_SIZE];
        char text[2 * SHA256_BYTES + 1];
        unsigned n = 0;

        if (EVP_DigestFinal_ex(fetching->hash, digest, &n) != 1 || n != SHA256_BYTES)
                return err_set(err, EIO, "bundle.fetch", "SHA-256 does not work here");
        text_hex(digest, n, text);
        if (strcmp(text, fetching->source->sha256) == 0)
                return 0;
        return err_set(err, EBADMSG, "bundle.fetch",
                       "'%s' has the SHA-256 %s, and the catalog says %s: it was not unpacked",
                       fetching->source->url, text, fetching->source->sha256);
}

static int fetch(struct fetching *fetching, struct err *err)
{
        scoped(curl_free_handle) CURL *curl = curl_easy_init();
        char said[CURL_ERROR_SIZE] = "";
        CURLcode code;

        if (!curl || EVP_DigestInit_ex(fetching->hash, EVP_sha256(), NULL) != 1)
                return err_set(err, ENOMEM, "bundle.fetch", "libcurl or libcrypto does not start");
        set_up(curl, fetching, said);
        code = curl_easy_perform(curl);
        if (code != CURLE_OK)
                return explain(fetching, curl, code, said, err);
        return check_hash(fetching, err);
}

int bundle_fetch(const struct bundle_source *source, const char *folder,
                 const struct bundle_progress *progress, int *ret_fd, struct err *err)
{
        scoped(hash_free) EVP_MD_CTX *hash = EVP_MD_CTX_new();
        scoped_close int fd = FD_NONE;
        struct fetching fetching = { .source = source, .progress = progress, .hash = hash };
        int r = check_space(source, folder, err);

        if (r < 0)
                return r;
        fd = open_nameless(folder, err);
        if (fd < 0)
                return fd;
        fetching.fd = fd;
        r = hash ? fetch(&fetching, err) : err_set(err, ENOMEM, "bundle.fetch", "out of memory");
        if (r < 0)
                return r;
        if (lseek(fd, 0, SEEK_SET) < 0)
                return err_errno(err, "bundle.fetch", "go to the beginning of what was staged");
        *ret_fd = take_fd(&fd);
        return 0;
}
