#include "vmm/qemu/vm_options.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

#define DEFAULT_SOCKET  "/run/firecracker.socket"
#define DEFAULT_PAYLOAD 51200

enum kind {
        FLAG,
        TEXT,
        NUMBER,
        TAP,
        IGNORED /* takes a value that means nothing here */
};

struct option {
        const char *name;
        enum kind kind;
        size_t offset;
        const char *value, *help; /* help NULL: not shown */
};

#define AT(member) offsetof(struct vm_options, member)

static const struct option options[] = {
        {"api-sock",                   TEXT,    AT(api_sock),        "PATH",    "API socket (default " DEFAULT_SOCKET ")"         },
        { "id",                        TEXT,    AT(id),              "ID",      "name of the microVM (default anonymous-instance)"},
        { "config-file",               TEXT,    AT(config_file),     "PATH",    "configure from JSON and boot at once"            },
        { "metadata",                  TEXT,    AT(metadata),        "PATH",    "JSON for the MMDS store"                         },
        { "no-api",                    FLAG,    AT(no_api),          NULL,      "serve no API; needs --config-file"               },
        { "log-path",                  TEXT,    AT(log_path),        "PATH",    "log file or FIFO (default: standard output)"     },
        { "level",                     TEXT,    AT(level),           "LEVEL",   "Off, Error, Warn, Info (default), Debug, Trace"  },
        { "module",                    TEXT,    AT(module),          "NAME",    "accepted; log lines are not filtered by module"  },
        { "show-level",                FLAG,    AT(show_level),      NULL,      "print the level in log lines"                    },
        { "show-log-origin",           FLAG,    AT(show_log_origin), NULL,      "print file and line in log lines"                },
        { "metrics-path",              TEXT,    AT(metrics_path),    "PATH",    "metrics file or FIFO"                            },
        { "boot-timer",                FLAG,    AT(boot_timer),      NULL,      "accepted; there is no boot timer device"         },
        { "no-seccomp",                FLAG,    AT(no_seccomp),      NULL,      "do not confine this process (debugging)"         },
        { "http-api-max-payload-size", NUMBER,  AT(payload_max),     "BYTES",
         "largest request body (default 51200)"                                                                                   },
        { "mmds-size-limit",           NUMBER,  AT(mmds_max),        "BYTES",   "largest MMDS content (default: as a body)"       },
        { "tap",                       TAP,     0,                   "NAME=FD", "open tap device inherited as descriptor FD"      },
        { "qemu",                      TEXT,    AT(qemu),            "PATH",    "the QEMU to drive (default qemu-system-x86_64)"  },
        { "accel",                     TEXT,    AT(accel_name),      "NAME",    "auto (default), kvm or tcg"                      },
        { "start-time-us",             IGNORED, 0,                   NULL,      NULL                                              },
        { "start-time-cpu-us",         IGNORED, 0,                   NULL,      NULL                                              },
        { "parent-cpu-time-us",        IGNORED, 0,                   NULL,      NULL                                              },
        { "version",                   FLAG,    AT(version),         NULL,      "print the versions and exit"                     },
        { "help",                      FLAG,    AT(help),            NULL,      "print this and exit"                             },
};
#define N_OPTIONS (sizeof(options) / sizeof(options[0]))

static const struct option *find(const char *name, size_t n)
{
        for (size_t i = 0; i < N_OPTIONS; i++)
                if (strlen(options[i].name) == n && memcmp(options[i].name, name, n) == 0)
                        return &options[i];
        return NULL;
}

static int store(struct vm_options *o, const struct option *option, const char *value, struct err *err)
{
        void *slot = (char *) o + option->offset;

        switch (option->kind) {
        case FLAG:
                *(bool *) slot = true;
                return 0;
        case TEXT:
                if (*(const char **) slot && slot != &o->api_sock && slot != &o->id && slot != &o->qemu)
                        return err_set(err, EINVAL, "options",
                                       "The argument '%s' was provided more than once.", option->name);
                *(const char **) slot = value;
                return 0;
        case NUMBER:
                if (text_parse_u64(value, UINT32_MAX, slot) < 0)
                        return err_set(err, EINVAL, "options", "'%.40s' is not a number of bytes for --%s",
                                       value, option->name);
                return 0;
        case TAP:
                if (o->n_taps == VM_TAPS_MAX)
                        return err_set(err, EINVAL, "options", "at most %d --tap options", VM_TAPS_MAX);
                o->taps[o->n_taps++] = value;
                return 0;
        case IGNORED:
                return 0;
        }
        return 0;
}

