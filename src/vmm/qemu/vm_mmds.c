#include "vmm/qemu/vm_mmds.h"

#include <errno.h>
#include <string.h>

#include "base/scoped.h"

void vm_mmds_done(struct vm_mmds *mmds)
{
        json_decref(take_ptr(mmds->data));
}

static int store(struct vm_mmds *mmds, json_t *owned_data, struct err *err)
{
        scoped_free char *text = json_dumps(owned_data, JSON_COMPACT | JSON_ENCODE_ANY);

        if (!text || strlen(text) > mmds->limit) {
                json_decref(owned_data);
                return err_set(err, EFBIG, "vmm.mmds", "The MMDS patch request doesn't fit.");
        }
        json_decref(mmds->data);
        mmds->data = owned_data;
        return 0;
}

int vm_mmds_put(struct vm_mmds *mmds, json_t *data, struct err *err)
{
        return store(mmds, json_incref(data), err);
}

/* RFC 7396 §2. As deep as the patch, which jansson limits to 2048 levels. */
static void merge(json_t *target, json_t *patch)
{
        const char *key;
        json_t *value;

        json_object_foreach (patch, key, value) {
                json_t *old = json_object_get(target, key);

                if (json_is_null(value)) {
                        (void) json_object_del(target, key);
                        continue;
                }
                if (!json_is_object(value)) {
                        (void) json_object_set(target, key, value);
                        continue;
                }
                if (!json_is_object(old)) {
                        (void) json_object_set_new(target, key, json_object());
                        old = json_object_get(target, key);
                }
                merge(old, value);
        }
}

int vm_mmds_patch(struct vm_mmds *mmds, json_t *patch, struct err *err)
{
        json_t *merged;

        if (!mmds->data)
                return err_set(err, EINVAL, "vmm.mmds", "The MMDS data store is not initialized.");
        if (!json_is_object(patch) || !json_is_object(mmds->data))
                return store(mmds, json_deep_copy(patch), err);
        merged = json_deep_copy(mmds->data);
        merge(merged, patch);
        return store(mmds, merged, err);
}
