/*
 * vhost-user messages: any bytes with any descriptors end in answers or in an error. Input: messages of one byte that says
 * which descriptors go along, one that says how many bytes, and these bytes.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/text.h"
#include "vmm/qemu/vhost_user.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int memory = FD_NONE, event = FD_NONE;

static void open_descriptors(void)
{
        memory = memfd_create("guest", MFD_CLOEXEC);
        assert(memory >= 0 && ftruncate(memory, 1 << 20) == 0);
        event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        assert(event >= 0);
}

/* The low half: how many; the high half: which of them are event descriptors. */
static int send_piece(int sock, uint8_t which, const uint8_t *bytes, size_t n)
{
        int fds[FD_PASS_MAX];
        size_t n_fds = (which & 0xfU) % (FD_PASS_MAX + 1);

        for (size_t i = 0; i < n_fds; i++)
                fds[i] = which & (0x10U << (i % 4)) ? event : memory;
        return fd_send_with(sock, bytes, n, fds, n_fds);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        scoped(vhost_user_free) struct vhost_user *user = NULL;
        scoped_close int ours = FD_NONE;
        uint8_t answers[4096];
        int pair[2], r;

        if (memory < 0)
                open_descriptors();
        r = fd_unix_pair(pair);
        assert(r == 0);
        ours = pair[0];
        r = vhost_user_new(pair[1], "\1\2\3\4\5\6\7\10", 8, &user);
        assert(r == 0);
        while (n > 2 && r == 0) {
                size_t size = data[1] < n - 2 ? data[1] : n - 2;

                if (size > 0 && send_piece(ours, data[0], data + 2, size) < 0)
                        break;
                data += 2 + size;
                n -= 2 + size;
                r = vhost_user_run(user);
                if (vhost_user_is_running(user))
                        (void) vhost_ring_want_kick(vhost_user_ring(user, 0));
                while (recv(ours, answers, sizeof(answers), MSG_DONTWAIT) > 0)
                        continue;
        }
        return 0;
}
