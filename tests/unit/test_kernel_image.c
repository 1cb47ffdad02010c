/* Foreign kernel files: each field of the headers on both sides of its limit. */
#include <endian.h>

#include "kernel/kernel_image.h"
#include "kernel_fixture.h"
#include "unit.h"

#define BZIMAGE_BYTES ((size_t) 8192)

static void put(uint8_t *image, size_t at, uint64_t value, size_t width)
{
        uint64_t le = htole64(value);

        memcpy(image + at, &le, width);
}

/* setup_sects 1, so that payload offsets count from 1024. */
static void make_bzimage(uint8_t image[BZIMAGE_BYTES], uint32_t offset, uint32_t length)
{
        memset(image, 0, BZIMAGE_BYTES);
        image[0x1f1] = 1;
        put(image, 0x1fe, 0xaa55, 2);
        memcpy(image + 0x202, "HdrS", 4);
        put(image, 0x206, 0x020f, 2);
        put(image, 0x20e, 0x100, 2);
        memcpy(image + 0x300, "6.1.0-test (x@y) #1", 20);
        put(image, 0x248, offset, 4);
        put(image, 0x24c, length, 4);
}

static void payload_bounds_hold_on_both_sides(void **state)
{
        static const struct {
                uint32_t offset, length;
                int r;
        } cases[] = {
                {0,           7168,       0       },
                { 0,          7169,       -EBADMSG},
                { 7163,       5,          0       },
                { 7164,       5,          -EBADMSG},
                { 100,        4,          -EBADMSG},
                { 100,        5,          0       },
                { 0,          0,          -EBADMSG},
                { UINT32_MAX, 5,          -EBADMSG},
                { 0,          UINT32_MAX, -EBADMSG},
                { UINT32_MAX, UINT32_MAX, -EBADMSG},
        };
        uint8_t image[BZIMAGE_BYTES];

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct kernel_payload payload = { 0 };
                struct err err = { 0 };

                make_bzimage(image, cases[i].offset, cases[i].length);
                assert_int_equal(kernel_image_find_payload(image, sizeof(image), &payload, &err), cases[i].r);
                if (cases[i].r == 0) {
                        assert_int_equal(payload.offset, 1024 + cases[i].offset);
                        assert_int_equal(payload.n, cases[i].length);
                        assert_string_equal(payload.version, "6.1.0-test");
                }
        }
}

static void header_fields_decide_whether_it_is_a_bzimage(void **state)
{
        static const struct {
                size_t at, width;
                uint64_t value;
                bool is_bzimage;
                int r;
        } cases[] = {
                {0x1fe,  2, 0xaa55, true,  0       },
                { 0x1fe, 2, 0xaa54, false, -EBADMSG},
                { 0x202, 1, 'h',    false, -EBADMSG},
                { 0x206, 2, 0x0208, true,  0       },
                { 0x206, 2, 0x0207, true,  -EBADMSG},
                { 0x1f1, 1, 0,      true,  0       },
                { 0x1f1, 1, 15,     true,  -EBADMSG},
        };
        uint8_t image[BZIMAGE_BYTES];

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct kernel_payload payload = { 0 };
                struct err err = { 0 };

                make_bzimage(image, 0, 64);
                put(image, cases[i].at, cases[i].value, cases[i].width);
                assert_int_equal(kernel_image_is_bzimage(image, sizeof(image)), cases[i].is_bzimage);
                assert_int_equal(kernel_image_find_payload(image, sizeof(image), &payload, &err), cases[i].r);
        }
        make_bzimage(image, 0, 64);
        assert_true(kernel_image_is_bzimage(image, 0x250));
        assert_false(kernel_image_is_bzimage(image, 0x24f));
}

