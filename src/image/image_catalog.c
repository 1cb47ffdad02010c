#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "image/image_recipe.h"

#define CATALOG_MAX   ((size_t) 1 << 20)
#define N_ENTRIES_MAX 1000U
#define SHA256_DIGITS 64U

static const struct image_catalog_entry *all; /* owned, with everything in it, until the process ends */
static unsigned n_all;

const struct image_catalog_entry *image_catalog(unsigned *ret_n)
{
        *ret_n = all ? n_all : image_n_recipes;
        return all ? all : image_catalog_entries;
}

const struct image_catalog_entry *image_catalog_find(const char *name)
{
        unsigned n = 0;
        const struct image_catalog_entry *entries = image_catalog(&n);

        for (unsigned i = 0; i < n; i++)
                if (strcmp(entries[i].name, name) == 0)
                        return &entries[i];
        return NULL;
}

static bool is_sha256(const char *text)
{
        return strlen(text) == SHA256_DIGITS && strspn(text, "0123456789abcdef") == SHA256_DIGITS;
}

static bool is_url(const char *url)
{
        return text_starts_with(url, "https://") || text_starts_with(url, "http://") ||
               text_starts_with(url, "file:///");
}

/* NULL, or what is wrong with it. */
static const char *find_fault(const json_t *entry)
{
        const json_t *bundle = json_object_get(entry, "bundle");

        if (!image_name_is_valid(json_text(entry, "name")))
                return "'name' is not an image name";
        if (!image_name_is_valid(json_text(entry, "kernel")))
                return "'kernel' is not a kernel name";
        if (!is_url(json_text(bundle, "url")))
                return "'bundle.url' does not begin with https://, http:// or file:///";
        if (!is_sha256(json_text(bundle, "sha256")))
                return "'bundle.sha256' is not 64 lower-case hex digits";
        return NULL;
}

static int take(const json_t *json, const char *path, struct image_catalog_entry *ret_entry, struct err *err)
{
        const json_t *bundle = json_object_get(json, "bundle");
        const char *fault = find_fault(json);

        if (fault)
                return err_set(err, EBADMSG, "image.catalog", "catalog '%s', entry '%.64s': %s", path,
                               json_text(json, "name"), fault);
        *ret_entry = (struct image_catalog_entry){ .name = xstrdup(json_text(json, "name")),
                                                   .doc = xstrdup(json_text(json, "doc")),
                                                   .kernel = xstrdup(json_text(json, "kernel")),
                                                   .distro = xstrdup(json_text(json, "distro")),
                                                   .arch = xstrdup(json_text(json, "arch")),
                                                   .url = xstrdup(json_text(bundle, "url")),
                                                   .sha256 = xstrdup(json_text(bundle, "sha256")),
                                                   .size = json_u64(bundle, "size", 0) };
        return 0;
}

static void drop(struct image_catalog_entry *entries, unsigned n)
{
        for (unsigned i = 0; i < n; i++) {
                const char *const texts[] = { entries[i].name,   entries[i].doc,  entries[i].kernel,
                                              entries[i].distro, entries[i].arch, entries[i].url,
                                              entries[i].sha256 };

                for (size_t j = 0; j < sizeof(texts) / sizeof(texts[0]); j++)
                        free((void *) (uintptr_t) texts[j]);
        }
        free(entries);
}

int image_catalog_add(const char *path, struct err *err)
{
        json_auto_t *json = NULL;
        struct image_catalog_entry *entries;
        unsigned n = 0;
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
                return err_set(err, EBADMSG, "image.catalog",
                               "catalog '%s' is not a list of at most %u entries", path, N_ENTRIES_MAX);
        entries = xcalloc(n_own + image_n_recipes, sizeof(*entries));
        for (; n < n_own; n++) {
                r = take(json_array_get(json, n), path, &entries[n], err);
                if (r < 0) {
                        drop(entries, n);
                        return r;
                }
        }
        memcpy(entries + n, image_catalog_entries, image_n_recipes * sizeof(*entries));
        all = entries;
        n_all = n + image_n_recipes;
        return 0;
}
