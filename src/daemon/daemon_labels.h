/* Labels of VMs: words of the user's own, "team=infra", kept with the record and handed back as they came. */
#pragma once

#include <jansson.h>

#include "base/err.h"

#define LABELS_MAX 32 /* of one VM */

/* "k=v" sets, "k=" removes, commas between them. EINVAL says what is wrong; then the labels are as they were. */
int daemon_labels_apply(json_t *labels, const char *text, struct err *err);
/* A VM's, owned by the caller; json is a row's. What cannot be read is no label. */
json_t *daemon_labels_parse(const char *json);
