#include "kernel/kernel_modules.h"

#include <errno.h>
#include <fts.h>
#include <search.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "kernel/kernel_archive.h"
#include "kernel/kernel_modinfo.h"

#define N_FILES_MAX      50000
#define MODULE_MAX       ((size_t) 64 << 20)
#define LIST_MAX         ((size_t) 4 << 20)
#define N_LOADED_MAX     99 /* file names in the initramfs carry two digits */
#define DEPTH_MAX        32
#define FOLDER_DEPTH_MAX 32

const struct kernel_module_need kernel_module_needs[] = {
        {"virtio_mmio",                 true,  MODULE_FOR_CALL},
        { "vmw_vsock_virtio_transport", true,  MODULE_FOR_CALL},
        { "virtio_blk",                 true,  MODULE_FOR_DISK},
        { "ext4",                       true,  MODULE_FOR_DISK},
 /* ext4 asks the crypto layer for it by alias, which no dependency says; part of the core since 6.14 */
        { "crc32c_generic",             false, MODULE_FOR_DISK},
        { "virtio_net",                 true,  MODULE_FOR_REST},
        { "ipv6",                       false, MODULE_FOR_REST},
        { "af_packet",                  false, MODULE_FOR_REST},
 /* the kernel has random numbers before, of the processor (random.trust_cpu) */
        { "virtio_rng",                 false, MODULE_LATER   },
};
const size_t kernel_n_module_needs = sizeof(kernel_module_needs) / sizeof(kernel_module_needs[0]);

void kernel_modules_stages(const struct kernel_modules *modules, enum kernel_module_stage *ret_stages)
{
        enum kernel_module_stage stage = MODULE_FOR_REST;

        for (unsigned i = modules->n; i > 0; i--) {
                for (size_t need = 0; need < kernel_n_module_needs; need++)
                        if (strcmp(kernel_module_needs[need].name, modules->modules[i - 1].name) == 0)
                                stage = kernel_module_needs[need].stage;
                ret_stages[i - 1] = stage;
        }
}

enum visit {
        NOT_VISITED,
        VISITING,
        LOADED
};

/* One module of the kernel, as a file or built in. */
struct known {
        char *name; /* owned */
        char *path; /* owned; NULL: built in */
        enum visit visit;
};

struct collection {
        const char *folder;
        struct known *known; /* owned; sorted by name */
        size_t n_known;
        size_t capacity;
        struct kernel_modules *modules;
};

static void collection_done(struct collection *collection)
{
        for (size_t i = 0; i < collection->n_known; i++) {
                free(collection->known[i].name);
                free(collection->known[i].path);
        }
        free(collection->known);
}
#define scoped_collection __attribute__((__cleanup__(collection_done)))

/* "kernel/drivers/char/hw_random/virtio-rng.ko.xz" -> "virtio_rng"; NULL: not a module. The caller owns it. */
static char *name_of_path(const char *path)
{
        const char *slash = strrchr(path, '/');
        char *name = xstrdup(slash ? slash + 1 : path);
        char *suffix = strstr(name, ".ko");

        if (!suffix || suffix == name || (suffix[3] != '\0' && suffix[3] != '.')) {
                free(name);
                return NULL;
        }
        *suffix = '\0';
        for (char *c = name; *c != '\0'; c++)
                if (*c == '-')
                        *c = '_';
        return name;
}

static void add_known(struct collection *collection, const char *path, bool is_built_in)
{
        scoped_free char *name = name_of_path(path);

        if (!name)
                return;
        if (collection->n_known == collection->capacity) {
                collection->capacity = collection->capacity ? collection->capacity * 2 : 256;
                collection->known =
                        xrealloc(collection->known, collection->capacity * sizeof(*collection->known));
        }
        collection->known[collection->n_known++] =
                (struct known){ .name = take_ptr(name), .path = is_built_in ? NULL : xstrdup(path) };
}

static int add_built_in(struct collection *collection, struct err *err)
{
        scoped_free char *path = xasprintf("%s/modules.builtin", collection->folder);
        scoped_free char *list = NULL;
        char *rest = NULL;
        int r = file_read(path, LIST_MAX, &list, NULL, err);

        if (r < 0)
                return r;
        for (char *line = strtok_r(list, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
                if (collection->n_known >= N_FILES_MAX)
                        return err_set(err, EFBIG, "kernel.modules", "'%s' has more than %d lines", path,
                                       N_FILES_MAX);
                add_known(collection, line, true);
        }
        return 0;
}

static void fts_free(FTS *fts)
{
        if (fts)
                (void) fts_close(fts);
}
SCOPED_FUNC(FTS *, fts_free);

static int add_files(struct collection *collection, struct err *err)
{
        scoped_free char *folder = xstrdup(collection->folder);
        char *const roots[] = { folder, NULL };
        scoped(fts_free) FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_NOSTAT, NULL);
        FTSENT *entry;
        size_t n = 0;

        if (!fts)
                return err_errno(err, "kernel.modules", "list '%s'", folder);
        while ((entry = fts_read(fts))) {
                if (entry->fts_info == FTS_ERR || entry->fts_info == FTS_DNR) {
                        errno = entry->fts_errno;
                        return err_errno(err, "kernel.modules", "read '%s'", entry->fts_path);
                }
                if (++n > N_FILES_MAX || entry->fts_level > FOLDER_DEPTH_MAX)
                        return err_set(err, EFBIG, "kernel.modules", "'%s' has too many files", folder);
                if (entry->fts_info == FTS_F || entry->fts_info == FTS_NSOK)
                        add_known(collection, entry->fts_path, false);
        }
        return 0;
}

