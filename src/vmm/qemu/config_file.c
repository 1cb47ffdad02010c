#include "vmm/qemu/config_file.h"

#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "base/size.h"
#include "base/text.h"

#define CONFIG_FILE_MAX (1 * MIB)

/* In the order Firecracker applies them. */
static const struct {
        const char *section;
        const char *path;   /* of the request; ends with a slash for lists */
        const char *id_key; /* of the items of a list */
} sections[] = {
        {"logger",              "/logger",              NULL      },
        { "metrics",            "/metrics",             NULL      },
        { "serial",             "/serial",              NULL      },
        { "machine-config",     "/machine-config",      NULL      },
        { "boot-source",        "/boot-source",         NULL      },
        { "cpu-config",         "/cpu-config",          NULL      },
        { "drives",             "/drives/",             "drive_id"},
        { "network-interfaces", "/network-interfaces/", "iface_id"},
        { "vsock",              "/vsock",               NULL      },
        { "balloon",            "/balloon",             NULL      },
        { "mmds-config",        "/mmds/config",         NULL      },
        { "entropy",            "/entropy",             NULL      },
        { "pmem",               "/pmem/",               "id"      },
        { "memory-hotplug",     "/hotplug/memory",      NULL      },
};
#define N_SECTIONS (sizeof(sections) / sizeof(sections[0]))

static int put(struct vm_instance *instance, const char *path, const json_t *body, struct err *err)
{
        scoped_free char *text = json_dumps(body, JSON_COMPACT);
        struct vm_incoming incoming = { .method = "PUT", .path = path, .body = text };
        struct vm_reply reply = { 0 };
        int r;

        if (!text)
                return err_set(err, EINVAL, "vmm.config", "%s is not an object", path);
        incoming.n = strlen(text);
        r = vm_instance_request(instance, &incoming, &reply, err);
        json_decref(reply.json);
        return r;
}

static int put_list(struct vm_instance *instance, const char *path, const char *id_key, json_t *list,
                    struct err *err)
{
        json_t *item;
        size_t i;

        if (!json_is_array(list))
                return err_set(err, EINVAL, "vmm.config", "'%s' is not a list", path);
        json_array_foreach (list, i, item) {
                scoped_free char *whole = xasprintf("%s%.256s", path, json_text(item, id_key));
                int r = put(instance, whole, item, err);

                if (r < 0)
                        return r;
        }
        return 0;
}

static int refuse_unknown(json_t *document, struct err *err)
{
        const char *key;
        json_t *value;

        if (!json_is_object(document))
                return err_set(err, EINVAL, "vmm.config", "the configuration is not an object");
        json_object_foreach (document, key, value) {
                bool known = false;

                for (size_t i = 0; i < N_SECTIONS; i++)
                        known |= strcmp(sections[i].section, key) == 0;
                if (!known)
                        return err_set(err, EINVAL, "vmm.config", "unknown field `%.100s`", key);
        }
        if (!json_object_get(document, "boot-source"))
                return err_set(err, EINVAL, "vmm.config", "missing field `boot-source`");
        return json_object_get(document, "drives")
                       ? 0
                       : err_set(err, EINVAL, "vmm.config", "missing field `drives`");
}

int config_file_apply(struct vm_instance *instance, const char *path, struct err *err)
{
        json_auto_t *document = NULL, *action = json_pack("{s:s}", "action_type", "InstanceStart");
        int r = json_read_file(path, CONFIG_FILE_MAX, &document, err);

        if (r == 0)
                r = refuse_unknown(document, err);
        for (size_t i = 0; r == 0 && i < N_SECTIONS; i++) {
                json_t *section = json_object_get(document, sections[i].section);

                if (!section || json_is_null(section))
                        continue;
                r = sections[i].id_key
                            ? put_list(instance, sections[i].path, sections[i].id_key, section, err)
                            : put(instance, sections[i].path, section, err);
        }
        return r < 0 ? r : put(instance, "/actions", action, err);
}
