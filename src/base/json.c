#include "base/json.h"

#include <errno.h>
#include <string.h>

#include "base/file.h"
#include "base/scoped.h"
#include "base/text.h"

const char *json_text(const json_t *object, const char *key)
{
        const char *text = json_string_value(json_object_get(object, key));

        return text ? text : "";
}

uint64_t json_u64(const json_t *object, const char *key, uint64_t fallback)
{
        const json_t *value = json_object_get(object, key);

        if (!json_is_integer(value) || json_integer_value(value) < 0)
                return fallback;
        return (uint64_t) json_integer_value(value);
}

bool json_flag(const json_t *object, const char *key)
{
        return json_is_true(json_object_get(object, key));
}

int json_parse(const char *text, size_t n, const char *what, json_t **ret_json, struct err *err)
{
        json_error_t error;
        json_t *json = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);

        if (!json)
                return err_set(err, EBADMSG, "json.parse", "%s is not valid JSON (line %d: %.160s)", what,
                               error.line, error.text);
        *ret_json = json;
        return 0;
}

int json_read_file(const char *path, size_t max, json_t **ret_json, struct err *err)
{
        scoped_free char *text = NULL;
        size_t n;
        int r = file_read(path, max, &text, &n, err);

        if (r < 0)
                return r;
        return json_parse(text, n, path, ret_json, err);
}

int json_write_file(const char *path, const json_t *json, mode_t mode, struct err *err)
{
        scoped_free char *text = json_dumps(json, JSON_INDENT(2) | JSON_SORT_KEYS);

        if (!text)
                return err_set(err, EINVAL, "json.write", "'%s' cannot be written as JSON", path);
        return file_replace(path, text, strlen(text), mode, err);
}
