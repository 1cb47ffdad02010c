/* Small kernels and modules made in memory, for the tests of src/kernel. */
#pragma once

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/text.h"

#define FIXTURE_VMLINUX_BYTES ((size_t) 8192)
#define FIXTURE_NOTE_AT       ((size_t) 256)

/* One PT_LOAD over everything, one PT_NOTE with a PVH entry at 0x1000240. */
static inline void fixture_vmlinux(uint8_t image[FIXTURE_VMLINUX_BYTES])
{
        Elf64_Ehdr ehdr = { .e_type = ET_EXEC,
                            .e_machine = EM_X86_64,
                            .e_phoff = sizeof(ehdr),
                            .e_phnum = 2,
                            .e_phentsize = sizeof(Elf64_Phdr) };
        Elf64_Phdr phdrs[2] = {
                {.p_type = PT_LOAD,            .p_offset = 0,          .p_filesz = FIXTURE_VMLINUX_BYTES},
                { .p_type = PT_NOTE, .p_offset = FIXTURE_NOTE_AT, .p_filesz = 12 + 4 + 8,                      .p_align = 4 },
        };
        Elf64_Nhdr note = { .n_namesz = 4, .n_descsz = 8, .n_type = 18 };
        uint64_t entry = 0x1000240;

        memset(image, 0, FIXTURE_VMLINUX_BYTES);
        memcpy(ehdr.e_ident, ELFMAG, SELFMAG);
        ehdr.e_ident[EI_CLASS] = ELFCLASS64;
        ehdr.e_ident[EI_DATA] = ELFDATA2LSB;
        memcpy(image, &ehdr, sizeof(ehdr));
        memcpy(image + sizeof(ehdr), phdrs, sizeof(phdrs));
        memcpy(image + FIXTURE_NOTE_AT, &note, sizeof(note));
        memcpy(image + FIXTURE_NOTE_AT + 12, "Xen", 4);
        memcpy(image + FIXTURE_NOTE_AT + 16, &entry, sizeof(entry));
        memcpy(image + 4096, "Linux version 6.9.9-test (b@h) #1", 33);
}

/* A relocatable with a .modinfo section that holds the n bytes of entries ("depends=a\0softdep=pre: b\0"). Owned by the caller. */
static inline uint8_t *fixture_module(const char *entries, size_t n, size_t *ret_n)
{
        static const char names[] = "\0.modinfo\0.shstrtab";
        size_t modinfo = sizeof(Elf64_Ehdr), strings = modinfo + n,
               headers = (strings + sizeof(names) + 7) & ~(size_t) 7;
        Elf64_Ehdr ehdr = { .e_type = ET_REL,
                            .e_machine = EM_X86_64,
                            .e_shoff = headers,
                            .e_shnum = 3,
                            .e_shstrndx = 2,
                            .e_shentsize = sizeof(Elf64_Shdr) };
        Elf64_Shdr shdrs[3] = {
                {.sh_type = SHT_NULL      },
                { .sh_name = 1,  .sh_type = SHT_PROGBITS, .sh_offset = modinfo, .sh_size = n },
                {            .sh_name = 10, .sh_type = SHT_STRTAB,   .sh_offset = strings, .sh_size = sizeof(names) },
        };
        uint8_t *image = xcalloc(1, headers + sizeof(shdrs));

        memcpy(ehdr.e_ident, ELFMAG, SELFMAG);
        ehdr.e_ident[EI_CLASS] = ELFCLASS64;
        ehdr.e_ident[EI_DATA] = ELFDATA2LSB;
        memcpy(image, &ehdr, sizeof(ehdr));
        memcpy(image + modinfo, entries, n);
        memcpy(image + strings, names, sizeof(names));
        memcpy(image + headers, shdrs, sizeof(shdrs));
        *ret_n = headers + sizeof(shdrs);
        return image;
}

/* Writes folder/name, with the folders above it. */
static inline void fixture_write(const char *folder, const char *name, const void *data, size_t n)
{
        scoped_free char *path = xasprintf("%s/%s", folder, name);
        scoped_free char *parent = xstrdup(path);
        struct err err = { 0 };

        *strrchr(parent, '/') = '\0';
        if (file_make_folders(parent, 0755, &err) < 0 || file_replace(path, data, n, 0644, &err) < 0) {
                (void) fprintf(stderr, "fixture: %s\n", err.message);
                abort();
        }
}

static inline void fixture_write_module(const char *folder, const char *name, const char *depends,
                                        const char *softdep)
{
        scoped_text struct text entries = { 0 };
        scoped_free uint8_t *image = NULL;
        size_t n;

        text_appendf(&entries, "license=GPL");
        text_append_bytes(&entries, "", 1);
        text_appendf(&entries, "depends=%s", depends);
        text_append_bytes(&entries, "", 1);
        if (softdep) {
                text_appendf(&entries, "softdep=%s", softdep);
                text_append_bytes(&entries, "", 1);
        }
        image = fixture_module(entries.s, entries.n, &n);
        fixture_write(folder, name, image, n);
}

/* A new folder under TMPDIR; owned by the caller, who removes it. */
static inline char *fixture_folder(void)
{
        const char *tmp = getenv("TMPDIR");
        char *folder = xasprintf("%s/banger-kernel-XXXXXX", tmp ? tmp : "/tmp");

        if (!mkdtemp(folder))
                abort();
        return folder;
}