static void a_version_outside_the_file_is_unknown(void **state)
{
        static const struct {
                uint16_t offset;
                const char *version;
        } cases[] = {
                {0,       "" },
                { 0x1dfe, "" },
                { 0x1dff, "7"},
                { 0x1e00, "" },
                { 0xffff, "" },
        };
        uint8_t image[BZIMAGE_BYTES];

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct kernel_payload payload = { 0 };
                struct err err = { 0 };

                make_bzimage(image, 0, 64);
                image[BZIMAGE_BYTES - 1] = '7';
                put(image, 0x20e, cases[i].offset, 2);
                assert_int_equal(kernel_image_find_payload(image, sizeof(image), &payload, &err), 0);
                assert_string_equal(payload.version, cases[i].version);
        }
}

#define PHDR(i, field) (sizeof(Elf64_Ehdr) + (i) * sizeof(Elf64_Phdr) + offsetof(Elf64_Phdr, field))

enum field {
        LOAD_FILESZ = PHDR(0, p_filesz),
        LOAD_OFFSET = PHDR(0, p_offset),
        LOAD_TYPE = PHDR(0, p_type),
        NOTE_FILESZ = PHDR(1, p_filesz),
        EHDR_MACHINE = offsetof(Elf64_Ehdr, e_machine),
        EHDR_TYPE = offsetof(Elf64_Ehdr, e_type),
        EHDR_PHNUM = offsetof(Elf64_Ehdr, e_phnum),
        EHDR_PHENTSIZE = offsetof(Elf64_Ehdr, e_phentsize),
        EHDR_PHOFF = offsetof(Elf64_Ehdr, e_phoff),
        EHDR_SHOFF = offsetof(Elf64_Ehdr, e_shoff),
};

static void elf_bounds_hold_on_both_sides(void **state)
{
        static const struct {
                size_t at, width;
                uint64_t value;
                int r;
        } cases[] = {
                {0,               1, 0x7f,                        0       },
                { 0,              1, 0x7e,                        -EBADMSG},
                { EI_CLASS,       1, ELFCLASS32,                  -EBADMSG},
                { EI_DATA,        1, ELFDATA2MSB,                 -EBADMSG},
                { EHDR_MACHINE,   2, EM_AARCH64,                  -EBADMSG},
                { EHDR_TYPE,      2, ET_DYN,                      0       },
                { EHDR_TYPE,      2, ET_REL,                      -EBADMSG},
                { EHDR_PHNUM,     2, 0,                           -EBADMSG},
                { EHDR_PHNUM,     2, 64,                          0       },
                { EHDR_PHNUM,     2, 65,                          -EBADMSG},
                { EHDR_PHENTSIZE, 2, 32,                          -EBADMSG},
                { EHDR_PHOFF,     8, FIXTURE_VMLINUX_BYTES - 111, -EBADMSG},
                { EHDR_PHOFF,     8, UINT64_MAX,                  -EBADMSG},
                { EHDR_SHOFF,     8, UINT64_MAX,                  0       },
                { LOAD_FILESZ,    8, FIXTURE_VMLINUX_BYTES,       0       },
                { LOAD_FILESZ,    8, FIXTURE_VMLINUX_BYTES + 1,   -EBADMSG},
                { LOAD_OFFSET,    8, 1,                           -EBADMSG},
                { LOAD_OFFSET,    8, UINT64_MAX,                  -EBADMSG},
                { LOAD_TYPE,      4, PT_NULL,                     -EBADMSG},
        };
        uint8_t image[FIXTURE_VMLINUX_BYTES];

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct kernel_elf elf;
                struct err err = { 0 };

                fixture_vmlinux(image);
                put(image, cases[i].at, cases[i].value, cases[i].width);
                assert_int_equal(kernel_image_check_elf(image, sizeof(image), &elf, &err), cases[i].r);
        }
}

