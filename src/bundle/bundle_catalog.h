/* A catalog of the user's: a list in JSON, whose entries point to bundles. What else is in them is for images or kernels to say. */
#pragma once

#include <jansson.h>

#include "base/err.h"

/* NULL, or what is wrong with an entry beside its bundle. */
typedef const char *bundle_entry_fault(const json_t *entry);

/*
 * The list at path in *ret_list, every entry checked; the caller owns it. A missing file is an empty list. EBADMSG, with the
 * operation's name op: it is no list, or too long a one, or names the first entry that is not right.
 */
int bundle_catalog_read(const char *path, const char *op, bundle_entry_fault *find_fault, json_t **ret_list,
                        struct err *err);
