#include "cli/render_error.h"

#include <string.h>

#include "cli/render_style.h"

static const struct {
        const char *code, *label;
} labels[] = {
        {"not_found",       "not found"                    },
        { "already_exists", "already exists"               },
        { "bad_request",    "invalid request"              },
        { "bad_version",    "version mismatch"             },
        { "unauthorized",   "not allowed"                  },
        { "unknown_method", "not supported by this bangerd"},
};

/* NULL: the code says nothing to people. */
static const char *label_of(const char *code)
{
        for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++)
                if (strcmp(labels[i].code, code) == 0)
                        return labels[i].label;
        return *code && strcmp(code, "operation_failed") != 0 ? code : NULL;
}

void error_format(const char *code, const char *op_id, const char *message, FILE *style_for, struct text *ret)
{
        const char *label = label_of(code);

        if (label)
                text_appendf(ret, "%s: ", label);
        text_append(ret, message);
        if (*op_id)
                text_appendf(ret, " %s(%s)%s", style_on(style_for, STYLE_DIM), op_id, style_off(style_for));
}

void error_print(const char *code, const char *op_id, const char *message)
{
        scoped_text struct text line = { 0 };

        error_format(code, op_id, message, stderr, &line);
        (void) fprintf(stderr, "%sbanger:%s %s\n", style_on(stderr, STYLE_FAIL), style_off(stderr), line.s);
}
