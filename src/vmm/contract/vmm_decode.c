#include "vmm/contract/vmm_decode.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "vmm/contract/vmm_place.h"

/* One decode in progress: the text for positions, and the way down from the outermost object. */
struct decoding {
        const char *text;
        size_t n;
        const char *path[VMM_PLACE_DEPTH];
        size_t depth;
        struct err *err;
};

void vmm_document_done(struct vmm_document *document)
{
        json_decref(take_ptr(document->json));
}

__attribute__((format(printf, 3, 4))) static int refuse(const struct decoding *d, enum vmm_place_of of,
                                                        const char *format, ...)
{
        struct vmm_place place = vmm_place_find(d->text, d->n, d->path, d->depth, of);
        char what[ERR_MESSAGE_MAX - 64];
        va_list args;

        va_start(args, format);
        (void) vsnprintf(what, sizeof(what), format, args);
        va_end(args);
        return err_set(d->err, EINVAL, "vmm.decode", "%s at line %zu column %zu", what, place.line,
                       place.column);
}

/* How serde names a value it did not want. */
static void describe(const json_t *value, char *out, size_t n)
{
        switch (json_typeof(value)) {
        case JSON_OBJECT:
                (void) snprintf(out, n, "map");
                return;
        case JSON_ARRAY:
                (void) snprintf(out, n, "sequence");
                return;
        case JSON_STRING:
                (void) snprintf(out, n, "string \"%.200s\"", json_string_value(value));
                return;
        case JSON_INTEGER:
                (void) snprintf(out, n, "integer `%lld`", (long long) json_integer_value(value));
                return;
        case JSON_REAL:
                (void) snprintf(out, n, "floating point `%g`", json_real_value(value));
                return;
        case JSON_TRUE:
        case JSON_FALSE:
                (void) snprintf(out, n, "boolean `%s`", json_is_true(value) ? "true" : "false");
                return;
        case JSON_NULL:
                break;
        }
        (void) snprintf(out, n, "null");
}

static int refuse_type(const struct decoding *d, const json_t *value, const char *expected)
{
        char found[256];

        describe(value, found, sizeof(found));
        return refuse(d, VMM_PLACE_VALUE, "invalid type: %s, expected %s", found, expected);
}

/* "there are no fields", "expected `a`", "expected `a` or `b`", "expected one of `a`, `b`, `c`" */
static void list_names(struct text *out, const char *(*name_of)(const void *, size_t), const void *names)
{
        size_t n = 0;

        while (name_of(names, n))
                n++;
        if (n == 2) {
                text_appendf(out, "expected `%s` or `%s`", name_of(names, 0), name_of(names, 1));
                return;
        }
        text_append(out, n == 1 ? "expected " : "expected one of ");
        for (size_t i = 0; i < n; i++)
                text_appendf(out, "%s`%s`", i ? ", " : "", name_of(names, i));
}

static const char *field_name(const void *fields, size_t i)
{
        return ((const struct vmm_field *) fields)[i].name;
}

static const char *variant_name(const void *variants, size_t i)
{
        return ((const char *const *) variants)[i];
}

static int refuse_unknown(const struct decoding *d, const char *what, const char *name,
                          const struct text *expected)
{
        return refuse(d, strcmp(what, "field") == 0 ? VMM_PLACE_KEY : VMM_PLACE_VALUE,
                      "unknown %s `%.200s`, %s", what, name, expected->s);
}

static int store_number(const struct decoding *d, const struct vmm_field *field, const json_t *value,
                        uint64_t *slot)
{
        char found[256];

        if (!json_is_integer(value))
                return refuse_type(d, value, field->type);
        if (json_integer_value(value) < 0 || (uint64_t) json_integer_value(value) > field->max) {
                describe(value, found, sizeof(found));
                return refuse(d, VMM_PLACE_VALUE, "invalid value: %s, expected %s", found, field->type);
        }
        *slot = (uint64_t) json_integer_value(value);
        return 0;
}

static int store_choice(const struct decoding *d, const struct vmm_field *field, const json_t *value,
                        unsigned *slot)
{
        const char *name = json_string_value(value);
        scoped_text struct text expected = { 0 };

        if (!name)
                return refuse_type(d, value, field->type);
        for (unsigned i = 0; field->variants[i]; i++)
                if ((field->any_case ? strcasecmp : strcmp)(field->variants[i], name) == 0) {
                        *slot = i;
                        return 0;
                }
        list_names(&expected, variant_name, field->variants);
        return refuse_unknown(d, "variant", name, &expected);
}

static int store_names(const struct decoding *d, const struct vmm_field *field, json_t *value, json_t **slot)
{
        json_t *item;
        size_t i;

        if (!json_is_array(value))
                return refuse_type(d, value, field->type);
        json_array_foreach (value, i, item)
                if (!json_is_string(item))
                        return refuse_type(d, item, "a string");
        *slot = value;
        return 0;
}

static int decode_object(struct decoding *d, const struct vmm_shape *shape, json_t *object, void *body);

