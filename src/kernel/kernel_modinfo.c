#include "kernel/kernel_modinfo.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/text.h"

#define SECTIONS_MAX 65000

struct section {
        const uint8_t *data;
        size_t n;
};

static bool is_within(uint64_t offset, uint64_t n, uint64_t total)
{
        return offset <= total && n <= total - offset;
}

/* Header and bytes of section `index`; false when any of it lies outside the file. */
static bool section_at(const uint8_t *data, size_t n, const Elf64_Ehdr *ehdr, unsigned index,
                       Elf64_Shdr *ret_shdr, struct section *ret_section)
{
        uint64_t at = ehdr->e_shoff + (uint64_t) index * sizeof(*ret_shdr);

        if (ehdr->e_shoff > n || !is_within(at, sizeof(*ret_shdr), n))
                return false;
        memcpy(ret_shdr, data + at, sizeof(*ret_shdr));
        if (ret_shdr->sh_type == SHT_NOBITS || !is_within(ret_shdr->sh_offset, ret_shdr->sh_size, n))
                return false;
        *ret_section = (struct section){ data + ret_shdr->sh_offset, (size_t) ret_shdr->sh_size };
        return true;
}

static bool is_named(const struct section *names, uint32_t offset, const char *name)
{
        size_t length = strlen(name) + 1;

        return is_within(offset, length, names->n) && memcmp(names->data + offset, name, length) == 0;
}

static int find_section(const uint8_t *data, size_t n, const char *name, struct section *ret_section,
                        struct err *err)
{
        Elf64_Ehdr ehdr;
        Elf64_Shdr shdr;
        struct section names;

        if (n < sizeof(ehdr))
                return err_set(err, EBADMSG, "kernel.module", "it is too short for a module");
        memcpy(&ehdr, data, sizeof(ehdr));
        if (memcmp(ehdr.e_ident, ELFMAG, SELFMAG) != 0 || ehdr.e_ident[EI_CLASS] != ELFCLASS64 ||
            ehdr.e_type != ET_REL || ehdr.e_machine != EM_X86_64 || ehdr.e_shentsize != sizeof(shdr))
                return err_set(err, EBADMSG, "kernel.module", "it is not a module for 64-bit x86");
        if (ehdr.e_shnum > SECTIONS_MAX || !section_at(data, n, &ehdr, ehdr.e_shstrndx, &shdr, &names))
                return err_set(err, EBADMSG, "kernel.module", "its section headers are damaged");
        for (unsigned i = 1; i < ehdr.e_shnum; i++)
                if (section_at(data, n, &ehdr, i, &shdr, ret_section) && is_named(&names, shdr.sh_name, name))
                        return 0;
        return err_set(err, EBADMSG, "kernel.module", "it has no section %s", name);
}

static void take_entry(struct text *list, const char *entry, size_t n, const char *key, const char *separator)
{
        size_t length = strlen(key);

        if (n <= length || memcmp(entry, key, length) != 0)
                return;
        if (list->n > 0)
                text_append(list, separator);
        text_append_bytes(list, entry + length, n - length);
}

int kernel_modinfo_parse(const uint8_t *data, size_t n, struct kernel_modinfo *ret_info, struct err *err)
{
        scoped_text struct text depends = { 0 };
        scoped_text struct text softdep = { 0 };
        struct section section = { 0 };
        int r = find_section(data, n, ".modinfo", &section, err);

        if (r < 0)
                return r;
        for (size_t at = 0; at < section.n;) {
                const char *entry = (const char *) section.data + at;
                size_t length = strnlen(entry, section.n - at);

                take_entry(&depends, entry, length, "depends=", ",");
                take_entry(&softdep, entry, length, "softdep=", " ");
                at += length + 1;
        }
        ret_info->depends = text_take(&depends);
        ret_info->softdep = text_take(&softdep);
        return 0;
}

void kernel_modinfo_done(struct kernel_modinfo *info)
{
        free(info->depends);
        free(info->softdep);
        *info = (struct kernel_modinfo){ 0 };
}
