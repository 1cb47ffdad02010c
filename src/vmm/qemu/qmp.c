#include "vmm/qemu/qmp.h"

#include <errno.h>
#include <string.h>

#include "base/json.h"

void qmp_message_done(struct qmp_message *message)
{
        json_decref(take_ptr(message->line));
}

static int classify(json_t *line, struct qmp_message *message, struct err *err)
{
        json_t *event = json_object_get(line, "event"), *error = json_object_get(line, "error");

        if (json_object_get(line, "QMP")) {
                message->kind = QMP_GREETING;
        } else if (json_is_string(event)) {
                message->kind = QMP_EVENT;
                message->name = json_string_value(event);
                message->value = json_object_get(line, "data");
        } else if (json_is_object(error)) {
                message->kind = QMP_ERROR;
                message->name = json_text(error, "desc");
        } else if (json_object_get(line, "return")) {
                message->kind = QMP_RETURN;
                message->value = json_object_get(line, "return");
        } else {
                return err_set(err, EPROTO, "qmp.parse", "QEMU sent a line that is no QMP message");
        }
        return 0;
}

int qmp_parse_line(const char *line, size_t n, struct qmp_message *ret_message, struct err *err)
{
        json_error_t error;
        json_t *object = json_loadb(line, n, 0, &error);
        int r;

        *ret_message = (struct qmp_message){ 0 };
        if (!json_is_object(object)) {
                json_decref(object);
                return err_set(err, EPROTO, "qmp.parse", "QEMU sent a line that is no JSON object");
        }
        ret_message->line = object;
        r = classify(object, ret_message, err);
        if (r < 0)
                qmp_message_done(ret_message);
        return r;
}

char *qmp_command_line(const char *execute, json_t *owned_arguments)
{
        json_auto_t *command = json_pack("{s:s, s:o*}", "execute", execute, "arguments", owned_arguments);
        scoped_free char *text = json_dumps(command, JSON_COMPACT);

        return xasprintf("%s\n", text ? text : "");
}

void qmp_buffer_done(struct qmp_buffer *buffer)
{
        text_done(&buffer->text);
}

int qmp_buffer_add(struct qmp_buffer *buffer, const char *bytes, size_t n, struct err *err)
{
        if (buffer->text.n + n > QMP_LINE_MAX)
                return err_set(err, EFBIG, "qmp.read", "QEMU sent a line of more than %d bytes",
                               QMP_LINE_MAX);
        text_append_bytes(&buffer->text, bytes, n);
        return 0;
}

int qmp_buffer_take(struct qmp_buffer *buffer, struct qmp_message *ret_message, struct err *err)
{
        char *end = buffer->text.n ? memchr(buffer->text.s, '\n', buffer->text.n) : NULL;
        size_t used, n;
        int r;

        if (!end)
                return 0;
        n = (size_t) (end - buffer->text.s);
        used = n + 1;
        r = qmp_parse_line(buffer->text.s, n, ret_message, err);
        memmove(buffer->text.s, buffer->text.s + used, buffer->text.n - used + 1);
        buffer->text.n -= used;
        return r < 0 ? r : 1;
}
