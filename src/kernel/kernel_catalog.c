#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "bundle/bundle_catalog.h"
#include "kernel/kernel_store.h"

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

static const char *find_fault(const json_t *entry)
{
        return kernel_name_is_valid(json_text(entry, "name")) ? NULL : "'name' is not a kernel name";
}

static struct kernel_catalog_entry entry_of(const json_t *entry)
{
        const json_t *bundle = json_object_get(entry, "bundle");

        return (struct kernel_catalog_entry){ .name = json_text(entry, "name"),
                                              .doc = json_text(entry, "doc"),
                                              .apt_package = "",
                                              .distro = json_text(entry, "distro"),
                                              .arch = json_text(entry, "arch"),
                                              .url = json_text(bundle, "url"),
                                              .sha256 = json_text(bundle, "sha256"),
                                              .size = json_u64(bundle, "size", 0) };
}

int kernel_catalog_add(const char *path, struct err *err)
{
        json_t *list = NULL;
        size_t n;
        int r = bundle_catalog_read(path, "kernel.catalog", find_fault, &list, err);

        if (r < 0)
                return r;
        n = json_array_size(list);
        free(all);
        json_decref(own);
        own = list;
        all = xcalloc(n + kernel_n_catalog_entries, sizeof(*all));
        n_all = (unsigned) n + kernel_n_catalog_entries;
        for (size_t i = 0; i < n; i++)
                all[i] = entry_of(json_array_get(list, i));
        memcpy(all + n, kernel_catalog_entries, kernel_n_catalog_entries * sizeof(*all));
        return 0;
}