/* argv[*i] and its value, which may be the next argument. */
static int parse_one(int argc, char **argv, int *i, struct vm_options *o, struct err *err)
{
        const char *argument = argv[*i], *equals, *value = NULL;
        const struct option *option;

        if (strcmp(argument, "-h") == 0)
                argument = "--help";
        if (!text_starts_with(argument, "--"))
                return err_set(err, EINVAL, "options",
                               "Found argument '%.100s' which wasn't expected, or isn't valid in "
                               "this context.",
                               argument);
        argument += 2;
        equals = strchr(argument, '=');
        option = find(argument, equals ? (size_t) (equals - argument) : strlen(argument));
        if (!option)
                return err_set(err, EINVAL, "options",
                               "Found argument '%.100s' which wasn't expected, or isn't valid in "
                               "this context.",
                               argument);
        if (option->kind == FLAG && equals)
                return err_set(err, EINVAL, "options", "The argument '%s' takes no value.", option->name);
        if (option->kind != FLAG) {
                value = equals ? equals + 1 : *i + 1 < argc ? argv[++*i] : NULL;
                if (!value || value[0] == '\0')
                        return err_set(err, EINVAL, "options",
                                       "The argument '%s' requires a value, but none was supplied.",
                                       option->name);
        }
        return store(o, option, value, err);
}

static int check_id(const char *id, struct err *err)
{
        size_t n = strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-");

        if (n < 1 || n > 64 || id[n] != '\0')
                return err_set(err, EINVAL, "options",
                               "Invalid instance ID '%.80s': 1 to 64 of letters, digits and '-'", id);
        return 0;
}

static int check_level(struct vm_options *o, struct err *err)
{
        for (unsigned i = 0; vmm_log_levels[i]; i++)
                if (strcasecmp(vmm_log_levels[i], o->level) == 0) {
                        o->log_level = i;
                        return 0;
                }
        return err_set(err, EINVAL, "options", "'%.40s' is not a valid value for 'level'.", o->level);
}

static int check_accel(struct vm_options *o, struct err *err)
{
        static const char *const names[] = {
                [VM_ACCEL_AUTO] = "auto", [VM_ACCEL_KVM] = "kvm", [VM_ACCEL_TCG] = "tcg"
        };

        if (!o->accel_name)
                return 0;
        for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (strcmp(names[i], o->accel_name) == 0) {
                        o->accel = (enum vm_accel) i;
                        return 0;
                }
        return err_set(err, EINVAL, "options", "--accel is auto, kvm or tcg, not '%.40s'", o->accel_name);
}

int vm_options_parse(int argc, char **argv, struct vm_options *ret_options, struct err *err)
{
        struct vm_options *o = ret_options;
        int r = 0;

        *o = (struct vm_options){ .api_sock = DEFAULT_SOCKET,
                                  .id = "anonymous-instance",
                                  .qemu = "qemu-system-x86_64",
                                  .payload_max = DEFAULT_PAYLOAD,
                                  .log_level = VMM_LOG_INFO };
        for (int i = 1; i < argc && r == 0 && strcmp(argv[i], "--") != 0; i++)
                r = parse_one(argc, argv, &i, o, err);
        if (r < 0 || o->help || o->version)
                return r;
        if (o->no_api && !o->config_file)
                return err_set(err, EINVAL, "options", "The argument 'config-file' is required by 'no-api'.");
        if (o->mmds_max == 0)
                o->mmds_max = o->payload_max;
        r = check_id(o->id, err);
        if (r == 0 && o->level)
                r = check_level(o, err);
        return r < 0 ? r : check_accel(o, err);
}

void vm_options_print_help(FILE *out)
{
        (void) fputs(
                "Usage: banger-qemu [OPTION]...\n"
                "A VMM that speaks Firecracker's HTTP API on a UNIX socket and drives QEMU (-M microvm),\n"
                "for hosts without KVM. Values are given as --option VALUE or --option=VALUE.\n\n",
                out);
        for (size_t i = 0; i < N_OPTIONS; i++) {
                scoped_free char *head = NULL;

                if (!options[i].help)
                        continue;
                head = xasprintf("--%s%s%s", options[i].name, options[i].value ? " " : "",
                                 options[i].value ? options[i].value : "");
                (void) fprintf(out, "  %-34s %s\n", head, options[i].help);
        }
        (void) fputs("\nExit status: 0 guest reset or powered off, 1 failure, 148 forbidden system call,\n"
                     "152 bad configuration, 153 bad arguments. See banger-qemu(1).\n",
                     out);
}