static int compare_names(const void *a, const void *b)
{
        return strcmp(((const struct known *) a)->name, ((const struct known *) b)->name);
}

/* A built-in module is never a file too, but a folder may hold two files of one name (updates/): any of them serves. */
static struct known *find_known(const struct collection *collection, const char *name)
{
        scoped_free char *wanted = xasprintf("%s.ko", name);
        scoped_free char *normal = name_of_path(wanted);
        struct known key = { .name = normal };

        if (!normal || collection->n_known == 0)
                return NULL;
        return bsearch(&key, collection->known, collection->n_known, sizeof(key), compare_names);
}

static int read_module(const struct known *known, struct kernel_module *ret_module,
                       struct kernel_modinfo *ret_info, struct err *err)
{
        scoped_free char *raw = NULL;
        scoped_text struct text data = { 0 };
        size_t n;
        int r = file_read(known->path, MODULE_MAX, &raw, &n, err);

        if (r < 0)
                return r;
        r = kernel_archive_decompress(raw, n, MODULE_MAX, &data, err);
        if (r == 0)
                r = kernel_modinfo_parse((const uint8_t *) (data.s ? data.s : ""), data.n, ret_info, err);
        if (r < 0)
                return err_wrap(err, "module '%s'", known->path);
        *ret_module = (struct kernel_module){ .name = xstrdup(known->name), .n = data.n };
        ret_module->data = text_take(&data);
        return 0;
}

static int load(struct collection *collection, const char *name, bool is_required, unsigned depth,
                struct err *err);

static int load_softdeps(struct collection *collection, char *softdep, unsigned depth, struct err *err)
{
        bool is_pre = false;
        char *rest = NULL;

        for (char *word = strtok_r(softdep, " \t", &rest); word; word = strtok_r(NULL, " \t", &rest)) {
                int r;

                if (text_ends_with(word, ":"))
                        is_pre = strcmp(word, "pre:") == 0;
                else if (is_pre && (r = load(collection, word, false, depth, err)) < 0)
                        return r;
        }
        return 0;
}

static int load_before(struct collection *collection, const struct kernel_modinfo *info, unsigned depth,
                       struct err *err)
{
        char *rest = NULL;
        int r = load_softdeps(collection, info->softdep, depth, err);

        if (r < 0)
                return r;
        for (char *name = strtok_r(info->depends, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
                r = load(collection, name, true, depth, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void module_done(struct kernel_module *module)
{
        free(module->name);
        free(module->data);
}
#define scoped_module __attribute__((__cleanup__(module_done)))

static int load_file(struct collection *collection, struct known *known, unsigned depth, struct err *err)
{
        scoped_module struct kernel_module module = { 0 };
        scoped_kernel_modinfo struct kernel_modinfo info = { 0 };
        struct kernel_modules *modules = collection->modules;
        int r = read_module(known, &module, &info, err);

        if (r < 0)
                return r;
        known->visit = VISITING;
        r = load_before(collection, &info, depth + 1, err);
        if (r < 0)
                return r;
        known->visit = LOADED;
        if (modules->n == N_LOADED_MAX)
                return err_set(err, EFBIG, "kernel.modules", "the guest would need more than %d modules",
                               N_LOADED_MAX);
        modules->modules = xrealloc(modules->modules, (modules->n + 1) * sizeof(*modules->modules));
        modules->modules[modules->n++] = module;
        module = (struct kernel_module){ 0 };
        return 0;
}

/* Adds a module after those it needs. Recursion is bounded by DEPTH_MAX. */
static int load(struct collection *collection, const char *name, bool is_required, unsigned depth,
                struct err *err)
{
        struct known *known = find_known(collection, name);

        if (!known && is_required)
                return err_set(err, ENOENT, "kernel.modules",
                               "the kernel has no module '%s', neither built in nor in '%s'", name,
                               collection->folder);
        if (!known || !known->path || known->visit == LOADED || (known->visit == VISITING && !is_required))
                return 0;
        if (known->visit == VISITING || depth > DEPTH_MAX)
                return err_set(err, ELOOP, "kernel.modules", "module '%s' needs itself in a circle",
                               known->name);
        return load_file(collection, known, depth, err);
}

int kernel_modules_collect(const char *folder, const struct kernel_module_need *needs, size_t n_needs,
                           const struct kernel_progress *progress, struct kernel_modules *ret_modules,
                           struct err *err)
{
        scoped_kernel_modules struct kernel_modules modules = { 0 };
        scoped_collection struct collection collection = { .folder = folder, .modules = &modules };
        int r = add_files(&collection, err);

        if (r == 0)
                r = add_built_in(&collection, err);
        if (r < 0)
                return r;
        if (collection.n_known > 0)
                qsort(collection.known, collection.n_known, sizeof(*collection.known), compare_names);
        for (size_t i = 0; i < n_needs; i++) {
                r = kernel_report(progress, "modules", i, n_needs, err);
                if (r == 0)
                        r = load(&collection, needs[i].name, needs[i].is_required, 0, err);
                if (r < 0)
                        return r;
        }
        *ret_modules = modules;
        modules = (struct kernel_modules){ 0 };
        return 0;
}

void kernel_modules_done(struct kernel_modules *modules)
{
        for (unsigned i = 0; i < modules->n; i++)
                module_done(&modules->modules[i]);
        free(modules->modules);
        *modules = (struct kernel_modules){ 0 };
}
