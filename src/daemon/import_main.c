/*
 * bangerd-import: the jobs that read packages, archives and kernels. A program of its own, so that neither the daemon nor
 * the start of a VM carries the parsers of foreign bytes and their libraries. Started by bangerd alone.
 */
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/scoped.h"
#include "base/text.h"
#include "base/version.h"
#include "daemon/job.h"

int main(int argc, char **argv)
{
        static const struct rpc_binding bindings[] = {
                {&job_image_pull,       job_image_pull_run     },
                { &job_image_register,  job_image_register_run },
                { &job_image_promote,   job_image_promote_run  },
                { &job_kernel_pull,     job_kernel_pull_run    },
                { &job_kernel_import,   job_kernel_import_run  },
                { &job_kernel_refresh,  job_kernel_refresh_run },
                { &job_image_sweep,     job_image_sweep_run    },
                { &job_registry_login,  job_registry_login_run },
                { &job_registry_logout, job_registry_logout_run},
                { &job_registry_access, job_registry_access_run},
                { NULL,                 NULL                   },
        };
        uint64_t sock = 0;

        (void) umask(077);
        (void) signal(SIGPIPE, SIG_IGN);
        log_init("bangerd-import", LOG_LEVEL_INFO);
        if (argc == 2 && strcmp(argv[1], "--version") == 0) {
                scoped_free char *line = version_line("bangerd-import");

                return puts(line) < 0;
        }
        if (argc != 3 || strcmp(argv[1], "--job") != 0 || text_parse_u64(argv[2], INT_MAX, &sock) < 0) {
                (void) fputs("bangerd-import does the imports of bangerd, which starts it; there is nothing "
                             "to do by hand\n",
                             stderr);
                return 2;
        }
        return job_main((int) sock, bindings);
}
