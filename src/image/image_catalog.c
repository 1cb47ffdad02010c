#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "bundle/bundle_catalog.h"
#include "image/image_recipe.h"

static struct image_catalog_entry *all; /* owned, until the process ends */
static json_t *own;                     /* owned; what the entries of the user's point into */
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

static const char *find_fault(const json_t *entry)
{
        if (!image_name_is_valid(json_text(entry, "name")))
                return "'name' is not an image name";
        return image_name_is_valid(json_text(entry, "kernel")) ? NULL : "'kernel' is not a kernel name";
}

static struct image_catalog_entry entry_of(const json_t *entry)
{
        const json_t *bundle = json_object_get(entry, "bundle");

        return (struct image_catalog_entry){ .name = json_text(entry, "name"),
                                             .doc = json_text(entry, "doc"),
                                             .kernel = json_text(entry, "kernel"),
                                             .distro = json_text(entry, "distro"),
                                             .arch = json_text(entry, "arch"),
                                             .url = json_text(bundle, "url"),
                                             .sha256 = json_text(bundle, "sha256"),
                                             .size = json_u64(bundle, "size", 0) };
}

int image_catalog_add(const char *path, struct err *err)
{
        json_t *list = NULL;
        size_t n;
        int r = bundle_catalog_read(path, "image.catalog", find_fault, &list, err);

        if (r < 0)
                return r;
        n = json_array_size(list);
        free(all);
        json_decref(own);
        own = list;
        all = xcalloc(n + image_n_recipes, sizeof(*all));
        n_all = (unsigned) n + image_n_recipes;
        for (size_t i = 0; i < n; i++)
                all[i] = entry_of(json_array_get(list, i));
        memcpy(all + n, image_catalog_entries, image_n_recipes * sizeof(*all));
        return 0;
}
