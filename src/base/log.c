#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/scoped.h"
#include "base/text.h"

static const char *const level_names[] = {
        [LOG_LEVEL_DEBUG] = "debug",
        [LOG_LEVEL_INFO] = "info",
        [LOG_LEVEL_WARN] = "warn",
        [LOG_LEVEL_ERROR] = "error",
};
static_assert(sizeof(level_names) / sizeof(level_names[0]) == LOG_N_LEVELS, "a name for every level");

static const char *log_component = "banger";
static enum log_level log_threshold = LOG_LEVEL_INFO;
static char current_op_id[40];

int log_level_from_name(const char *name, enum log_level *ret_level)
{
        for (enum log_level level = 0; level < LOG_N_LEVELS; level++)
                if (strcmp(level_names[level], name) == 0) {
                        *ret_level = level;
                        return 0;
                }
        return -EINVAL;
}

void log_init(const char *component, enum log_level level)
{
        const char *wish = getenv("BANGER_LOG_LEVEL");

        log_component = component;
        log_threshold = level;
        if (wish)
                (void) log_level_from_name(wish, &log_threshold);
}

void log_set_op_id(const char *op_id)
{
        (void) snprintf(current_op_id, sizeof(current_op_id), "%s", op_id ? op_id : "");
}

const char *log_op_id(void)
{
        return current_op_id;
}

void log_write(enum log_level level, const char *message, const char *fields, ...)
{
        json_auto_t *line = NULL;
        json_auto_t *extra = NULL;
        scoped_free char *text = NULL;
        scoped_free char *whole = NULL;
        char now[CLOCK_TEXT_MAX];

        if (level < log_threshold)
                return;
        if (fields) {
                va_list args;

                va_start(args, fields);
                extra = json_vpack_ex(NULL, 0, fields, args);
                va_end(args);
        }
        clock_format(clock_real_ns(), now);
        line = json_pack("{s:s, s:s, s:s, s:s}", "time", now, "level", level_names[level], "component",
                         log_component, "msg", message);
        if (current_op_id[0] != '\0')
                (void) json_object_set_new(line, "op_id", json_string(current_op_id));
        if (extra)
                (void) json_object_update(line, extra);
        text = json_dumps(line, JSON_COMPACT | JSON_ENSURE_ASCII);
        if (!text)
                return;
        whole = xasprintf("%s\n", text); /* one write a line, so that lines of several processes do not mix */
        (void) fd_write_full(STDERR_FILENO, whole, strlen(whole));
}
