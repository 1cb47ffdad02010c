#include <errno.h>
#include <stdlib.h>

#include "base/scoped.h"
#include "base/size.h"
#include "doctor/doctor_checks.h"
#include "image/image_store.h"

DOCTOR_CHECK(doctor_image)
{
        scoped_free char *folder = layout_join(context->layout->state, "images", NULL);
        char size[SIZE_TEXT_MAX];
        struct image image = { 0 };
        struct err err = { 0 };
        int r = image_read(folder, context->image, &image, &err);

        if (r == -ENOENT) {
                doctor_warn(result,
                            "%s is not here yet: the first machine pulls it, or 'banger image pull %s'",
                            context->image, context->image);
        } else if (r < 0) {
                doctor_fail(result, "%s", err.message);
        } else {
                size_human(image.real_bytes, size);
                doctor_pass(result, "%s (%s on disk)", image.name, size);
                if (image.work_seed_path[0] == '\0')
                        doctor_warn(result, "it has no work seed: /root of its machines begins empty");
        }
        image_done(&image);
}