static void only_a_whole_xen_note_is_a_pvh_entry(void **state)
{
        static const struct {
                size_t at;
                uint32_t value;
                bool has_pvh;
        } cases[] = {
                {FIXTURE_NOTE_AT + 8,   18,         true },
                { FIXTURE_NOTE_AT + 8,  17,         false},
                { FIXTURE_NOTE_AT,      3,          false},
                { FIXTURE_NOTE_AT,      UINT32_MAX, false},
                { FIXTURE_NOTE_AT + 4,  4,          true },
                { FIXTURE_NOTE_AT + 4,  6,          false},
                { FIXTURE_NOTE_AT + 4,  9,          false},
                { FIXTURE_NOTE_AT + 4,  UINT32_MAX, false},
                { FIXTURE_NOTE_AT + 12, 0x6e6558,   true },
                { FIXTURE_NOTE_AT + 12, 0x6e6559,   false},
                { NOTE_FILESZ,          24,         true },
                { NOTE_FILESZ,          23,         false},
                { NOTE_FILESZ,          11,         false},
                { NOTE_FILESZ,          0,          false},
        };
        uint8_t image[FIXTURE_VMLINUX_BYTES];

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct kernel_elf elf;
                struct err err = { 0 };

                fixture_vmlinux(image);
                put(image, cases[i].at, cases[i].value, 4);
                assert_int_equal(kernel_image_check_elf(image, sizeof(image), &elf, &err), 0);
                assert_int_equal(elf.has_pvh, cases[i].has_pvh);
                if (elf.has_pvh)
                        assert_int_equal(elf.pvh_entry, 0x1000240);
        }
}

static void unwrapping_cuts_what_is_not_of_the_elf(void **state)
{
        scoped_text struct text vmlinux = { 0 };
        uint8_t image[FIXTURE_VMLINUX_BYTES + 100] = { 0 };
        char version[KERNEL_VERSION_TEXT_MAX];
        struct kernel_elf elf;
        struct err err = { 0 };

        (void) state;
        fixture_vmlinux(image);
        assert_int_equal(kernel_image_unwrap(image, sizeof(image), &vmlinux, &elf, version, &err), 0);
        assert_int_equal(vmlinux.n, FIXTURE_VMLINUX_BYTES);
        assert_string_equal(version, "6.9.9-test");
        assert_int_equal(kernel_image_unwrap((const uint8_t *) "no kernel", 9, &vmlinux, &elf, version, &err),
                         -EBADMSG);
}

static void an_uncompressed_payload_is_taken_without_its_size(void **state)
{
        scoped_text struct text vmlinux = { 0 };
        uint8_t image[1024 + FIXTURE_VMLINUX_BYTES + 4] = { 0 };
        char version[KERNEL_VERSION_TEXT_MAX];
        struct kernel_elf elf;
        struct err err = { 0 };

        (void) state;
        make_bzimage(image, 0, FIXTURE_VMLINUX_BYTES + 4);
        fixture_vmlinux(image + 1024);
        assert_int_equal(kernel_image_unwrap(image, sizeof(image), &vmlinux, &elf, version, &err), 0);
        assert_int_equal(vmlinux.n, FIXTURE_VMLINUX_BYTES);
        assert_memory_equal(vmlinux.s, image + 1024, FIXTURE_VMLINUX_BYTES);
        assert_string_equal(version, "6.1.0-test");
        text_done(&vmlinux);
        memset(image + 1024, 'x', FIXTURE_VMLINUX_BYTES);
        assert_int_equal(kernel_image_unwrap(image, sizeof(image), &vmlinux, &elf, version, &err), -EBADMSG);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(payload_bounds_hold_on_both_sides),
                cmocka_unit_test(header_fields_decide_whether_it_is_a_bzimage),
                cmocka_unit_test(a_version_outside_the_file_is_unknown),
                cmocka_unit_test(elf_bounds_hold_on_both_sides),
                cmocka_unit_test(only_a_whole_xen_note_is_a_pvh_entry),
                cmocka_unit_test(unwrapping_cuts_what_is_not_of_the_elf),
                cmocka_unit_test(an_uncompressed_payload_is_taken_without_its_size),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
