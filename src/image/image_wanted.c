#include "image/image_wanted.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/scoped.h"
#include "base/text.h"
#include "image/image_store.h"
#include "image/oci/oci_reference.h"

#define OP "image.wanted"

void image_wanted_done(struct image_wanted *wanted)
{
        free(wanted->name);
        free(wanted->reference);
        free(wanted->source);
        *wanted = (struct image_wanted){ 0 };
}

enum name_state {
        NAME_FREE,
        NAME_OURS,
        NAME_TAKEN
};

/* Who has the name: nobody, an image of this source, or another. */
static enum name_state look_at(const char *images_folder, const char *name, const char *source)
{
        struct image image = { 0 };
        struct err err = { 0 };
        enum name_state state;

        if (!image_name_is_valid(name))
                return NAME_TAKEN;
        if (image_read(images_folder, name, &image, &err) < 0)
                return err.code == ENOENT ? NAME_FREE : NAME_TAKEN;
        state = strcmp(image.source, source) == 0 ? NAME_OURS : NAME_TAKEN;
        image_done(&image);
        return state;
}

static bool is_local(const char *images_folder, const char *word)
{
        struct image image = { 0 };
        struct err ignored = { 0 };

        if (!image_name_is_valid(word) || image_read(images_folder, word, &image, &ignored) < 0)
                return false;
        image_done(&image);
        return true;
}

/* The short name unless it is another's, then the long one. */
static int choose_name(const char *images_folder, const struct oci_reference *reference,
                       struct image_wanted *wanted, struct err *err)
{
        for (int whole = 0; whole < 2; whole++) {
                scoped_free char *name = oci_reference_local_name(reference, whole);
                enum name_state state = look_at(images_folder, name, wanted->source);

                if (state == NAME_TAKEN || image_catalog_find(name))
                        continue;
                wanted->name = take_ptr(name);
                wanted->is_here = state == NAME_OURS;
                return 0;
        }
        return err_set(err, EEXIST, OP, "'%s' needs a name here: add --name", wanted->reference);
}

static int take_reference(const char *images_folder, const struct image_wish *wish,
                          struct image_wanted *wanted, struct err *err)
{
        const char *name = wish->name;
        scoped(oci_reference_done) struct oci_reference reference = { 0 };
        int r = oci_reference_parse(wish->word, &reference, err);

        if (r < 0)
                return r;
        if (reference.transport == OCI_TRANSPORT_STDIN && !name)
                return err_set(err, EINVAL, OP, "an image from standard input needs a name: add --name");
        wanted->reference = oci_reference_format(&reference);
        wanted->source = xstrdup(wish->source ? wish->source : wanted->reference);
        if (!name)
                return choose_name(images_folder, &reference, wanted, err);
        wanted->name = xstrdup(name);
        switch (look_at(images_folder, name, wanted->source)) {
        case NAME_OURS:
                wanted->is_here = true;
                return 0;
        case NAME_FREE:
                return 0;
        case NAME_TAKEN:
                break;
        }
        return err_set(err, EEXIST, OP, "image '%s' exists and is not %s: delete it, or give another --name",
                       name, wanted->source);
}

int image_wanted_find(const char *images_folder, const struct image_wish *wish,
                      struct image_wanted *ret_wanted, struct err *err)
{
        struct image_wanted wanted = { 0 };
        bool is_here = wish->local_first && is_local(images_folder, wish->word);
        int r = 0;

        if (is_here || image_catalog_find(wish->word)) {
                wanted.name = xstrdup(wish->name ? wish->name : wish->word);
                wanted.is_here = is_here || is_local(images_folder, wanted.name);
        } else {
                r = take_reference(images_folder, wish, &wanted, err);
        }
        if (r < 0) {
                image_wanted_done(&wanted);
                return r;
        }
        *ret_wanted = wanted;
        return 0;
}
