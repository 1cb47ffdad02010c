#include "image/oci/oci_whiteout.h"

#include <errno.h>
#include <string.h>

#include "base/text.h"

#define PREFIX ".wh."
#define META   ".wh..wh."
#define OPAQUE ".wh..wh..opq"

static bool is(const char *name, size_t n, const char *wanted)
{
        return n == strlen(wanted) && memcmp(name, wanted, n) == 0;
}

static bool begins(const char *name, size_t n, const char *prefix)
{
        return n >= strlen(prefix) && memcmp(name, prefix, strlen(prefix)) == 0;
}

int oci_whiteout_read(const char *path, enum oci_whiteout *ret_kind, char **ret_path, struct err *err)
{
        size_t n = strlen(path), n_folder;
        const char *name;

        *ret_kind = OCI_WHITEOUT_NONE;
        *ret_path = NULL;
        while (n > 0 && path[n - 1] == '/')
                n--;
        n_folder = n;
        while (n_folder > 0 && path[n_folder - 1] != '/')
                n_folder--;
        name = path + n_folder;
        n -= n_folder;
        if (!begins(name, n, PREFIX))
                return 0;
        if (begins(name, n, META)) {
                *ret_kind = is(name, n, OPAQUE) ? OCI_WHITEOUT_OPAQUE : OCI_WHITEOUT_IGNORE;
                if (*ret_kind == OCI_WHITEOUT_OPAQUE)
                        *ret_path = xasprintf("%.*s", (int) n_folder, path);
                return 0;
        }
        if (is(name, n, PREFIX) || is(name, n, PREFIX ".") || is(name, n, PREFIX ".."))
                return err_set(err, EBADMSG, "image.whiteout", "'%.300s' removes no name", path);
        *ret_kind = OCI_WHITEOUT_REMOVE;
        *ret_path = xasprintf("%.*s%.*s", (int) n_folder, path, (int) (n - strlen(PREFIX)),
                              name + strlen(PREFIX));
        return 0;
}
