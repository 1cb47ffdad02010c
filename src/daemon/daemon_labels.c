#include "daemon/daemon_labels.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "base/scoped.h"
#include "base/text.h"

#define KEY_MAX   63
#define VALUE_MAX 128

/* As in a shell's word: nothing that needs quotes, and no comma or '=' that would end it. */
static bool is_key(const char *text, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (!isalnum((unsigned char) text[i]) && !strchr("._-/", text[i]))
                        return false;
        return n > 0 && n <= KEY_MAX;
}

static bool is_value(const char *text, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (!isgraph((unsigned char) text[i]) && text[i] != ' ')
                        return false;
        return n <= VALUE_MAX;
}

static int apply_one(json_t *labels, const char *text, size_t n, struct err *err)
{
        const char *equals = memchr(text, '=', n);
        size_t n_key = equals ? (size_t) (equals - text) : n;
        scoped_free char *key = strndup(text, n_key);

        if (!equals || !is_key(text, n_key) || !is_value(equals + 1, n - n_key - 1))
                return err_set(
                        err, EINVAL, "vm.labels",
                        "label '%.*s' is not KEY=VALUE with a key of at most %d letters, digits, '.', '_', "
                        "'-', '/' and a printable value of at most %d",
                        (int) (n < 200 ? n : 200), text, KEY_MAX, VALUE_MAX);
        if (n_key + 1 == n)
                (void) json_object_del(labels, key);
        else
                (void) json_object_set_new(labels, key, json_stringn(equals + 1, n - n_key - 1));
        return 0;
}

int daemon_labels_apply(json_t *labels, const char *text, struct err *err)
{
        json_auto_t *changed = json_deep_copy(labels);

        for (const char *p = text; *p != '\0';) {
                size_t n = strcspn(p, ",");
                int r = apply_one(changed, p, n, err);

                if (r < 0)
                        return r;
                p += n + (p[n] == ',');
        }
        if (json_object_size(changed) > LABELS_MAX)
                return err_set(err, EINVAL, "vm.labels", "a vm has at most %d labels", LABELS_MAX);
        (void) json_object_clear(labels);
        (void) json_object_update(labels, changed);
        return 0;
}

json_t *daemon_labels_parse(const char *json)
{
        json_t *labels = NULL;
        struct err err = { 0 };

        if (!json || *json == '\0' || json_parse(json, strlen(json), "the labels", &labels, &err) < 0 ||
            !json_is_object(labels)) {
                json_decref(labels);
                return json_object();
        }
        return labels;
}
