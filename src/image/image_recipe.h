/* How an image of the catalog is made: generated from catalog/images.json, the one place that lists packages. */
#pragma once

#include "image/image_store.h"

struct image_recipe {
        const char *suite;
        const char *customize;       /* a shell script, run over the unpacked tree */
        const char *const *packages; /* NULL-terminated */
        unsigned n_packages;
        const char *const *excluded_paths; /* dpkg(1) path-exclude, NULL-terminated */
        const char *const *included_paths; /* dpkg(1) path-include, after the exclusions */
};

/* The same order in both. */
extern const struct image_catalog_entry image_catalog_entries[]; /* built in */
extern const struct image_recipe image_recipes[];
extern const unsigned image_n_recipes;
