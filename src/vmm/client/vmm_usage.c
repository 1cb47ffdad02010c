/* What a VMM costs its host: read from /proc (proc(5)), of the process and its children, since banger-qemu runs QEMU. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "vmm/client/vmm_client.h"

#define STAT_MAX     4096
#define CHILDREN_MAX 8

static void add_process(pid_t pid, struct vmm_usage *usage)
{
        scoped_free char *stat_path = xasprintf("/proc/%d/stat", (int) pid), *stat = NULL;
        scoped_free char *statm_path = xasprintf("/proc/%d/statm", (int) pid), *statm = NULL;
        unsigned long long user, system, resident;
        struct err err = { 0 };
        long hz = sysconf(_SC_CLK_TCK), page = sysconf(_SC_PAGESIZE);
        const char *behind_name;

        if (file_read(stat_path, STAT_MAX, &stat, NULL, &err) < 0 ||
            file_read(statm_path, STAT_MAX, &statm, NULL, &err) < 0)
                return;
        behind_name = strrchr(stat, ')'); /* the name in field 2 may contain anything */
        if (!behind_name || hz <= 0 || page <= 0 ||
            sscanf(behind_name, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system) !=
                    2 ||
            sscanf(statm, "%*u %llu", &resident) != 1)
                return;
        usage->user_ms += user * 1000 / (unsigned long long) hz;
        usage->system_ms += system * 1000 / (unsigned long long) hz;
        usage->resident_bytes += resident * (unsigned long long) page;
}

int vmm_usage_read(pid_t pid, struct vmm_usage *ret_usage)
{
        scoped_free char *path = xasprintf("/proc/%d/task/%d/children", (int) pid, (int) pid), *text = NULL;
        struct err err = { 0 };
        char *rest = NULL;
        int n = 0;

        *ret_usage = (struct vmm_usage){ 0 };
        add_process(pid, ret_usage);
        if (ret_usage->resident_bytes == 0)
                return -ESRCH;
        if (file_read(path, STAT_MAX, &text, NULL, &err) < 0) /* a kernel without CONFIG_PROC_CHILDREN */
                return 0;
        for (char *word = strtok_r(text, " ", &rest); word && n < CHILDREN_MAX;
             word = strtok_r(NULL, " ", &rest)) {
                uint64_t child;

                if (text_parse_u64(word, INT32_MAX, &child) == 0)
                        add_process((pid_t) child, ret_usage);
                n++;
        }
        return 0;
}
