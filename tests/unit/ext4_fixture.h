/* Archives made entry by entry, and what is in the file systems that become of them. */
#pragma once

#include <archive.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/scoped.h"
#include "base/size.h"
#include "base/text.h"
#include "ext4/ext4_image.h"
#include "unit.h"

#define IMAGE_SIZE (64 * MIB)
#define TIME       1700000000

/* The paths of a test, in a folder of its own. */
struct scratch {
        char *folder, *tar, *image, *copy; /* owned */
};

/* Set-up and tear-down of a test: *state is its scratch. */
int make_scratch(void **state);
int drop_scratch(void **state);

/* One entry of an archive: type as in ls -l, 'h' a hard link. */
struct item {
        const char *path;
        char type;
        mode_t mode;
        int64_t uid, gid;
        const char *text; /* content, or target */
        const char *xattr, *xattr_value;
        size_t xattr_fill; /* bytes of 'v' instead of xattr_value */
        int64_t hole;      /* bytes before the content, sparse */
};

/* items ends with a NULL path. */
void write_tar(const char *path, const struct item *items, int (*filter)(struct archive *),
               int (*format)(struct archive *));

/* scratch->tar becomes scratch->image, anew. */
int convert_with(const struct scratch *scratch, const struct ext4_options *options, struct err *err);
/* The same with IMAGE_SIZE and TIME. */
int convert(const struct scratch *scratch, struct err *err);
/* As e2fsck(8) sees it. */
void assert_is_clean(const char *image);

/* What a clean image holds, a line a name: "path type mode uid:gid size links [-> target] [name=value]". The caller owns it. */
char *describe(const char *image);
/* The root's line, with one folder in it (lost+found), and with two. */
#define ROOT3 "/ d 755 0:0 0 3\n"
#define ROOT4 "/ d 755 0:0 0 4\n"
