#include "guest/contract/guest_request.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "guest/contract/guest_frame.h"

static const char *const op_names[] = {
        [GUEST_OP_EXEC] = "exec",           [GUEST_OP_TAR_IN] = "tar_in",
        [GUEST_OP_TAR_OUT] = "tar_out",     [GUEST_OP_SYNC] = "sync",
        [GUEST_OP_POWER_OFF] = "power_off", [GUEST_OP_SET_CLOCK] = "set_clock",
        [GUEST_OP_HEALTH] = "health",       [GUEST_OP_STATS] = "stats",
        [GUEST_OP_PORTS] = "ports",         [GUEST_OP_COPY_IN] = "copy_in",
        [GUEST_OP_COPY_OUT] = "copy_out",   [GUEST_OP_DIAL] = "dial",
        [GUEST_OP_LISTEN] = "listen",       [GUEST_OP_SESSIONS] = "sessions",
        [GUEST_OP_ATTACH] = "attach",       [GUEST_OP_SESSION_KILL] = "session_kill",
        [GUEST_OP_SYSTEM] = "system",
};
static_assert(sizeof(op_names) / sizeof(op_names[0]) == GUEST_N_OPS, "a name for every request");

static json_int_t count(const char *const *strings)
{
        json_int_t n = 0;

        while (strings && strings[n])
                n++;
        return n;
}

static void append_all(struct text *body, const char *const *strings)
{
        for (; strings && *strings; strings++)
                text_append_bytes(body, *strings, strlen(*strings) + 1);
}

/* Those that are seldom set, in neither form known to agents of before. */
static void add_flags(json_t *json, const struct guest_request *request)
{
        const struct {
                const char *key;
                bool is_set;
        } flags[] = {
                {"user",    request->user != NULL},
                { "into",   request->into        },
                { "follow", request->follow      },
                { "detach", request->detach      },
                { "quiet",  request->quiet       },
        };

        for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
                if (flags[i].is_set)
                        (void) json_object_set_new(json, flags[i].key, json_true());
        if (request->timeout_ms > 0)
                (void) json_object_set_new(json, "timeout_ms",
                                           json_integer((json_int_t) request->timeout_ms));
        if (request->signal > 0)
                (void) json_object_set_new(json, "signal", json_integer(request->signal));
}

/* The caller owns it. */
static char *head_dump(const struct guest_request *request, json_int_t n_argv, json_int_t n_env)
{
        json_t *json = json_pack(
                "{s:s, s:I, s:b, s:b, s:b, s:i, s:i, s:b, s:I, s:I}", "op", op_names[request->op], "shift_ns",
                (json_int_t) request->shift_ns, "slew", request->slew, "login_shell", request->login_shell,
                "terminal", request->terminal, "rows", (int) request->rows, "columns", (int) request->columns,
                "path", request->path != NULL, "n_argv", n_argv, "n_env", n_env);
        char *head;

        if (request->image != GUEST_IMAGE_IGNORED)
                (void) json_object_set_new(json, "image", json_integer(request->image));
        add_flags(json, request);
        head = json ? json_dumps(json, JSON_COMPACT) : NULL;
        json_decref(json);
        return head;
}

int guest_request_encode(const struct guest_request *request, struct text *body, struct err *err)
{
        json_int_t n_argv = count(request->argv), n_env = count(request->env);
        scoped_free char *head = head_dump(request, n_argv, n_env);

        if (!head)
                return err_set(err, ENOMEM, "guest.request", "no memory for a request");
        if (n_argv > GUEST_STRINGS_MAX || n_env > GUEST_STRINGS_MAX)
                return err_set(err, E2BIG, "guest.request",
                               "a command takes at most %d arguments and as many environment strings",
                               GUEST_STRINGS_MAX);
        text_append_bytes(body, head, strlen(head) + 1);
        if (request->path)
                text_append_bytes(body, request->path, strlen(request->path) + 1);
        append_all(body, request->argv);
        append_all(body, request->env);
        if (request->user)
                text_append_bytes(body, request->user, strlen(request->user) + 1);
        if (body->n > GUEST_CONTROL_MAX)
                return err_set(err, E2BIG, "guest.request",
                               "command, environment and folder exceed %u bytes together", GUEST_CONTROL_MAX);
        return 0;
}

