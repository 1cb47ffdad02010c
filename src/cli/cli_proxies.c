#include "cli/cli_proxies.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/text.h"

#define OP "image.build"

/* buildah hands on these to what it runs (buildah-build(1), --http-proxy). */
static const char *const names[CLI_PROXIES_MAX] = { "http_proxy", "https_proxy", "ftp_proxy", "no_proxy",
                                                    "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY" };

/* An empty one is none. */
static bool is_proxy(const char *entry, const char **ret_value)
{
        size_t n = strcspn(entry, "=");

        for (size_t i = 0; i < CLI_PROXIES_MAX; i++)
                if (strlen(names[i]) == n && strncmp(entry, names[i], n) == 0 && entry[n] == '=') {
                        *ret_value = entry + n + 1;
                        return **ret_value != '\0';
                }
        return false;
}

/* [scheme://][user[:password]@]host[:port][/]. RFC 6761 §6.3, RFC 1122 §3.2.1.3. */
static bool is_on_loopback(const char *url)
{
        const char *scheme = strstr(url, "://"), *host = scheme ? scheme + strlen("://") : url;
        scoped_free char *authority = strndup(host, strcspn(host, "/"));
        const char *at = authority ? strrchr(authority, '@') : NULL;

        if (!authority)
                return false;
        host = at ? at + 1 : authority;
        return text_starts_with(host, "127.") || text_starts_with(host, "[::1]") ||
               (text_starts_with(host, "localhost") && strchr(":", host[strlen("localhost")]));
}

int cli_proxies_find(const char *ret_env[CLI_PROXIES_MAX + 1], struct err *err)
{
        size_t n = 0;

        for (char **entry = environ; *entry && n < CLI_PROXIES_MAX; entry++) {
                const char *value = NULL;

                if (!is_proxy(*entry, &value))
                        continue;
                if (strncasecmp(*entry, "no_", 3) != 0 && is_on_loopback(value))
                        return err_set(err, EINVAL, OP,
                                       "%.*s names a proxy on this machine's loopback, which the vm that "
                                       "builds cannot reach: name one that others reach, unset it for a "
                                       "build without, or give --no-network",
                                       (int) (value - *entry - 1), *entry);
                ret_env[n++] = *entry;
        }
        ret_env[n] = NULL;
        return 0;
}
