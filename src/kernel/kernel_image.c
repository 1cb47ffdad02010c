#include "kernel/kernel_image.h"

#include <ctype.h>
#include <elf.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "kernel/kernel_archive.h"

/* Linux Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header" */
#define SETUP_SECTS         0x1f1
#define BOOT_FLAG           0x1fe
#define BOOT_FLAG_MAGIC     0xaa55
#define HEADER_MAGIC        0x202
#define HEADER_VERSION      0x206
#define KERNEL_VERSION      0x20e
#define PAYLOAD_OFFSET      0x248
#define PAYLOAD_LENGTH      0x24c
#define HEADER_END          0x250
#define VERSION_PAYLOAD     0x0208 /* the first protocol that tells where the payload is */
#define SECTOR              512
#define SETUP_SECTS_DEFAULT 4

/* All but gzip end with their uncompressed size, which is not part of the stream: scripts/Makefile.lib, size_append. */
#define SIZE_TRAILER 4

#define N_SEGMENTS_MAX    64
#define N_SECTIONS_MAX    4096
#define NOTE_PHYS32_ENTRY 18 /* XEN_ELFNOTE_PHYS32_ENTRY, xen/interface/elfnote.h */

static uint16_t read_le16(const uint8_t *p)
{
        uint16_t value;

        memcpy(&value, p, sizeof(value));
        return le16toh(value);
}

static uint32_t read_le32(const uint8_t *p)
{
        uint32_t value;

        memcpy(&value, p, sizeof(value));
        return le32toh(value);
}

static bool is_within(uint64_t offset, uint64_t n, uint64_t total)
{
        return offset <= total && n <= total - offset;
}

bool kernel_image_is_bzimage(const uint8_t *data, size_t n)
{
        return n >= HEADER_END && read_le16(data + BOOT_FLAG) == BOOT_FLAG_MAGIC &&
               memcmp(data + HEADER_MAGIC, "HdrS", 4) == 0;
}

/* The text ends at the first space: "6.1.0-40-cloud-amd64 (builder) #1 SMP". Anything odd: unknown. */
static void copy_version(const uint8_t *text, size_t n, char version[KERNEL_VERSION_TEXT_MAX])
{
        size_t length = 0;

        while (length < n && length < KERNEL_VERSION_TEXT_MAX - 1 &&
               (isalnum(text[length]) || (text[length] != '\0' && strchr(".-_+~", text[length]))))
                length++;
        memcpy(version, text, length);
        version[length] = '\0';
}

static void find_version(const uint8_t *data, size_t n, char version[KERNEL_VERSION_TEXT_MAX])
{
        size_t offset = read_le16(data + KERNEL_VERSION);

        version[0] = '\0';
        if (offset == 0 || offset + 0x200 >= n)
                return;
        copy_version(data + 0x200 + offset, n - 0x200 - offset, version);
}

int kernel_image_find_payload(const uint8_t *data, size_t n, struct kernel_payload *ret_payload,
                              struct err *err)
{
        uint64_t setup, offset, length;

        if (!kernel_image_is_bzimage(data, n))
                return err_set(err, EBADMSG, "kernel.image", "it has no Linux boot header");
        if (read_le16(data + HEADER_VERSION) < VERSION_PAYLOAD)
                return err_set(err, EBADMSG, "kernel.image",
                               "its boot protocol is older than 2.08 (Linux 2.6.24)");
        setup = data[SETUP_SECTS] ? data[SETUP_SECTS] : SETUP_SECTS_DEFAULT;
        offset = (setup + 1) * SECTOR + read_le32(data + PAYLOAD_OFFSET);
        length = read_le32(data + PAYLOAD_LENGTH);
        if (length <= SIZE_TRAILER || !is_within(offset, length, n))
                return err_set(err, EBADMSG, "kernel.image",
                               "its boot header points outside the file: it is cut short");
        ret_payload->offset = (size_t) offset;
        ret_payload->n = (size_t) length;
        find_version(data, n, ret_payload->version);
        return 0;
}

/* One PT_NOTE segment, already known to lie within the file. */
static void find_pvh(const uint8_t *notes, size_t n, size_t align, struct kernel_elf *elf)
{
        size_t at = 0;

        while (n - at >= sizeof(Elf64_Nhdr)) {
                Elf64_Nhdr note;
                uint64_t name = at + sizeof(note), desc, next;

                memcpy(&note, notes + at, sizeof(note));
                desc = (name + note.n_namesz + align - 1) & ~(uint64_t) (align - 1);
                next = (desc + note.n_descsz + align - 1) & ~(uint64_t) (align - 1);
                if (!is_within(name, note.n_namesz, n) || !is_within(desc, note.n_descsz, n))
                        return;
                if (note.n_type == NOTE_PHYS32_ENTRY && note.n_namesz == 4 &&
                    memcmp(notes + name, "Xen", 4) == 0 && (note.n_descsz == 4 || note.n_descsz == 8)) {
                        memcpy(&elf->pvh_entry, notes + desc, note.n_descsz);
                        elf->has_pvh = true;
                }
                if (next >= n)
                        return;
                at = (size_t) next;
        }
}

