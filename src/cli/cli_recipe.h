/* What a Dockerfile builds on. It is read for the sake of logins alone: buildah is what understands it. */
#pragma once

#include <jansson.h>

/*
 * The images that FROM and "COPY --from" name, each once, without those that are stages of the file; build_args ("NAME=value",
 * NULL: none) and the defaults of ARG are filled in. The caller owns the array.
 */
json_t *recipe_images(const char *text, const json_t *build_args);
