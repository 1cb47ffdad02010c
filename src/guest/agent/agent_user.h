/* Who a command runs as, from the guest's own /etc/passwd and /etc/group (passwd(5), group(5)). */
#pragma once

#include <sys/types.h>

#include "base/err.h"
#include "base/scoped.h"

#define AGENT_GROUPS_MAX 64

struct agent_user {
        uid_t uid;
        gid_t gid;
        gid_t groups[AGENT_GROUPS_MAX]; /* supplementary, the first is gid */
        size_t n_groups;
        char *name, *home, *shell; /* owned; home is "/" and shell NULL for a number that nobody has */
};

/*
 * "name", "uid", and either with ":group" or ":gid", as docker exec --user has it: a number need not be in the file, and
 * with a group there are no supplementary ones. ENOENT names what is not there. etc: "/etc".
 */
int agent_user_find(const char *wanted, const char *etc, struct agent_user *ret_user, struct err *err);
void agent_user_done(struct agent_user *user);

static inline void agent_user_done_at_scope_end(struct agent_user *user)
{
        agent_user_done(user);
}
