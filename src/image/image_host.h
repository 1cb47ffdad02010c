/* What making an image needs of this machine, and how to get what is missing. Internal to image/. */
#pragma once

#include <stdbool.h>

#include "base/err.h"

#define IMAGE_HOST_N_SOURCES 2U

/* mmdebstrap, newuidmap and subordinate ids are there. ENOTSUP with the way out. */
int image_host_check(struct err *err);
/* This machine's own package sources when it runs the wanted suite: its mirror is near and trusted. Names owned. */
void image_host_sources(const char *suite, char *ret_sources[IMAGE_HOST_N_SOURCES + 1]);
/* Every folder on the path may be entered by anybody, as the user's subordinate ids must. */
bool image_host_can_others_enter(const char *path);
