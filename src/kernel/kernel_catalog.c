#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "kernel/kernel_store.h"

#define CATALOG_MAX   ((size_t) 1 << 20)
#define N_ENTRIES_MAX 1000U
#define SHA256_DIGITS 64U

static struct kernel_catalog_entry *all; /* owned, until the process ends */
static json_t *own;                      /* owned; what the entries of the user's point into */
static unsigned n_all;

const struct kernel_catalog_entry *kernel_catalog(unsigned *ret_n)
{
        *ret_n = all ? n_all : kernel_n_catalog_entries;
        return all ? all : kernel_catalog_entries;
}

const struct kernel_catalog_entry *kernel_catalog_find(const char *name)
{
        unsigned n = 0;
        const struct kernel_catalog_entry *entries = kernel_catalog(&n);

        for (unsigned i = 0; i < n; i++)
                if (strcmp(entries[i].name, name) == 0)
                        return &entries[i];
        return NULL;
}

/* NULL, or what is wrong with it. */
static const char *find_fault(const json_t *entry)
{
        const json_t *bundle = json_object_get(entry, "bundle");
        const char *url = json_text(bundle, "url"), *sha256 = json_text(bundle, "sha256");

        if (!kernel_name_is_valid(json_text(entry, "name")))
                return "'name' is not a kernel name";
        if (!text_starts_with(url, "https://") && !text_starts_with(url, "http://") &&
            !text_starts_with(url, "file:///"))
                return "'bundle.url' does not begin with https://, http:// or file:///";
        if (strlen(sha256) != SHA256_DIGITS || strspn(sha256, "0123456789abcdef") != SHA256_DIGITS)
                return "'bundle.sha256' is not 64 lower-case hex digits";
        return NULL;
}

int kernel_catalog_add(const char *path, struct err *err)
{
        json_auto_t *json = NULL;
        struct kernel_catalog_entry *entries;
        size_t n_own;
        int r = json_read_file(path, CATALOG_MAX, &json, err);

        if (r == -ENOENT) {
                *err = (struct err){ 0 };
                return 0;
        }
        if (r < 0)
                return r;
        n_own = json_array_size(json);
        if (!json_is_array(json) || n_own > N_ENTRIES_MAX)
                return err_set(err, EBADMSG, "kernel.catalog",
                               "catalog '%s' is not a list of at most %u entries", path, N_ENTRIES_MAX);
        for (size_t i = 0; i < n_own; i++) {
                const char *fault = find_fault(json_array_get(json, i));

                if (fault)
                        return err_set(err, EBADMSG, "kernel.catalog", "catalog '%s', entry '%.64s': %s",
                                       path, json_text(json_array_get(json, i), "name"), fault);
        }
        entries = xcalloc(n_own + kernel_n_catalog_entries, sizeof(*entries));
        for (size_t i = 0; i < n_own; i++) {
                const json_t *entry = json_array_get(json, i), *bundle = json_object_get(entry, "bundle");

                entries[i] = (struct kernel_catalog_entry){ .name = json_text(entry, "name"),
                                                            .doc = json_text(entry, "doc"),
                                                            .apt_package = "",
                                                            .distro = json_text(entry, "distro"),
                                                            .arch = json_text(entry, "arch"),
                                                            .url = json_text(bundle, "url"),
                                                            .sha256 = json_text(bundle, "sha256"),
                                                            .size = json_u64(bundle, "size", 0) };
        }
        memcpy(entries + n_own, kernel_catalog_entries, kernel_n_catalog_entries * sizeof(*entries));
        free(all);
        json_decref(own);
        all = entries;
        own = json_incref(json);
        n_all = (unsigned) n_own + kernel_n_catalog_entries;
        return 0;
}
