#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "guest/client/guest_internal.h"

#define MESSAGE_MAX 600
#define ERRNO_MAX   4095 /* MAX_ERRNO, linux/err.h */

int guest_error_take(const struct guest_frame *frame, const char *op, struct err *err)
{
        struct err parse = { 0 };
        json_t *json = NULL;
        char message[MESSAGE_MAX] = "";
        uint64_t code = EIO;

        if (json_parse((const char *) frame->body, frame->n, "an error", &json, &parse) == 0) {
                strncpy(message, json_text(json, "message"), sizeof(message) - 1);
                code = json_u64(json, "code", EIO);
        }
        json_decref(json);
        text_make_printable(message);
        if (code == 0 || code > ERRNO_MAX)
                code = EIO;
        return err_set(err, (int) code, op, "the guest says: %s",
                       message[0] != '\0' ? message : "it failed, without a reason");
}

int guest_transport_error(int r, const char *op, const char *what, struct err *err)
{
        switch (-r) {
        case ENODATA:
        case ECONNRESET:
        case EPIPE:
                return err_set(err, ECONNRESET, op, "%s: the VM closed the connection", what);
        case ETIMEDOUT:
                return err_set(err, ETIMEDOUT, op, "%s: the guest's agent did not answer in time", what);
        case EBADMSG:
                return err_set(err, EBADMSG, op, "%s: the guest's agent does not keep to the protocol", what);
        default:
                errno = -r;
                return err_errno(err, op, "%s", what);
        }
}
