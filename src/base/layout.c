#include "base/layout.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/scoped.h"
#include "base/text.h"
#include "base/toml.h"

#define INSTALL_FILE_MAX (64 * 1024)

char *layout_join(const char *base, const char *a, const char *b)
{
        return b ? xasprintf("%s/%s/%s", base, a, b) : xasprintf("%s/%s", base, a);
}

/* An XDG base folder: the environment's when absolute (XDG base directory specification), else home/fallback. */
static char *xdg_folder(const char *variable, const char *home, const char *fallback)
{
        const char *value = getenv(variable);

        if (value && value[0] == '/')
                return layout_join(value, "banger", NULL);
        return layout_join(home, fallback, "banger");
}

static void fill_system(struct layout *layout)
{
        layout->is_system = true;
        layout->state = xstrdup("/var/lib/banger");
        layout->cache = xstrdup("/var/cache/banger");
        layout->runtime = xstrdup("/run/banger");
        layout->config = xstrdup("/etc/banger/config.toml");
        layout->helper_folder = xstrdup("/run/banger-root");
}

static void fill_user(struct layout *layout)
{
        const char *runtime = getenv("XDG_RUNTIME_DIR");
        scoped_free char *config = xdg_folder("XDG_CONFIG_HOME", layout->owner_home, ".config");

        layout->state = xdg_folder("XDG_STATE_HOME", layout->owner_home, ".local/state");
        layout->cache = xdg_folder("XDG_CACHE_HOME", layout->owner_home, ".cache");
        layout->config = layout_join(config, "config.toml", NULL);
        layout->runtime = runtime && runtime[0] == '/'
                                  ? layout_join(runtime, "banger", NULL)
                                  : xasprintf("/tmp/banger-%u", (unsigned) layout->owner_uid);
        layout->helper_folder = xasprintf("/run/banger-root-%u", (unsigned) layout->owner_uid);
}

/* $HOME is the base of the XDG folders; root's says nothing of the owner's. */
static int use_account(struct layout *layout, const struct passwd *account)
{
        const char *home = geteuid() == 0 ? NULL : getenv("HOME");

        layout->owner_uid = account->pw_uid;
        layout->owner_gid = account->pw_gid;
        layout->owner_home = xstrdup(home && home[0] == '/' ? home : account->pw_dir);
        return 0;
}

/* The owner that install.toml names. */
static int owner_from_install(struct layout *layout, struct err *err)
{
        json_auto_t *install = NULL;
        scoped_free char *text = NULL;
        int r = file_read(LAYOUT_INSTALL_FILE, INSTALL_FILE_MAX, &text, NULL, err);

        if (r < 0)
                return r;
        r = toml_parse(text, LAYOUT_INSTALL_FILE, &install, err);
        if (r < 0)
                return r;
        layout->owner_uid = (uid_t) json_u64(install, "owner_uid", 0);
        layout->owner_gid = (gid_t) json_u64(install, "owner_gid", 0);
        layout->owner_home = xstrdup(json_text(install, "owner_home"));
        if (layout->owner_uid == 0)
                return err_set(err, EINVAL, "layout.find",
                               LAYOUT_INSTALL_FILE " names no owner; run 'sudo banger system install' again");
        return 0;
}

static int find_owner(struct layout *layout, struct err *err)
{
        uid_t caller = geteuid();
        const struct passwd *account;

        if (layout->is_installed) {
                int r = owner_from_install(layout, err);

                if (r < 0)
                        return r;
                if (caller != 0 && caller != layout->owner_uid)
                        return err_set(
                                err, EPERM, "layout.find",
                                "this installation belongs to uid %u; run banger as that user or as root",
                                (unsigned) layout->owner_uid);
                return 0;
        }
        account = caller == 0 ? getpwnam(LAYOUT_SERVICE_USER) : getpwuid(caller);
        if (!account && caller == 0)
                return err_set(err, ENOENT, "layout.find",
                               "no user '" LAYOUT_SERVICE_USER
                               "' to own the machines (they never run as root); "
                               "'make quickstart' makes it, or run banger as an ordinary user");
        if (!account)
                return err_set(err, ENOENT, "layout.find", "uid %u has no account", (unsigned) caller);
        return use_account(layout, account);
}

int layout_find(bool want_system, struct layout *ret_layout, struct err *err)
{
        struct layout layout = { .is_installed = access(LAYOUT_INSTALL_FILE, F_OK) == 0 };
        int r = find_owner(&layout, err);

        if (r < 0) {
                layout_done(&layout);
                return r;
        }
        if (want_system || layout.is_installed || geteuid() == 0)
                fill_system(&layout);
        else
                fill_user(&layout);
        layout.daemon_socket = layout_join(layout.runtime, "bangerd.sock", NULL);
        layout.helper_socket = layout_join(layout.helper_folder, "bangerd-root.sock", NULL);
        *ret_layout = layout;
        return 0;
}

void layout_done(struct layout *layout)
{
        free(layout->owner_home);
        free(layout->state);
        free(layout->cache);
        free(layout->runtime);
        free(layout->config);
        free(layout->daemon_socket);
        free(layout->helper_folder);
        free(layout->helper_socket);
        *layout = (struct layout){ 0 };
}
