/* What QEMU says: any bytes, in two pieces, end in messages or in an error. */
#include <assert.h>
#include <stdint.h>

#include "vmm/qemu/qmp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        struct qmp_buffer buffer = { 0 };
        struct err err = { 0 };
        size_t half = n / 2;
        int r = qmp_buffer_add(&buffer, (const char *) data, half, &err);

        for (int piece = 0; piece < 2 && r >= 0; piece++) {
                struct qmp_message message;

                while ((r = qmp_buffer_take(&buffer, &message, &err)) > 0) {
                        assert(message.kind < QMP_N_KINDS && message.line);
                        qmp_message_done(&message);
                }
                if (piece == 0 && r == 0)
                        r = qmp_buffer_add(&buffer, (const char *) data + half, n - half, &err);
        }
        assert(r == 0 || err.code == -r);
        qmp_buffer_done(&buffer);
        return 0;
}
