/*
 * The log: JSON lines on standard error, for the journal (spec 5.3). Each line has time, level,
 * component, msg and, while a request is handled, its op_id.
 */
#pragma once

#include <jansson.h>

enum log_level {
        LOG_LEVEL_DEBUG,
        LOG_LEVEL_INFO,
        LOG_LEVEL_WARN,
        LOG_LEVEL_ERROR,
        LOG_N_LEVELS
};

/* component is borrowed for ever: "bangerd". BANGER_LOG_LEVEL in the environment wins over level. */
void log_init(const char *component, enum log_level level);
/* "debug" ... "error"; -EINVAL otherwise. */
int log_level_from_name(const char *name, enum log_level *ret_level);

/* The op id stamped on every line from now on; NULL for none. Copied. */
void log_set_op_id(const char *op_id);
const char *log_op_id(void); /* "" when unset */

/*
 * fields is a jansson pack format of an object, or NULL:
 *   log_write(LOG_LEVEL_INFO, "vm started", "{s:s, s:I}", "vm_id", id, "duration_ms", (json_int_t) ms);
 */
void log_write(enum log_level level, const char *message, const char *fields, ...);

#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...)  log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
