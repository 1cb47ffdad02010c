/* Byte sizes as people write and read them (spec 3.9, S-042, S-079 - S-081). */
#pragma once

#include <stdint.h>

#define SIZE_TEXT_MAX 24
#define KIB           (UINT64_C(1) << 10)
#define MIB           (UINT64_C(1) << 20)
#define GIB           (UINT64_C(1) << 30)

/* "4G", "4GiB", "512M", "1024" (MiB); any case. 0, or -EINVAL for anything else and for overflow. */
int size_parse(const char *text, uint64_t *ret_bytes);
/* Exact: the largest of G, M, K that divides it, else plain bytes; "0" for zero. */
void size_format(uint64_t bytes, char out[SIZE_TEXT_MAX]);
/* For people: "1.2 GiB", "512 B". */
void size_human(uint64_t bytes, char out[SIZE_TEXT_MAX]);
