/*
 * What a login shell makes of the environment (S-278), asked for once and kept until a file that it reads changes:
 * docs/decisions/0005-login-environment-cached.md. Nothing is kept of a shell that also prints, limits or moves.
 */
#pragma once

#include <sys/types.h>

struct agent_login_source { /* all borrowed */
        const char *shell;
        const char *const *env; /* what it starts with */
        const char *home, *etc; /* where its profiles are */
        const char *cache;      /* the file that keeps the answer */
        const char *shipped;    /* an answer that came with the image; NULL: none */
};

struct agent_login {
        const char **env; /* owned array, NULL-terminated; the strings are in kept */
        mode_t mask;
        char *kept; /* owned */
};

/* 0, or -errno: the shell has to be run for each command. */
int agent_login_get(const struct agent_login_source *source, struct agent_login *ret_login);
void agent_login_done(struct agent_login *login);
