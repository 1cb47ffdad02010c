#include "guest/client/guest_report.h"

#include <arpa/inet.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"

#define NUMBER_MAX (INT64_C(1) << 60) /* an exbibyte; sums of a few stay within 64 bits */

enum kind {
        KIND_COUNT, /* 0 ... NUMBER_MAX */
        KIND_REAL,  /* finite, not negative */
        KIND_FLAG,
        KIND_WORD,
        KIND_LOAD,      /* three reals */
        KIND_OBJECT,    /* with these members */
        KIND_NAMED,     /* objects with these members, under names of the guest's */
        KIND_LISTENERS, /* of agent_ports() */
};

struct member {
        const char *name; /* NULL ends a table */
        enum kind kind;
        const struct member *members;
};

static const struct member disk[] = {
        {"total_bytes",  KIND_COUNT, NULL},
        { "free_bytes",  KIND_COUNT, NULL},
        { "inodes",      KIND_COUNT, NULL},
        { "inodes_free", KIND_COUNT, NULL},
        { NULL,          KIND_COUNT, NULL},
};
static const struct member traffic[] = {
        {"read_bytes",      KIND_COUNT, NULL},
        { "written_bytes",  KIND_COUNT, NULL},
        { "received_bytes", KIND_COUNT, NULL},
        { "sent_bytes",     KIND_COUNT, NULL},
        { NULL,             KIND_COUNT, NULL},
};
static const struct member cpu[] = {
        {"count",       KIND_COUNT, NULL},
        { "user_ms",    KIND_COUNT, NULL},
        { "system_ms",  KIND_COUNT, NULL},
        { "idle_ms",    KIND_COUNT, NULL},
        { "io_wait_ms", KIND_COUNT, NULL},
        { "load",       KIND_LOAD,  NULL},
        { NULL,         KIND_COUNT, NULL},
};
static const struct member memory[] = {
        {"total_bytes",       KIND_COUNT, NULL},
        { "free_bytes",       KIND_COUNT, NULL},
        { "available_bytes",  KIND_COUNT, NULL},
        { "cached_bytes",     KIND_COUNT, NULL},
        { "swap_total_bytes", KIND_COUNT, NULL},
        { "swap_free_bytes",  KIND_COUNT, NULL},
        { NULL,               KIND_COUNT, NULL},
};
static const struct member share[] = {
        {"some",  KIND_REAL,  NULL},
        { "full", KIND_REAL,  NULL},
        { NULL,   KIND_COUNT, NULL},
};
static const struct member pressure[] = {
        {"cpu",     KIND_OBJECT, share},
        { "memory", KIND_OBJECT, share},
        { "io",     KIND_OBJECT, share},
        { NULL,     KIND_COUNT,  NULL },
};
static const struct member stats[] = {
        {"uptime_s",  KIND_REAL,   NULL    },
        { "cpu",      KIND_OBJECT, cpu     },
        { "memory",   KIND_OBJECT, memory  },
        { "pressure", KIND_OBJECT, pressure},
        { "disks",    KIND_NAMED,  disk    },
        { "io",       KIND_NAMED,  traffic },
        { "network",  KIND_NAMED,  traffic },
        { NULL,       KIND_COUNT,  NULL    },
};
static const struct member health[] = {
        {"version",      KIND_WORD,  NULL},
        { "protocol",    KIND_COUNT, NULL},
        { "systemd",     KIND_FLAG,  NULL},
        { "uptime_s",    KIND_REAL,  NULL},
        { "sessions",    KIND_COUNT, NULL},
        { "connections", KIND_COUNT, NULL},
        { "ntp",         KIND_FLAG,  NULL},
        { "real_ns",     KIND_COUNT, NULL},
        { NULL,          KIND_COUNT, NULL},
};
/* real_ns is beyond NUMBER_MAX: nanoseconds since 1970 are checked where they are used (guest_clock.h) */
static const struct member system_members[] = {
        {"system", KIND_WORD,  NULL},
        { "disks", KIND_NAMED, disk},
        { NULL,    KIND_COUNT, NULL},
};
static const struct member ports[] = {
        {"listeners", KIND_LISTENERS, NULL},
        { NULL,       KIND_COUNT,     NULL},
};
static const struct member nothing[] = {
        {NULL, KIND_COUNT, NULL},
};

static const struct member *const answers[] = {
        [GUEST_ASK_HEALTH] = health,         [GUEST_ASK_STATS] = stats,         [GUEST_ASK_PORTS] = ports,
        [GUEST_ASK_SYSTEM] = system_members, [GUEST_ASK_SHIFT_CLOCK] = nothing,
};

