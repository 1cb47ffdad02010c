/* What to execute for an exec request: the login shell and mise around it, the environment, the program's file. */
#pragma once

#include "guest/contract/guest_request.h"

struct agent_command {
        char *file;        /* owned; NULL: not found */
        const char **argv; /* owned array; strings borrowed from the request or this */
        const char **env;  /* owned array; likewise */
        int error;         /* errno when file is NULL or not to be executed; 0 */
        char *shell, *shell_variable, *shell_name, *mise, *login_name; /* owned, what the arrays point to */
};

/* The request must outlive it. */
void agent_command_init(struct agent_command *command, const struct guest_request *request);
void agent_command_done(struct agent_command *command);
/* exec(2) found no format: the file becomes a script of /bin/sh, as in every shell. */
void agent_command_as_script(struct agent_command *command);

static inline void agent_command_done_at_scope_end(struct agent_command *command)
{
        agent_command_done(command);
}
