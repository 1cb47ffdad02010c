#include "vmm/qemu/vm_console.h"

#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scoped.h"
#include "base/text.h"

#define CUT_MARK "[console output cut here]\n"

void vm_console_init(struct vm_console *console, int fd)
{
        struct stat about;

        *console = (struct vm_console){ .fd = fd };
        if (fstat(fd, &about) == 0 && S_ISREG(about.st_mode)) {
                console->is_file = true;
                console->size = (uint64_t) about.st_size;
                (void) lseek(fd, 0, SEEK_END);
        }
}

static void append(struct vm_console *console, const char *bytes, size_t n)
{
        ssize_t put = write(console->fd, bytes, n);

        if (put > 0)
                console->size += (uint64_t) put;
}

/* The same open file, so that whoever follows it by name goes on reading. */
static void cut(struct vm_console *console)
{
        scoped_free char *tail = xmalloc(VM_CONSOLE_KEEP);
        ssize_t kept = pread(console->fd, tail, VM_CONSOLE_KEEP, (off_t) (console->size - VM_CONSOLE_KEEP));

        if (ftruncate(console->fd, 0) < 0 || lseek(console->fd, 0, SEEK_SET) < 0)
                return;
        console->size = 0;
        append(console, CUT_MARK, sizeof(CUT_MARK) - 1);
        if (kept > 0)
                append(console, tail, (size_t) kept);
}

void vm_console_write(struct vm_console *console, const char *bytes, size_t n)
{
        struct pollfd writable = { .fd = console->fd, .events = POLLOUT };

        if (console->is_file) {
                if (console->size + n > VM_CONSOLE_MAX)
                        cut(console);
                if (console->size + n <= VM_CONSOLE_MAX)
                        append(console, bytes, n);
                return;
        }
        /* a pipe that polls writable takes PIPE_BUF bytes without blocking, pipe(7) */
        while (n > 0 && poll(&writable, 1, 0) > 0 && (writable.revents & POLLOUT)) {
                ssize_t put = write(console->fd, bytes, n < 4096 ? n : 4096);

                if (put <= 0)
                        return;
                bytes += put;
                n -= (size_t) put;
        }
}
