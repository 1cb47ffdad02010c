/* What to execute for an exec request: the login shell and mise around it, the environment, the program's file. */
#pragma once

#include "guest/agent/agent_login.h"
#include "guest/agent/agent_user.h"
#include "guest/contract/guest_request.h"

#define AGENT_OWN_ENV 5

struct agent_command {
        char *file;               /* owned; NULL: not found */
        const char **argv;        /* owned array; strings borrowed from the request or this */
        const char **env;         /* owned array; likewise */
        int error;                /* errno when file is NULL or not to be executed; 0 */
        struct agent_login login; /* owned; env is NULL unless the command runs with a login that was kept */
        const struct agent_user *user; /* borrowed; NULL: root, with its login where one is kept */
        char *shell, *shell_name, *mise, *env_program, *login_name,
                *pwd;                 /* owned, what the arrays point to */
        char *own_env[AGENT_OWN_ENV]; /* owned; what a login begins with */
};

/* From now on the environment of logins is kept, in this process and its children. In a guest only. */
void agent_command_keep_logins(void);
/* Does for no command what each one needs first: after it, the login is known and the libraries are in memory. */
void agent_command_warm(void);
/* The request and the user (NULL: root) must outlive it. */
void agent_command_init(struct agent_command *command, const struct guest_request *request,
                        const struct agent_user *user);
void agent_command_done(struct agent_command *command);
/* exec(2) found no format: the file becomes a script of /bin/sh, as in every shell. */
void agent_command_as_script(struct agent_command *command);

static inline void agent_command_done_at_scope_end(struct agent_command *command)
{
        agent_command_done(command);
}
