#include "image/oci/oci_config.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/scoped.h"
#include "base/text.h"
#include "image/oci/oci_manifest.h"
#include "image/oci/oci_reference.h"

#define OP "image.config"

struct reading {
        const char *what;
        json_t *run;
        size_t n_bytes;
        struct err *err;
};

static int count(struct reading *reading, const char *text)
{
        reading->n_bytes += strlen(text) + 1;
        return reading->n_bytes <= OCI_RUN_BYTES_MAX
                       ? 0
                       : err_set(reading->err, E2BIG, OP,
                                 "%s: environment and arguments are larger than %zu bytes", reading->what,
                                 OCI_RUN_BYTES_MAX);
}

static int take_text(struct reading *reading, const json_t *config, const char *theirs, const char *ours)
{
        const char *text = json_text(config, theirs);

        if (*text == '\0')
                return 0;
        (void) json_object_set_new(reading->run, ours, json_string(text));
        return count(reading, text);
}

static int take_list(struct reading *reading, const json_t *config, const char *theirs, const char *ours)
{
        json_t *list = json_object_get(config, theirs);
        const json_t *item = NULL;
        size_t i;

        if (!list || json_is_null(list) || (json_is_array(list) && json_array_size(list) == 0))
                return 0;
        if (!json_is_array(list))
                return err_set(reading->err, EBADMSG, OP, "%s: %s is not a list", reading->what, theirs);
        if (json_array_size(list) > OCI_RUN_ITEMS_MAX)
                return err_set(reading->err, E2BIG, OP, "%s: %s has more than %u items", reading->what,
                               theirs, OCI_RUN_ITEMS_MAX);
        json_array_foreach (list, i, item) {
                const char *text = json_string_value(item);
                int r = text ? count(reading, text)
                             : err_set(reading->err, EBADMSG, OP, "%s: %s has an item that is no text",
                                       reading->what, theirs);

                if (r < 0)
                        return r;
        }
        (void) json_object_set(reading->run, ours, list);
        return 0;
}

static int read_run(const json_t *document, struct reading *reading)
{
        static const struct {
                const char *theirs, *ours;
                int (*take)(struct reading *, const json_t *, const char *, const char *);
        } fields[] = {
                {"Env",         "env",         take_list},
                { "Entrypoint", "entrypoint",  take_list},
                { "Cmd",        "cmd",         take_list},
                { "WorkingDir", "working_dir", take_text},
                { "User",       "user",        take_text},
                { "StopSignal", "stop_signal", take_text},
        };
        const json_t *config = json_object_get(document, "config");

        for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
                int r = fields[i].take(reading, config, fields[i].theirs, fields[i].ours);

                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_diff_ids(const json_t *document, unsigned n_layers, const char *what,
                         struct oci_config *config, struct err *err)
{
        const json_t *ids = json_object_get(json_object_get(document, "rootfs"), "diff_ids");

        if (json_array_size(ids) != n_layers)
                return err_set(err, EBADMSG, OP, "%s: the manifest has %u layers, the configuration %zu",
                               what, n_layers, json_array_size(ids));
        config->diff_ids = xcalloc(n_layers, sizeof(*config->diff_ids));
        for (; config->n_diff_ids < n_layers; config->n_diff_ids++) {
                const char *id = json_string_value(json_array_get(ids, config->n_diff_ids));

                if (!id || !oci_digest_is_valid(id))
                        return err_set(err, EBADMSG, OP, "%s: '%.80s' among the diff_ids is no sha256 digest",
                                       what, id ? id : "");
                config->diff_ids[config->n_diff_ids] = xstrdup(id);
        }
        return 0;
}

/* RFC 3339, of which the seconds count; "0001-01-01..." is how Go writes that there is none. */
static uint64_t read_time(const char *text)
{
        struct tm tm = { 0 };
        const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
        time_t seconds = rest ? timegm(&tm) : 0;

        return seconds > 0 ? (uint64_t) seconds : 0;
}

static int read_document(const json_t *document, unsigned n_layers, const char *what,
                         struct oci_config *config, struct err *err)
{
        const char *os = json_text(document, "os"), *architecture = json_text(document, "architecture");
        struct reading reading = { .what = what, .run = config->run, .err = err };
        int r;

        if (!json_is_object(document))
                return err_set(err, EBADMSG, OP, "%s is not an image's configuration", what);
        /* both are required, and what leaves them out (scratch images of old tools) is taken for ours */
        if ((*os != '\0' && strcmp(os, OCI_PLATFORM_OS) != 0) ||
            (*architecture != '\0' && strcmp(architecture, OCI_PLATFORM_ARCHITECTURE) != 0))
                return err_set(err, ENOTSUP, OP, "%s: the image is for %.20s/%.20s, guests are %s/%s", what,
                               os, architecture, OCI_PLATFORM_OS, OCI_PLATFORM_ARCHITECTURE);
        config->created_s = read_time(json_text(document, "created"));
        r = read_run(document, &reading);
        return r < 0 ? r : read_diff_ids(document, n_layers, what, config, err);
}

int oci_config_parse(const char *text, size_t n, unsigned n_layers, const char *what,
                     struct oci_config *ret_config, struct err *err)
{
        struct oci_config config = { .run = json_object() };
        json_auto_t *document = NULL;
        int r = n > OCI_CONFIG_MAX
                        ? err_set(err, E2BIG, OP, "%s is larger than %zu bytes", what, OCI_CONFIG_MAX)
                        : json_parse(text, n, what, &document, err);

        if (r == 0)
                r = read_document(document, n_layers, what, &config, err);
        if (r < 0) {
                oci_config_done(&config);
                return r;
        }
        *ret_config = config;
        return 0;
}

void oci_config_done(struct oci_config *config)
{
        json_decref(config->run);
        for (unsigned i = 0; i < config->n_diff_ids; i++)
                free(config->diff_ids[i]);
        free(config->diff_ids);
        *config = (struct oci_config){ 0 };
}
