/* Images and kernels as the daemon's jobs see them. All returned values are owned by the caller. */
#pragma once

#include "daemon/daemon.h"
#include "daemon/daemon_operation.h"
#include "image/image_store.h"
#include "image/image_wanted.h"
#include "kernel/kernel_store.h"

#define DAEMON_AUTH_FILE "registries.json" /* in the state folder, 0600 */

char *daemon_image_key(const char *image);
char *daemon_kernel_key(const char *kernel);
bool daemon_image_is_in_catalog(const char *image);
bool daemon_kernel_is_in_catalog(const char *kernel);
/* The job's result is the operation's answer. */
void daemon_answer_with_job(struct daemon_operation *operation, const struct daemon_job_end *end);
bool daemon_kernel_is_here(const struct daemon *daemon, const char *name);
/* size 0: the configured one. */
json_t *daemon_image_job_params(const struct daemon *daemon, const char *image, const char *name,
                                uint64_t size, bool replace);
/* Of an image of a registry or a place; size 0: by its content, kernel NULL: that of the default image. */
json_t *daemon_reference_job_params(const struct daemon *daemon, const struct image_wanted *wanted,
                                    uint64_t size, const char *kernel);
json_t *daemon_kernel_job_params(const struct daemon *daemon, const char *kernel, bool replace);
/* A job that removes what killed imports and pulls have left; at the start, and when one was killed. */
void daemon_sweep(struct daemon *daemon);