/* The next of the strings between *at and end; NULL when there is none. */
static const char *next_string(const char **at, const char *end)
{
        const char *string = *at;
        const char *nul = string < end ? memchr(string, '\0', (size_t) (end - string)) : NULL;

        if (!nul)
                return NULL;
        *at = nul + 1;
        return string;
}

/* n strings as a NULL-terminated array; NULL for n == 0 or when there are fewer. */
static const char **take_strings(const char **at, const char *end, uint64_t n)
{
        scoped_free const char **strings = NULL;

        if (n == 0)
                return NULL;
        strings = xcalloc((size_t) n + 1, sizeof(*strings));
        for (uint64_t i = 0; i < n; i++) {
                strings[i] = next_string(at, end);
                if (!strings[i])
                        return NULL;
        }
        return take_ptr(strings);
}

static int decode_head(const json_t *json, struct guest_request *request)
{
        const char *name = json_text(json, "op");
        uint64_t rows = json_u64(json, "rows", 0), columns = json_u64(json, "columns", 0);

        while (request->op < GUEST_N_OPS && strcmp(op_names[request->op], name) != 0)
                request->op++;
        if (request->op == GUEST_N_OPS || rows > UINT16_MAX || columns > UINT16_MAX ||
            json_u64(json, "signal", 0) > UINT8_MAX)
                return -EBADMSG;
        request->shift_ns =
                json_integer_value(json_object_get(json, "shift_ns")); /* 0 when it is no number */
        request->slew = json_flag(json, "slew");
        request->timeout_ms = json_u64(json, "timeout_ms", 0);
        request->image = (enum guest_image_use) json_u64(json, "image", GUEST_IMAGE_IGNORED);
        if (request->image >= GUEST_N_IMAGE_USES)
                return -EBADMSG;
        request->login_shell = json_flag(json, "login_shell");
        request->terminal = json_flag(json, "terminal");
        request->into = json_flag(json, "into");
        request->follow = json_flag(json, "follow");
        request->detach = json_flag(json, "detach");
        request->quiet = json_flag(json, "quiet");
        request->signal = (uint8_t) json_u64(json, "signal", 0);
        request->rows = (uint16_t) rows;
        request->columns = (uint16_t) columns;
        return 0;
}

static int decode_strings(const json_t *json, const char *at, const char *end, struct guest_request *request)
{
        uint64_t n_argv = json_u64(json, "n_argv", 0), n_env = json_u64(json, "n_env", 0);

        if (n_argv > GUEST_STRINGS_MAX || n_env > GUEST_STRINGS_MAX)
                return -EBADMSG;
        if (json_flag(json, "path") && !(request->path = next_string(&at, end)))
                return -EBADMSG;
        request->argv = request->owned_argv = take_strings(&at, end, n_argv);
        request->env = request->owned_env = take_strings(&at, end, n_env);
        if (json_flag(json, "user") && !(request->user = next_string(&at, end)))
                return -EBADMSG;
        if ((n_argv > 0 && !request->argv) || (n_env > 0 && !request->env) || at != end)
                return -EBADMSG;
        return 0;
}

int guest_request_decode(const void *body, size_t n, struct guest_request *ret_request, struct err *err)
{
        const char *nul = n > 0 && n <= GUEST_CONTROL_MAX ? memchr(body, '\0', n) : NULL;
        scoped(guest_request_done) struct guest_request request = { 0 };
        json_t *json = NULL;
        size_t n_head;
        int r;

        if (!nul)
                return err_set(err, EBADMSG, "guest.request", "a request without an end of its head");
        n_head = (size_t) (nul - (const char *) body);
        r = json_parse(body, n_head, "a request", &json, err);
        if (r < 0)
                return r;
        request.owned_strings = xmalloc(n - n_head);
        memcpy(request.owned_strings, nul + 1, n - n_head - 1);
        r = json_is_object(json) ? decode_head(json, &request) : -EBADMSG;
        if (r == 0)
                r = decode_strings(json, request.owned_strings, request.owned_strings + (n - n_head - 1),
                                   &request);
        json_decref(json);
        if (r < 0)
                return err_set(err, EBADMSG, "guest.request", "a request that is not understood");
        *ret_request = request;
        request = (struct guest_request){ 0 };
        return 0;
}

void guest_request_done(struct guest_request *request)
{
        free(request->owned_strings);
        free(request->owned_argv);
        free(request->owned_env);
        *request = (struct guest_request){ 0 };
}
