#include "bundle/bundle_catalog.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"

#define CATALOG_MAX   ((size_t) 1 << 20)
#define N_ENTRIES_MAX 1000U
#define SHA256_DIGITS 64U

static bool is_sha256(const char *text)
{
        return strlen(text) == SHA256_DIGITS && strspn(text, "0123456789abcdef") == SHA256_DIGITS;
}

static bool is_url(const char *url)
{
        return text_starts_with(url, "https://") || text_starts_with(url, "http://") ||
               text_starts_with(url, "file:///");
}

static const char *find_bundle_fault(const json_t *bundle)
{
        if (!is_url(json_text(bundle, "url")))
                return "'bundle.url' does not begin with https://, http:// or file:///";
        if (!is_sha256(json_text(bundle, "sha256")))
                return "'bundle.sha256' is not 64 lower-case hex digits";
        return NULL;
}

static int check(const json_t *list, const char *path, const char *op, bundle_entry_fault *find_fault,
                 struct err *err)
{
        size_t i;
        json_t *entry;

        if (!json_is_array(list) || json_array_size(list) > N_ENTRIES_MAX)
                return err_set(err, EBADMSG, op, "catalog '%s' is not a list of at most %u entries", path,
                               N_ENTRIES_MAX);
        json_array_foreach (list, i, entry) {
                const char *fault = find_fault(entry);

                if (!fault)
                        fault = find_bundle_fault(json_object_get(entry, "bundle"));
                if (fault)
                        return err_set(err, EBADMSG, op, "catalog '%s', entry '%.64s': %s", path,
                                       json_text(entry, "name"), fault);
        }
        return 0;
}

int bundle_catalog_read(const char *path, const char *op, bundle_entry_fault *find_fault, json_t **ret_list,
                        struct err *err)
{
        json_auto_t *list = NULL;
        int r = json_read_file(path, CATALOG_MAX, &list, err);

        if (r == -ENOENT) {
                *err = (struct err){ 0 };
                *ret_list = json_array();
                return 0;
        }
        if (r == 0)
                r = check(list, path, op, find_fault, err);
        if (r == 0)
                *ret_list = json_incref(list);
        return r;
}
