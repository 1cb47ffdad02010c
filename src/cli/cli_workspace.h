/* A repository on its way into a VM: sent, recorded, trusted, its tools installed. */
#pragma once

#include "cli/cli_command.h"
#include "workspace/workspace_copy.h"
#include "workspace/workspace_files.h"
#include "workspace/workspace_pack.h"

struct cli_workspace {
        struct workspace_repo repo;
        struct workspace_files files;
        struct workspace_wish wish; /* borrowed */
        struct workspace_pack pack;
};
#define CLI_WORKSPACE_NONE                  \
        {                                   \
                .pack = WORKSPACE_PACK_NONE \
        }

/* Start with CLI_WORKSPACE_NONE. Looks and lists; makes nothing. */
int cli_workspace_open(const char *path, bool include_untracked, struct cli_workspace *ret_workspace,
                       struct err *err);
void cli_workspace_done(struct cli_workspace *workspace);

static inline void cli_workspace_done_at_scope_end(struct cli_workspace *workspace)
{
        cli_workspace_done(workspace);
}

/* What would be copied, on standard output, and how, on standard error. */
void cli_workspace_print(const struct cli_workspace *workspace, bool include_untracked);
/* Begins to pack, beside whatever comes before the sending. */
int cli_workspace_pack(struct cli_workspace *workspace, struct err *err);
/* Packs unless that has begun, sends to /root/repo, records it with the VM, and lets mise trust it (S-267, S-269). */
int cli_workspace_send(struct cli *cli, struct cli_workspace *workspace, const char *vm, struct err *err);
/* mise install; waits for it with its output on standard error, or leaves it to run in the guest. Never a failure. */
void cli_workspace_bootstrap(struct cli *cli, const struct cli_workspace *workspace, const char *vm,
                             bool wait);