static int check_ehdr(const Elf64_Ehdr *ehdr, size_t n, struct err *err)
{
        if (memcmp(ehdr->e_ident, ELFMAG, SELFMAG) != 0)
                return err_set(err, EBADMSG, "kernel.image", "it is not an ELF file");
        if (ehdr->e_ident[EI_CLASS] != ELFCLASS64 || ehdr->e_ident[EI_DATA] != ELFDATA2LSB ||
            ehdr->e_machine != EM_X86_64)
                return err_set(err, EBADMSG, "kernel.image", "it is not a 64-bit x86 kernel");
        if (ehdr->e_type != ET_EXEC && ehdr->e_type != ET_DYN)
                return err_set(err, EBADMSG, "kernel.image", "it is not an executable");
        if (ehdr->e_phentsize != sizeof(Elf64_Phdr) || ehdr->e_phnum == 0 || ehdr->e_phnum > N_SEGMENTS_MAX ||
            !is_within(ehdr->e_phoff, ehdr->e_phnum * sizeof(Elf64_Phdr), n))
                return err_set(err, EBADMSG, "kernel.image", "its program headers are damaged");
        return 0;
}

static size_t larger(size_t a, uint64_t b)
{
        return b > a ? (size_t) b : a;
}

/* Where the section headers end; 0 when there are none or they are beyond the file, which no loader minds. */
static uint64_t find_sections_end(const Elf64_Ehdr *ehdr, size_t n)
{
        uint64_t length = (uint64_t) ehdr->e_shnum * ehdr->e_shentsize;

        if (ehdr->e_shoff == 0 || ehdr->e_shnum > N_SECTIONS_MAX || !is_within(ehdr->e_shoff, length, n))
                return 0;
        return ehdr->e_shoff + length;
}

int kernel_image_check_elf(const uint8_t *data, size_t n, struct kernel_elf *ret_elf, struct err *err)
{
        Elf64_Ehdr ehdr;
        bool has_load = false;
        int r;

        *ret_elf = (struct kernel_elf){ 0 };
        if (n < sizeof(ehdr))
                return err_set(err, EBADMSG, "kernel.image", "it is too short for an ELF file");
        memcpy(&ehdr, data, sizeof(ehdr));
        r = check_ehdr(&ehdr, n, err);
        if (r < 0)
                return r;
        ret_elf->n = larger(ehdr.e_phoff + ehdr.e_phnum * sizeof(Elf64_Phdr), find_sections_end(&ehdr, n));
        for (unsigned i = 0; i < ehdr.e_phnum; i++) {
                Elf64_Phdr phdr;

                memcpy(&phdr, data + ehdr.e_phoff + i * sizeof(phdr), sizeof(phdr));
                if (phdr.p_type != PT_LOAD && phdr.p_type != PT_NOTE)
                        continue;
                if (!is_within(phdr.p_offset, phdr.p_filesz, n))
                        return err_set(err, EBADMSG, "kernel.image",
                                       "a segment lies outside the file: it is cut short");
                has_load |= phdr.p_type == PT_LOAD;
                ret_elf->n = larger(ret_elf->n, phdr.p_offset + phdr.p_filesz);
                if (phdr.p_type == PT_NOTE)
                        find_pvh(data + phdr.p_offset, phdr.p_filesz, phdr.p_align == 8 ? 8 : 4, ret_elf);
        }
        return has_load ? 0 : err_set(err, EBADMSG, "kernel.image", "it has nothing to load");
}

static int unpack_payload(const uint8_t *payload, size_t n, struct text *vmlinux, struct err *err)
{
        bool is_gzip = payload[0] == 0x1f && payload[1] == 0x8b;

        return kernel_archive_decompress(payload, is_gzip ? n : n - SIZE_TRAILER, KERNEL_VMLINUX_MAX, vmlinux,
                                         err);
}

/* A vmlinux says so in its read-only data: "Linux version 6.1.0 (builder) ...". */
static void find_banner(const uint8_t *data, size_t n, char version[KERNEL_VERSION_TEXT_MAX])
{
        static const char banner[] = "Linux version ";
        const size_t length = sizeof(banner) - 1;
        const uint8_t *found = memmem(data, n, banner, length);

        version[0] = '\0';
        if (found)
                copy_version(found + length, n - (size_t) (found - data) - length, version);
}

int kernel_image_unwrap(const uint8_t *data, size_t n, struct text *vmlinux, struct kernel_elf *ret_elf,
                        char version[KERNEL_VERSION_TEXT_MAX], struct err *err)
{
        struct kernel_payload payload = { 0 };
        int r;

        if (!kernel_image_is_bzimage(data, n)) {
                r = kernel_image_check_elf(data, n, ret_elf, err);
                if (r < 0)
                        return err_wrap(err, "neither a bzImage nor a vmlinux");
                text_append_bytes(vmlinux, data, ret_elf->n);
                find_banner(data, ret_elf->n, version);
                return 0;
        }
        r = kernel_image_find_payload(data, n, &payload, err);
        if (r < 0)
                return r;
        r = unpack_payload(data + payload.offset, payload.n, vmlinux, err);
        if (r < 0)
                return err_wrap(err, "unpack the kernel inside");
        r = kernel_image_check_elf((const uint8_t *) vmlinux->s, vmlinux->n, ret_elf, err);
        if (r < 0)
                return err_wrap(err, "the kernel inside, if its compression is known at all");
        vmlinux->n = ret_elf->n; /* behind it are the relocations of the self-unpacking start code */
        memcpy(version, payload.version, sizeof(payload.version));
        return 0;
}
