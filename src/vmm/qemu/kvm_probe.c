#include "vmm/qemu/kvm_probe.h"

#include <elf.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fd.h"
#include "base/scoped.h"
#include "base/spawn.h"
#include "base/text.h"
#include "vmm/qemu/vm_log.h"

#define LOAD_ADDRESS 0x100000
/* isa-debug-exit ends QEMU with (value << 1) | 1 */
#define DEBUG_PORT  0xf4
#define EXIT_VALUE  0x2a
#define EXIT_STATUS ((EXIT_VALUE << 1) | 1)

/*
 * The guest: PVH starts it in 32-bit protected mode without paging (xen/include/public/arch-x86/hvm/start_info.h). It maps
 * the first GiB with one large page, enters 64-bit mode, does a CPUID and an RDTSC, and writes EXIT_VALUE to the port.
 * Written for LOAD_ADDRESS; tables lie at 0x200000.
 */
__asm__(".pushsection .rodata\n"
        ".code32\n"
        "kvm_probe_guest:\n"
        "  movl $0x201003, 0x200000\n" /* PML4[0] -> PDPT, present, writable */
        "  movl $0x83, 0x201000\n"     /* PDPT[0]: 1 GiB page at 0 */
        "  movl $0x200000, %eax\n"
        "  movl %eax, %cr3\n"
        "  movl %cr4, %eax\n"
        "  orl $0x20, %eax\n" /* PAE */
        "  movl %eax, %cr4\n"
        "  movl $0xc0000080, %ecx\n" /* EFER.LME */
        "  rdmsr\n"
        "  orl $0x100, %eax\n"
        "  wrmsr\n"
        "  movl %cr0, %eax\n"
        "  orl $0x80000001, %eax\n" /* paging, protection */
        "  movl %eax, %cr0\n"
        "  lgdt kvm_probe_gdt_pointer - kvm_probe_guest + 0x100000\n"
        "  ljmp $8, $kvm_probe_long - kvm_probe_guest + 0x100000\n"
        ".code64\n"
        "kvm_probe_long:\n"
        "  xorl %eax, %eax\n"
        "  cpuid\n"
        "  rdtsc\n"
        "  movb $0x2a, %al\n"
        "  outb %al, $0xf4\n"
        "1: hlt\n"
        "  jmp 1b\n"
        ".balign 8\n"
        "kvm_probe_gdt: .quad 0, 0x00209a0000000000\n" /* 8: 64-bit code */
        "kvm_probe_gdt_pointer: .word 15\n .long kvm_probe_gdt - kvm_probe_guest + 0x100000\n"
        "kvm_probe_guest_end:\n"
        ".popsection\n");
extern const uint8_t kvm_probe_guest[], kvm_probe_guest_end[];

/* An ELF of one segment with the note that names its PVH entry (XEN_ELFNOTE_PHYS32_ENTRY, 18). */
struct image {
        Elf64_Ehdr header;
        Elf64_Phdr load, note;
        Elf64_Nhdr note_header;
        char note_name[4];
        uint64_t entry;
        uint8_t code[256];
};

static void fill_image(struct image *image)
{
        size_t n = (size_t) (kvm_probe_guest_end - kvm_probe_guest);

        *image = (struct image){
                .header = {.e_type = ET_EXEC,
                           .e_machine = EM_X86_64,
                           .e_version = EV_CURRENT,
                           .e_entry = LOAD_ADDRESS,
                           .e_phoff = offsetof(struct image, load),
                           .e_ehsize = sizeof(Elf64_Ehdr),
                           .e_phentsize = sizeof(Elf64_Phdr),
                           .e_phnum = 2 },
                .load = { .p_type = PT_LOAD,
                           .p_flags = PF_R | PF_W | PF_X,
                           .p_offset = offsetof(struct image,     code),
                           .p_vaddr = LOAD_ADDRESS,
                           .p_paddr = LOAD_ADDRESS,
                           .p_filesz = n,
                           .p_memsz = n,
                           .p_align = 1 },
                .note = { .p_type = PT_NOTE,
                           .p_offset = offsetof(struct image,                          note_header),
                           .p_filesz = sizeof(Elf64_Nhdr) + 4 + sizeof(uint64_t),
                           .p_memsz = sizeof(Elf64_Nhdr) + 4 + sizeof(uint64_t),
                           .p_align = 4 },
                .note_header = { .n_namesz = 4, .n_descsz = sizeof(uint64_t), .n_type = 18           },
                .note_name = "Xen",
                .entry = LOAD_ADDRESS,
        };
        memcpy(image->header.e_ident, ELFMAG, SELFMAG);
        image->header.e_ident[EI_CLASS] = ELFCLASS64;
        image->header.e_ident[EI_DATA] = ELFDATA2LSB;
        image->header.e_ident[EI_VERSION] = EV_CURRENT;
        memcpy(image->code, kvm_probe_guest, n < sizeof(image->code) ? n : sizeof(image->code));
}

static int make_image(void)
{
        struct image image;
        scoped_close int fd = memfd_create("kvm-probe", MFD_CLOEXEC);

        fill_image(&image);
        if (fd < 0 || fd_write_full(fd, &image, sizeof(image)) < 0)
                return FD_NONE;
        return take_fd(&fd);
}

bool kvm_probe_with(const char *qemu, const char *accel, unsigned timeout_ms)
{
        scoped_close int image = make_image(), pidfd = FD_NONE;
        scoped_free char *kernel = xasprintf("/proc/self/fd/%d", image);
        const char *argv[] = { qemu,
                               "-M",
                               "microvm,pcie=off,x-option-roms=off,auto-kernel-cmdline=off",
                               "-accel",
                               accel,
                               "-cpu",
                               strcmp(accel, "kvm") == 0 ? "host" : "max",
                               "-m",
                               "16",
                               "-nodefaults",
                               "-no-user-config",
                               "-no-reboot",
                               "-display",
                               "none",
                               "-device",
                               "isa-debug-exit,iobase=0xf4,iosize=1",
                               "-kernel",
                               kernel,
                               NULL };
        struct spawn spawn = { .argv = argv,
                               .stdin_fd = FD_NONE,
                               .stdout_fd = FD_NONE,
                               .stderr_fd = FD_NONE,
                               .keep_fds = &image,
                               .n_keep_fds = 1,
                               .death_signal = SIGKILL };
        struct err err = { 0 };
        pid_t pid;

        if (image < 0 || spawn_start(&spawn, &pid, &pidfd, &err) < 0)
                return false;
        if (fd_wait(pidfd, POLLIN, (int) timeout_ms) < 0)
                (void) fd_pidfd_signal(pidfd, SIGKILL);
        return spawn_wait(pid, &err) == EXIT_STATUS;
}

bool kvm_probe(const char *qemu)
{
        static enum {
                UNKNOWN,
                NO,
                YES
        } verdict;

        if (verdict == UNKNOWN) {
                scoped_close int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

                verdict = fd >= 0 && kvm_probe_with(qemu, "kvm", KVM_PROBE_TIMEOUT_MS) ? YES : NO;
                if (fd >= 0 && verdict == NO)
                        vm_log_warn("/dev/kvm is there but runs no guest; TCG is used");
        }
        return verdict == YES;
}
