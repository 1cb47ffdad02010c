/* What jansson leaves to be said often. Values are borrowed from the object unless a comment says otherwise. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* "" when absent or not text. */
const char *json_text(const json_t *object, const char *key);
/* fallback when absent or not a non-negative whole number. */
uint64_t json_u64(const json_t *object, const char *key, uint64_t fallback);
bool json_flag(const json_t *object, const char *key);

/* Parses one document of at most max bytes, duplicates refused; `what` names it in the error. The caller owns it. */
int json_parse(const char *text, size_t n, const char *what, json_t **ret_json, struct err *err);
int json_read_file(const char *path, size_t max, json_t **ret_json, struct err *err);
/* file_replace() of the indented document. */
int json_write_file(const char *path, const json_t *json, mode_t mode, struct err *err);
