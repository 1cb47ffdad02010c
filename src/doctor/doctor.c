#include "doctor/doctor.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/json.h"
#include "base/text.h"
#include "doctor/doctor_checks.h"

static const char *const status_names[] = { "pass", "warn", "fail" };
static_assert(sizeof(status_names) / sizeof(status_names[0]) == DOCTOR_N_STATUSES, "a name for every status");

const struct doctor_check doctor_checks[] = {
        {"banger version",     doctor_version       },
        { "installation",      doctor_install       },
        { "host architecture", doctor_architecture  },
        { "virtualization",    doctor_virtualization},
        { "firecracker",       doctor_firecracker   },
        { "qemu",              doctor_qemu          },
        { "root helper",       doctor_helper        },
        { "tap devices",       doctor_tun           },
        { "folders",           doctor_folders       },
        { "state store",       doctor_store         },
        { "disk space",        doctor_disk          },
        { "default image",     doctor_image         },
        { "default kernel",    doctor_kernel        },
        { "tools",             doctor_tools         },
        { "image builds",      doctor_namespaces    },
        { "limits of vms",     doctor_cgroup        },
        { NULL,                NULL                 },
};

void doctor_context_init(const struct layout *layout, struct doctor_context *ret_context)
{
        static struct utsname host;

        (void) uname(&host);
        *ret_context = (struct doctor_context){
                .layout = layout,
                .vmm = VMM_CHOICE_AUTO,
                .image = "debian-bookworm",
                .kernel = "debian-6.1",
                .machine = host.machine,
                .os_release = "/etc/os-release",
                .kvm = "/dev/kvm",
                .tun = "/dev/net/tun",
                .subuid = "/etc/subuid",
                .subgid = "/etc/subgid",
                .max_user_namespaces = "/proc/sys/user/max_user_namespaces",
                .install_file = LAYOUT_INSTALL_FILE,
                .runner = &vmm_runner_real,
        };
}

static void say(struct doctor_result *result, enum doctor_status status, const char *format,
                va_list arguments) __attribute__((format(printf, 3, 0)));

static void say(struct doctor_result *result, enum doctor_status status, const char *format,
                va_list arguments)
{
        char line[ERR_MESSAGE_MAX];

        (void) vsnprintf(line, sizeof(line), format, arguments);
        (void) json_array_append_new(result->details, json_string_nocheck(line));
        if (status > result->status)
                result->status = status;
}

void doctor_pass(struct doctor_result *result, const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        say(result, DOCTOR_PASS, format, arguments);
        va_end(arguments);
}

void doctor_warn(struct doctor_result *result, const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        say(result, DOCTOR_WARN, format, arguments);
        va_end(arguments);
}

void doctor_fail(struct doctor_result *result, const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        say(result, DOCTOR_FAIL, format, arguments);
        va_end(arguments);
}

json_t *doctor_run_all(const struct doctor_context *context)
{
        json_t *report = json_array();

        for (const struct doctor_check *check = doctor_checks; check->name; check++) {
                struct doctor_result result = { .details = json_array() };

                check->run(context, &result);
                (void) json_array_append_new(report, json_pack("{s:s, s:s, s:o}", "name", check->name,
                                                               "status", status_names[result.status],
                                                               "details", result.details));
        }
        return report;
}

bool doctor_report_has_failure(const json_t *report)
{
        const json_t *row;
        size_t i;

        json_array_foreach (report, i, row)
                if (strcmp(json_text(row, "status"), status_names[DOCTOR_FAIL]) == 0)
                        return true;
        return false;
}
