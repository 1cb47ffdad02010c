/* What the host asks an agent for, as bytes: a JSON object, a NUL, then strings that need not be UTF-8, each with its NUL. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/text.h"

enum guest_op {
        GUEST_OP_EXEC,
        GUEST_OP_TAR_IN,
        GUEST_OP_TAR_OUT,
        GUEST_OP_SYNC,
        GUEST_OP_POWER_OFF,
        GUEST_OP_SET_CLOCK,
        GUEST_OP_HEALTH,
        GUEST_OP_STATS,
        GUEST_OP_PORTS,
        GUEST_OP_COPY_IN,
        GUEST_OP_COPY_OUT,
        GUEST_OP_DIAL,
        GUEST_OP_LISTEN,
        GUEST_OP_SESSIONS,
        GUEST_OP_ATTACH,
        GUEST_OP_SESSION_KILL,
        GUEST_OP_SYSTEM,
        GUEST_N_OPS
};

#define GUEST_STRINGS_MAX 16384 /* arguments, or environment strings, of one exec */

/* What of the image's configuration an exec takes. Images that have none run everything as root's login does. */
enum guest_image_use {
        GUEST_IMAGE_IGNORED, /* our own errands */
        GUEST_IMAGE_SHELL,   /* its environment */
        GUEST_IMAGE_EXEC,    /* and its folder and user: docker exec */
        GUEST_IMAGE_RUN,     /* and its entrypoint, and its command when there is none: docker run */
        GUEST_N_IMAGE_USES
};

struct guest_request {
        enum guest_op op;
        int64_t shift_ns;    /* set clock: what to add to it */
        bool slew;           /* set clock: little by little instead of at once */
        uint64_t timeout_ms; /* exec: after which it and what it started are ended; 0: never */
        bool login_shell, terminal;
        enum guest_image_use image; /* exec */
        uint16_t rows, columns;     /* with terminal; 0: unknown */
        const char *user;           /* exec: "name", "uid", "name:group"; NULL: root */
        bool detach;                /* exec: answer with an id, and run it for whoever attaches */
        bool quiet;                 /* attach: the end only */
        uint8_t signal;             /* session kill */
        bool into;                  /* copy in: path must be a folder */
        bool follow;                /* copy out: symbolic links among what is named */
        const char *
                path; /* exec: folder, may be NULL; tar in: folder; tar out: what to pack; copy in: destination;
                             dial, listen: base/address.h; attach, session kill: id */
        const char *const
                *argv; /* NULL-terminated; NULL: the login shell; copy out: patterns of what to pack */
        const char *const *env; /* "K=V", NULL-terminated; NULL: none */
        char *owned_strings;    /* after decode: what the pointers above point into */
        const char **owned_argv, **owned_env;
};

/*
 * Appends the body of a REQUEST. An agent that does not know `user` finds a string too many and refuses, instead of running as
 * root what should not. E2BIG when it would exceed the frame or GUEST_STRINGS_MAX.
 */
int guest_request_encode(const struct guest_request *request, struct text *body, struct err *err);
/* EBADMSG for everything that encode does not make. body is copied. */
int guest_request_decode(const void *body, size_t n, struct guest_request *ret_request, struct err *err);
void guest_request_done(struct guest_request *request);

static inline void guest_request_done_at_scope_end(struct guest_request *request)
{
        guest_request_done(request);
}
