#include "guest/agent/agent_user.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"

#define OP_USER    "agent.user"
#define FILE_MAX   (4U << 20)
#define ID_MAX     (UINT32_MAX - 1) /* the last one means "unchanged" (setuid(2), chown(2)) */
#define FIELDS_MAX 7

enum {
        PASSWD_NAME,
        PASSWD_PASSWORD,
        PASSWD_UID,
        PASSWD_GID,
        PASSWD_COMMENT,
        PASSWD_HOME,
        PASSWD_SHELL
};
enum {
        GROUP_NAME,
        GROUP_PASSWORD,
        GROUP_GID,
        GROUP_MEMBERS,
        GROUP_N_FIELDS
};

/* Takes a line apart in place; how many fields it had. */
static size_t split(char *line, char *fields[FIELDS_MAX])
{
        size_t n = 0;

        while (line && n < FIELDS_MAX)
                fields[n++] = strsep(&line, ":");
        return n;
}

static bool parse_id(const char *text, uint32_t *ret_id)
{
        uint64_t id;

        if (text_parse_u64(text, ID_MAX, &id) < 0)
                return false;
        *ret_id = (uint32_t) id;
        return true;
}

/* The text of a file of etc; "" when it is missing, as in an image of one program. */
static char *read_etc(const char *etc, const char *name)
{
        scoped_free char *path = xasprintf("%s/%s", etc, name);
        struct err ignored = { 0 };
        char *text = NULL;

        return file_read(path, FILE_MAX, &text, NULL, &ignored) < 0 ? xstrdup("") : text;
}

/* By name first: a name may be all digits. */
static bool take_passwd(const char *etc, const char *wanted, bool by_id, struct agent_user *user)
{
        scoped_free char *text = read_etc(etc, "passwd");
        char *rest = NULL, *fields[FIELDS_MAX];
        uint32_t id = 0, uid, gid;

        if (by_id && !parse_id(wanted, &id))
                return false;
        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
                if (split(line, fields) < FIELDS_MAX || !parse_id(fields[PASSWD_UID], &uid) ||
                    !parse_id(fields[PASSWD_GID], &gid))
                        continue;
                if (by_id ? uid != id : strcmp(fields[PASSWD_NAME], wanted) != 0)
                        continue;
                user->uid = uid;
                user->gid = gid;
                user->name = xstrdup(fields[PASSWD_NAME]);
                user->home = xstrdup(fields[PASSWD_HOME][0] == '/' ? fields[PASSWD_HOME] : "/");
                user->shell = fields[PASSWD_SHELL][0] == '/' ? xstrdup(fields[PASSWD_SHELL]) : NULL;
                return true;
        }
        return false;
}

static bool is_member(char *members, const char *name)
{
        char *rest = NULL;

        for (char *member = strtok_r(members, ",", &rest); member; member = strtok_r(NULL, ",", &rest))
                if (strcmp(member, name) == 0)
                        return true;
        return false;
}

static void take_groups(const char *etc, struct agent_user *user)
{
        scoped_free char *text = read_etc(etc, "group");
        char *rest = NULL, *fields[FIELDS_MAX];
        uint32_t gid;

        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
                if (user->n_groups < AGENT_GROUPS_MAX && split(line, fields) >= GROUP_N_FIELDS &&
                    parse_id(fields[GROUP_GID], &gid) && gid != user->gid &&
                    is_member(fields[GROUP_MEMBERS], user->name))
                        user->groups[user->n_groups++] = gid;
}

static bool find_group(const char *etc, const char *wanted, gid_t *ret_gid)
{
        scoped_free char *text = read_etc(etc, "group");
        char *rest = NULL, *fields[FIELDS_MAX];
        uint32_t gid;

        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
                if (split(line, fields) >= GROUP_MEMBERS && strcmp(fields[GROUP_NAME], wanted) == 0 &&
                    parse_id(fields[GROUP_GID], &gid)) {
                        *ret_gid = gid;
                        return true;
                }
        if (!parse_id(wanted, &gid))
                return false;
        *ret_gid = gid;
        return true;
}

static int find_name(const char *name, const char *etc, struct agent_user *user, struct err *err)
{
        uint32_t uid;

        if (take_passwd(etc, name, false, user) || take_passwd(etc, name, true, user))
                return 0;
        if (!parse_id(name, &uid))
                return err_set(err, ENOENT, OP_USER, "no user '%.100s' in /etc/passwd", name);
        user->uid = uid;
        user->gid = 0; /* as docker exec does */
        user->name = xstrdup(name);
        user->home = xstrdup("/");
        return 0;
}

int agent_user_find(const char *wanted, const char *etc, struct agent_user *ret_user, struct err *err)
{
        const char *colon = strchr(wanted, ':');
        scoped_free char *name = strndup(wanted, colon ? (size_t) (colon - wanted) : strlen(wanted));
        int r;

        *ret_user = (struct agent_user){ 0 };
        if (!name || !*name)
                return err_set(err, EINVAL, OP_USER, "'%.100s' names no user", wanted);
        r = find_name(name, etc, ret_user, err);
        if (r < 0)
                return r;
        if (colon && !find_group(etc, colon + 1, &ret_user->gid)) {
                agent_user_done(ret_user);
                return err_set(err, ENOENT, OP_USER, "no group '%.100s' in /etc/group", colon + 1);
        }
        ret_user->groups[ret_user->n_groups++] = ret_user->gid;
        if (!colon)
                take_groups(etc, ret_user);
        return 0;
}

void agent_user_done(struct agent_user *user)
{
        free(user->name);
        free(user->home);
        free(user->shell);
        *user = (struct agent_user){ 0 };
}