/* Cut, and only what prints: ASCII, since every such name that a guest's kernel or init makes is. */
static json_t *check_word(const json_t *raw)
{
        char word[GUEST_REPORT_TEXT_MAX + 1];

        if (!json_is_string(raw))
                return NULL;
        (void) snprintf(word, sizeof(word), "%s", json_string_value(raw));
        for (char *c = word; *c != '\0'; c++)
                if (*c < ' ' || *c > '~')
                        *c = '?';
        return json_string(word);
}

static json_t *check_count(const json_t *raw, int64_t max)
{
        json_int_t value = json_integer_value(raw);

        return json_is_integer(raw) && value >= 0 && value <= max ? json_integer(value) : NULL;
}

static json_t *check_real(const json_t *raw)
{
        double value = json_number_value(raw);

        return json_is_number(raw) && isfinite(value) && value >= 0 && value < (double) NUMBER_MAX
                       ? json_real(value)
                       : NULL;
}

static json_t *check_load(const json_t *raw)
{
        json_t *load = json_array();

        for (size_t i = 0; i < 3; i++) {
                json_t *value = check_real(json_array_get(raw, i));

                if (!value) {
                        json_decref(load);
                        return NULL;
                }
                (void) json_array_append_new(load, value);
        }
        return load;
}

static json_t *check_listener(const json_t *raw)
{
        const char *protocol = json_text(raw, "protocol"), *address = json_text(raw, "address");
        uint64_t port = json_u64(raw, "port", 0), pid = json_u64(raw, "pid", 0);
        struct in6_addr any;
        json_t *listener;

        if ((strcmp(protocol, "tcp") != 0 && strcmp(protocol, "udp") != 0) || port == 0 ||
            port > UINT16_MAX ||
            (inet_pton(AF_INET, address, &any) != 1 && inet_pton(AF_INET6, address, &any) != 1))
                return NULL;
        listener = json_pack("{s:s, s:s, s:I}", "protocol", protocol, "address", address, "port",
                             (json_int_t) port);
        if (pid > 0 && pid <= INT32_MAX) {
                (void) json_object_set_new(listener, "pid", json_integer((json_int_t) pid));
                (void) json_object_set_new(listener, "process",
                                           check_word(json_object_get(raw, "process")) ?: json_string(""));
        }
        return listener;
}

static json_t *check_listeners(const json_t *raw)
{
        json_t *listeners = json_array();

        for (size_t i = 0; i < json_array_size(raw) && i < GUEST_REPORT_LISTENERS_MAX; i++) {
                json_t *listener = check_listener(json_array_get(raw, i));

                if (listener)
                        (void) json_array_append_new(listeners, listener);
        }
        return listeners;
}

static json_t *check_object(const struct member *members, const json_t *raw);

static json_t *check_named(const struct member *members, const json_t *raw)
{
        json_t *named, *value;
        const char *name;

        if (!json_is_object(raw))
                return NULL;
        named = json_object();
        json_object_foreach ((json_t *) (uintptr_t) raw, name, value) {
                json_auto_t *text = json_string(name), *word = check_word(text);
                json_t *checked = check_object(members, value);

                if (checked)
                        (void) json_object_set_new(named, json_string_value(word), checked);
                if (json_object_size(named) == GUEST_REPORT_NAMES_MAX)
                        break;
        }
        return named;
}

/* NULL: left out. The tables are three deep, which bounds the recursion. */
static json_t *check_value(const struct member *member, const json_t *raw)
{
        switch (member->kind) {
        case KIND_COUNT:
                return check_count(raw, strcmp(member->name, "real_ns") == 0 ? INT64_MAX : NUMBER_MAX);
        case KIND_REAL:
                return check_real(raw);
        case KIND_FLAG:
                return json_is_boolean(raw) ? json_boolean(json_is_true(raw)) : NULL;
        case KIND_WORD:
                return check_word(raw);
        case KIND_LOAD:
                return check_load(raw);
        case KIND_OBJECT:
                return check_object(member->members, raw);
        case KIND_NAMED:
                return check_named(member->members, raw);
        case KIND_LISTENERS:
                return check_listeners(raw);
        }
        return NULL;
}

static json_t *check_object(const struct member *members, const json_t *raw)
{
        json_t *object;

        if (!json_is_object(raw))
                return NULL;
        object = json_object();
        for (; members->name; members++) {
                json_t *value = check_value(members, json_object_get(raw, members->name));

                if (value)
                        (void) json_object_set_new(object, members->name, value);
        }
        return object;
}

json_t *guest_report_check(enum guest_question question, const json_t *raw)
{
        return check_object(answers[question], raw);
}
