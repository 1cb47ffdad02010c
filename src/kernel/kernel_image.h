/*
 * A kernel file as somebody else made it: a bzImage, which wraps a compressed vmlinux, or the vmlinux itself. Every
 * offset in it is checked against the bytes that are there; nothing here opens files.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/text.h"

#define KERNEL_VERSION_TEXT_MAX 64
#define KERNEL_VMLINUX_MAX      ((size_t) 512 << 20)

/* The compressed vmlinux inside a bzImage, and what `uname -r` will say ("" when the file does not tell). */
struct kernel_payload {
        size_t offset;
        size_t n;
        char version[KERNEL_VERSION_TEXT_MAX];
};

struct kernel_elf {
        size_t n; /* bytes of the file that belong to the ELF; what follows may be cut off */
        bool has_pvh;
        uint64_t pvh_entry;
};

bool kernel_image_is_bzimage(const uint8_t *data, size_t n);
/* EBADMSG when the header is not one of boot protocol 2.08 or later, or points outside the file. */
int kernel_image_find_payload(const uint8_t *data, size_t n, struct kernel_payload *ret_payload,
                              struct err *err);
/* EBADMSG unless it is an ELF64 kernel for x86-64 whose segments lie within the n bytes. */
int kernel_image_check_elf(const uint8_t *data, size_t n, struct kernel_elf *ret_elf, struct err *err);

/* Takes either form; vmlinux, empty before, gets exactly the ELF's bytes; version is "" when unknown. EFBIG beyond KERNEL_VMLINUX_MAX. */
int kernel_image_unwrap(const uint8_t *data, size_t n, struct text *vmlinux, struct kernel_elf *ret_elf,
                        char version[KERNEL_VERSION_TEXT_MAX], struct err *err);
