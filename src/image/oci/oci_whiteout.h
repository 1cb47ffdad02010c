/* The names by which a layer says that something of the layers below is gone (OCI image-spec layer.md, "Whiteouts"). */
#pragma once

#include "base/err.h"

enum oci_whiteout {
        OCI_WHITEOUT_NONE,   /* an entry like others */
        OCI_WHITEOUT_REMOVE, /* ".wh.NAME": NAME beside it */
        OCI_WHITEOUT_OPAQUE, /* ".wh..wh..opq": all of the folder's names */
        OCI_WHITEOUT_IGNORE, /* other ".wh..wh." names: what AUFS kept for itself */
};

/* *ret_path, owned: what is removed, or the folder; NULL for the other two. EBADMSG: a whiteout of no name, of . or .. */
int oci_whiteout_read(const char *path, enum oci_whiteout *ret_kind, char **ret_path, struct err *err);