static int store_field(struct decoding *d, const struct vmm_field *field, json_t *value, void *slot)
{
        switch (field->kind) {
        case VMM_FIELD_BOOL:
                if (!json_is_boolean(value))
                        return refuse_type(d, value, field->type);
                *(bool *) slot = json_is_true(value);
                return 0;
        case VMM_FIELD_NUMBER:
                return store_number(d, field, value, slot);
        case VMM_FIELD_TEXT:
                if (!json_is_string(value))
                        return refuse_type(d, value, field->type);
                *(const char **) slot = json_string_value(value);
                return 0;
        case VMM_FIELD_CHOICE:
                return store_choice(d, field, value, slot);
        case VMM_FIELD_OBJECT:
                return decode_object(d, field->shape, value, slot);
        case VMM_FIELD_NAMES:
                return store_names(d, field, value, slot);
        case VMM_N_FIELD_KINDS:
                break;
        }
        return refuse(d, VMM_PLACE_VALUE, "field of unknown kind");
}

static void set_fallbacks(const struct vmm_shape *shape, void *body)
{
        memset(body, 0, shape->size);
        for (const struct vmm_field *f = shape->fields; f->name; f++) {
                void *slot = (char *) body + f->offset;

                if (f->kind == VMM_FIELD_NUMBER)
                        *(uint64_t *) slot = f->fallback;
                else if (f->kind == VMM_FIELD_CHOICE)
                        *(unsigned *) slot = (unsigned) f->fallback;
                else if (f->kind == VMM_FIELD_BOOL)
                        *(bool *) slot = f->fallback != 0;
        }
}

/* One key of an object. Unknown ones are an error or skipped, as the shape says. */
static int decode_member(struct decoding *d, const struct vmm_shape *shape, const char *key, json_t *value,
                         void *body)
{
        for (unsigned i = 0; shape->fields[i].name; i++) {
                const struct vmm_field *field = &shape->fields[i];

                if (strcmp(field->name, key) != 0)
                        continue;
                if (json_is_null(value) && field->nullable)
                        return 0;
                *(uint32_t *) body |= UINT32_C(1) << i;
                return store_field(d, field, value, (char *) body + field->offset);
        }
        if (!shape->ignores_unknown) {
                scoped_text struct text expected = { 0 };

                list_names(&expected, field_name, shape->fields);
                return refuse_unknown(d, "field", key, &expected);
        }
        return 0;
}

/* Recursion is as deep as the shapes: three levels (drive, limiter, bucket). */
static int decode_object(struct decoding *d, const struct vmm_shape *shape, json_t *object, void *body)
{
        const char *key;
        json_t *value;

        set_fallbacks(shape, body);
        if (!json_is_object(object)) {
                char expected[80];

                (void) snprintf(expected, sizeof(expected), "struct %s", shape->name);
                return refuse_type(d, object, expected);
        }
        assert(d->depth < VMM_PLACE_DEPTH);
        json_object_foreach (object, key, value) {
                int r;

                d->path[d->depth++] = key;
                r = decode_member(d, shape, key, value, body);
                d->depth--;
                if (r < 0)
                        return r;
        }
        for (unsigned i = 0; shape->fields[i].name; i++)
                if (shape->fields[i].required && !(*(uint32_t *) body & (UINT32_C(1) << i)))
                        return refuse(d, VMM_PLACE_END, "missing field `%s`", shape->fields[i].name);
        return 0;
}

/* jansson's refusal in serde's words, as far as they have the same notion. */
static int refuse_syntax(const json_error_t *error, struct err *err)
{
        const char *near = strchr(error->text, '\'');
        const char *what = "expected value";
        char duplicate[128];

        if (json_error_code(error) == json_error_duplicate_key) {
                /* "duplicate object key near '"name"'" */
                const char *name = near ? near + 2 : "?";

                (void) snprintf(duplicate, sizeof(duplicate), "duplicate field `%.*s`",
                                (int) strcspn(name, "\"'"), name);
                what = duplicate;
        } else if (json_error_code(error) == json_error_premature_end_of_input) {
                what = "EOF while parsing a value";
        } else if (json_error_code(error) == json_error_end_of_input_expected) {
                what = "trailing characters";
        } else if (json_error_code(error) == json_error_stack_overflow) {
                what = "recursion limit exceeded";
        } else if (json_error_code(error) == json_error_numeric_overflow) {
                what = "number out of range";
        }
        return err_set(err, EINVAL, "vmm.decode", "%s at line %d column %d", what, error->line,
                       error->column < 0 ? 0 : error->column);
}

int vmm_decode_any(const char *text, size_t n, struct vmm_document *ret_document, struct err *err)
{
        json_error_t error;

        ret_document->json = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
        return ret_document->json ? 0 : refuse_syntax(&error, err);
}

int vmm_decode(const struct vmm_shape *shape, const char *text, size_t n, void *ret_body,
               struct vmm_document *ret_document, struct err *err)
{
        struct decoding d = { .text = text, .n = n, .err = err };
        int r = vmm_decode_any(text, n, ret_document, err);

        if (r < 0)
                return r;
        r = decode_object(&d, shape, ret_document->json, ret_body);
        if (r < 0)
                vmm_document_done(ret_document);
        return r;
}

int vmm_refuse_missing(const char *text, size_t n, const char *field, struct err *err)
{
        struct decoding d = { .text = text, .n = n, .err = err };

        return refuse(&d, VMM_PLACE_END, "missing field `%s`", field);
}
