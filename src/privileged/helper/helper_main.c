/*
 * bangerd-root: the root half of banger. It answers the closed list of privileged/contract and nothing else, links no
 * HTTP, TLS, database or archive code, starts no program, and takes the daemon that calls it for hostile.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/layout.h"
#include "base/log.h"
#include "base/text.h"
#include "base/version.h"
#include "privileged/helper/helper_listen.h"

#define OP         "priv.options"
#define ID_MAX     (UINT32_MAX - 1)
#define IDLE_MAX_S (UINT64_C(7) * 24 * 3600)
#define EXIT_USAGE 2

static const char usage[] =
        "Usage: bangerd-root [OPTION]...\n"
        "The root helper of banger. Without options it serves the owner named in " LAYOUT_INSTALL_FILE ".\n\n"
        "  --owner-uid N       the user whose daemon may call\n"
        "  --owner-gid N       that user's group\n"
        "  --state-dir DIR     the owner's state folder\n"
        "  --runtime-dir DIR   the owner's runtime folder, where API sockets are\n"
        "  --socket PATH       the socket to listen on; its folder becomes root's, mode 0711\n"
        "  --idle-exit SECONDS end after so long without a request\n"
        "  --version           print the version and end\n"
        "  --help              print this and end\n";

enum option_id {
        OPTION_OWNER_UID = 1,
        OPTION_OWNER_GID,
        OPTION_STATE_DIR,
        OPTION_RUNTIME_DIR,
        OPTION_SOCKET,
        OPTION_IDLE_EXIT,
        OPTION_VERSION,
        OPTION_HELP,
        OPTION_N,
};

static const struct option options[] = {
        {"owner-uid",    required_argument, NULL, OPTION_OWNER_UID  },
        { "owner-gid",   required_argument, NULL, OPTION_OWNER_GID  },
        { "state-dir",   required_argument, NULL, OPTION_STATE_DIR  },
        { "runtime-dir", required_argument, NULL, OPTION_RUNTIME_DIR},
        { "socket",      required_argument, NULL, OPTION_SOCKET     },
        { "idle-exit",   required_argument, NULL, OPTION_IDLE_EXIT  },
        { "version",     no_argument,       NULL, OPTION_VERSION    },
        { "help",        no_argument,       NULL, OPTION_HELP       },
        { NULL,          0,                 NULL, 0                 },
};

/* Values as given, NULL when not. Borrowed from argv. */
struct wishes {
        const char *given[OPTION_N];
};

/* 0: go on; otherwise 1 + exit status. */
static int read_options(int argc, char **argv, struct wishes *ret_wishes)
{
        int option;

        while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
                scoped_free char *line = NULL;

                switch (option) {
                case OPTION_VERSION:
                        line = version_line("bangerd-root");
                        (void) puts(line);
                        return 1;
                case OPTION_HELP:
                        (void) fputs(usage, stdout);
                        return 1;
                case '?':
                        (void) fputs("Try 'bangerd-root --help'.\n", stderr);
                        return 1 + EXIT_USAGE;
                default:
                        ret_wishes->given[option] = optarg;
                }
        }
        if (optind < argc) {
                (void) fprintf(stderr, "bangerd-root: unexpected argument '%s'\n", argv[optind]);
                return 1 + EXIT_USAGE;
        }
        return 0;
}

static int number_of(const struct wishes *wishes, enum option_id option, const char *name, uint64_t max,
                     uint64_t *ret_value, struct err *err)
{
        const char *given = wishes->given[option];

        if (given && text_parse_u64(given, max, ret_value) < 0)
                return err_set(err, EINVAL, OP, "--%s: '%s' is not a number up to %llu", name, given,
                               (unsigned long long) max);
        return 0;
}

static int path_of(const struct wishes *wishes, enum option_id option, const char *name,
                   const char **ret_path, struct err *err)
{
        const char *given = wishes->given[option];

        if (given && (given[0] != '/' || strlen(given) < 2 || text_ends_with(given, "/")))
                return err_set(err, EINVAL, OP,
                               "--%s: '%s' is not an absolute path without a slash at its end", name, given);
        if (given)
                *ret_path = given;
        return 0;
}

/* The layout says what is not given. Strings are borrowed from it. */
static int settle(const struct wishes *wishes, const struct layout *layout,
                  struct listen_options *ret_options, struct err *err)
{
        uint64_t uid = layout->owner_uid, gid = layout->owner_gid;
        const char *state = layout->state;
        int r = number_of(wishes, OPTION_OWNER_UID, "owner-uid", ID_MAX, &uid, err);

        *ret_options = (struct listen_options){ .socket = layout->helper_socket };
        ret_options->config.runtime_dir = layout->runtime;
        if (r == 0)
                r = number_of(wishes, OPTION_OWNER_GID, "owner-gid", ID_MAX, &gid, err);
        if (r == 0)
                r = number_of(wishes, OPTION_IDLE_EXIT, "idle-exit", IDLE_MAX_S, &ret_options->idle_exit_s,
                              err);
        if (r == 0)
                r = path_of(wishes, OPTION_STATE_DIR, "state-dir", &state, err);
        if (r == 0)
                r = path_of(wishes, OPTION_RUNTIME_DIR, "runtime-dir", &ret_options->config.runtime_dir, err);
        if (r == 0)
                r = path_of(wishes, OPTION_SOCKET, "socket", &ret_options->socket, err);
        if (r < 0)
                return r;
        if (uid == 0)
                return err_set(err, EINVAL, OP,
                               "the owner must not be root; give --owner-uid and --owner-gid");
        if (!ret_options->config.runtime_dir || !ret_options->socket)
                return err_set(err, EINVAL, OP, "give --runtime-dir and --socket, or install banger");
        ret_options->config.owner_uid = (uid_t) uid;
        ret_options->config.owner_gid = (gid_t) gid;
        return 0;
}

static bool needs_layout(const struct wishes *wishes)
{
        return !wishes->given[OPTION_OWNER_UID] || !wishes->given[OPTION_OWNER_GID] ||
               !wishes->given[OPTION_RUNTIME_DIR] || !wishes->given[OPTION_SOCKET];
}

static int run(const struct wishes *wishes, struct err *err)
{
        struct layout layout = { 0 };
        struct listen_options listen;
        int r = 0;

        if (geteuid() != 0)
                return err_set(err, EPERM, OP, "only root can be the root helper");
        if (needs_layout(wishes))
                r = layout_find(true, &layout, err);
        if (r == 0)
                r = settle(wishes, &layout, &listen, err);
        if (r == 0)
                r = listen_serve(&listen, err);
        layout_done(&layout);
        return r;
}

int main(int argc, char **argv)
{
        struct wishes wishes = { 0 };
        struct err err = { 0 };
        int r;

        (void) umask(077);
        log_init("bangerd-root", LOG_LEVEL_INFO);
        r = read_options(argc, argv, &wishes);
        if (r > 0)
                return r - 1;
        r = run(&wishes, &err);
        if (r < 0)
                log_error("helper ended", "{s:s}", "error", err.message);
        return r < 0;
}
