/*
 * What a client may send: the frames of a connection, and one request against a method that has a field of every kind and
 * sense. What a handler is given must be what its table promises.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/scoped.h"
#include "rpc/rpc_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct all_params {
        bool flag;
        uint32_t small;
        uint64_t large;
        const char *text, *vm_name, *vm, *path, *guest_path, *signal;
        uint64_t bytes;
};

#define FIELD(member, ...) RPC_FIELD(struct all_params, member, "of the fuzzer", __VA_ARGS__)
static const struct rpc_field all_fields[] = {
        FIELD(flag),
        FIELD(small, .min = 2, .max = 7),
        FIELD(large),
        FIELD(text, .required = true),
        FIELD(vm_name, .sense = RPC_VM_NAME),
        FIELD(vm, .sense = RPC_VM_REF),
        FIELD(path, .sense = RPC_HOST_PATH),
        FIELD(guest_path, .sense = RPC_GUEST_PATH),
        FIELD(signal, .sense = RPC_SIGNAL_NAME),
        FIELD(bytes, .sense = RPC_BYTES, .max = UINT64_C(1) << 40),
        RPC_END,
};
static const struct rpc_method all_method = { .name = "all",
                                              .doc = "Check what came.",
                                              .params_size = sizeof(struct all_params),
                                              .params = all_fields };

static void expect(bool holds)
{
        if (!holds)
                abort();
}

static int run_all(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        const struct all_params *p = params;

        (void) call;
        (void) ret_result;
        (void) err;
        expect(p->text != NULL);
        expect(p->small == 0 || (p->small >= 2 && p->small <= 7));
        expect(p->bytes <= UINT64_C(1) << 40);
        expect(!p->vm_name || rpc_vm_name_is_valid(p->vm_name));
        expect(!p->path || p->path[0] == '\0' || p->path[0] == '/');
        expect(!p->guest_path || p->guest_path[0] == '/');
        return 0;
}

static void dispatch(json_t *owned_message)
{
        static const struct rpc_binding bindings[] = {
                {&all_method, run_all},
                { NULL,       NULL   }
        };
        struct rpc_call call = { .message = owned_message };
        struct err err = { 0 };
        json_t *result = NULL;
        int r = rpc_dispatch(&call, bindings, true, &result, &err);
        json_auto_t *answer = rpc_answer(&call, r, result, &err);
        struct text bytes = { 0 };

        expect(r == 0 || err.code == -r);
        expect(rpc_op_id_is_valid(call.op_id));
        expect(rpc_encode(answer, &bytes, &err) == 0);
        text_done(&bytes);
        rpc_call_done(&call);
}

static void read_frames(const uint8_t *data, size_t size)
{
        scoped_close int near = FD_NONE;
        struct rpc_reader reader = { 0 };
        int ends[2];
        struct err err = { 0 };
        json_t *message = NULL;

        expect(fd_unix_pair(ends) == 0);
        near = ends[0];
        (void) send(ends[1], data, size < 60000 ? size : 60000, MSG_DONTWAIT | MSG_NOSIGNAL);
        (void) close(ends[1]);
        while (rpc_reader_read(&reader, near, &message, &err) == 1)
                dispatch(take_ptr(message));
        rpc_reader_done(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        json_t *message;

        if (size == 0)
                return 0;
        if (data[0] == 'F') {
                read_frames(data + 1, size - 1);
                return 0;
        }
        message = json_loadb((const char *) data, size, 0, NULL);
        if (json_is_object(message))
                dispatch(message);
        else
                json_decref(message);
        return 0;
}
