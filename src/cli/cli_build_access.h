/*
 * What buildah in a VM needs to fetch the images that a Dockerfile builds on: how their registries are reached, and the logins
 * for these images alone. A login is gone from the VM before anything of the Dockerfile runs there.
 */
#pragma once

#include "cli/cli_command.h"

/* In the VM: the images to fetch with logins, one a line, and the logins. */
#define BUILD_ACCESS_IMAGES "/run/banger-build-images"
#define BUILD_ACCESS_LOGINS "/run/banger-build-logins"

/* recipe: its text. build_args: as recipe_images() takes them. */
int cli_build_access_give(struct cli *cli, const char *vm, const char *recipe, const json_t *build_args,
                          struct err *err);
