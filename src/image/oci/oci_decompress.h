/*
 * The bytes of one blob as what they stand for: gzip (ISA-L), zstd, or as they are. Several gzip members or zstd frames after
 * each other are one stream, as pigz and estargz write them. Only memory and one descriptor: it works confined.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "image/oci/oci_layers.h"

struct oci_decompress;

/* A digest that sees each byte of the blob; NULL: nobody wants to. */
typedef void oci_decompress_tap(void *userdata, const void *data, size_t n);

/* One for all layers of an import. Its memory, beside 1 MiB of ours, is the window: zstd's is limited to 32 MiB. */
struct oci_decompress *oci_decompress_new(oci_decompress_tap *tap, void *userdata);
void oci_decompress_free(struct oci_decompress *decompress);

/* Starts at what fd (borrowed) has next. size: of the blob. */
int oci_decompress_begin(struct oci_decompress *decompress, int fd, enum oci_compression compression,
                         uint64_t size, struct err *err);
/*
 * Fills out as far as it goes: the number of bytes, 0 at the end, which is also that of a blob of exactly the right size;
 * EBADMSG: damaged, cut off, or of another size; E2BIG: a window above the limit.
 */
ssize_t oci_decompress_read(struct oci_decompress *decompress, void *out, size_t n, struct err *err);
uint64_t oci_decompress_bytes_read(const struct oci_decompress *decompress);
