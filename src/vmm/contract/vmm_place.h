/*
 * Where in a document something stands. jansson keeps no positions and serde's messages end with them, so a failed
 * decode walks the text a second time. The text must be valid JSON of at most VMM_PLACE_DEPTH levels on the way.
 */
#pragma once

#include <stddef.h>

#define VMM_PLACE_DEPTH 4

enum vmm_place_of {
        VMM_PLACE_KEY,   /* just behind the last key of the path: serde on an unknown field */
        VMM_PLACE_VALUE, /* the end of its value (the start of a map or list): serde on a wrong type */
        VMM_PLACE_END,   /* the closing brace of the object at the path: serde on a missing field */
};

struct vmm_place {
        size_t line, column; /* from 1; column counts bytes consumed, as serde does */
};

/* keys: the path from the outermost object, n_keys of them. Line 1, column 0 when the path is not there. */
struct vmm_place vmm_place_find(const char *text, size_t n, const char *const *keys, size_t n_keys,
                                enum vmm_place_of of);
