#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "cli/cli_commands.h"
#include "cli/cli_exec.h"
#include "cli/cli_guest.h"
#include "cli/cli_workspace.h"
#include "guest/client/guest_client.h"
#include "workspace/workspace_send.h"

/*
 * What git tracks over there goes first, so that a file deleted here does not stay; what was built stays.
 * Without git in the guest the new files only come over the old ones.
 */
static void remove_tracked(struct cli *cli, const char *vm)
{
        struct err ignored = { 0 };

        (void) cli_run_quietly(cli, vm,
                               "cd " WORKSPACE_GUEST_PATH " && command -v git >/dev/null 2>&1 && "
                               "git ls-files -z | xargs -0 rm -f --",
                               FD_NONE, &ignored);
}

static int send_again(struct cli *cli, struct cli_workspace *workspace, const char *vm, struct err *err)
{
        remove_tracked(cli, vm);
        return cli_workspace_send(cli, workspace, vm, err);
}

/* S-274, S-275. A repository that is gone is a warning; a failure to send is a failure. */
static int compare_with_host(struct cli *cli, const json_t *vm, bool prepare, struct err *err)
{
        const json_t *recorded = json_object_get(vm, "workspace");
        const char *path = json_text(recorded, "host_path"), *head = json_text(recorded, "head");
        scoped(cli_workspace_done) struct cli_workspace workspace = CLI_WORKSPACE_NONE;
        struct err failure = { 0 };

        if (!*path)
                return 0;
        if (workspace_inspect(path, &workspace.repo, &failure) < 0) {
                (void) fprintf(stderr, "warning: the workspace cannot be compared with the host: %s\n",
                               failure.message);
                return 0;
        }
        if (strcmp(workspace.repo.commit, head) == 0)
                return 0;
        if (!prepare) {
                (void) fprintf(stderr,
                               "warning: the workspace is stale: it has %.12s, '%s' is at %.12s; "
                               "--auto-prepare sends it again\n",
                               head, path, workspace.repo.commit);
                return 0;
        }
        workspace_repo_done(&workspace.repo);
        if (cli_workspace_open(path, false, &workspace, err) < 0)
                return -err->code;
        return send_again(cli, &workspace, json_text(vm, "id"), err);
}

static int start_detached(int fd, const struct cli_args *args, const struct cli_exec *options,
                          const char *folder, struct err *err)
{
        const struct guest_exec exec = { .argv = (const char *const *) args->command,
                                         .env = options->env,
                                         .user = options->user,
                                         .timeout_ms = options->timeout_ms,
                                         .folder = options->workdir ? options->workdir : folder,
                                         .login_shell = true };
        const char *vm = args->operands[0];
        char id[GUEST_ID_MAX];
        int r = guest_exec_detached(fd, &exec, id, err);

        if (r < 0)
                return err_wrap(err, "vm '%s'", vm);
        (void) printf("%s\n", id);
        (void) fprintf(stderr, "its output and its end: banger vm session attach %s %s\n", vm, id);
        return 0;
}

int cmd_vm_exec(struct cli *cli, const struct cli_args *args, struct err *err)
{
        json_auto_t *vm = NULL;
        scoped_close int fd = FD_NONE;
        scoped(cli_exec_done) struct cli_exec options = { 0 };
        const char *folder = json_text(args->options, "guest_path");
        int r = cli_exec_read(args->options, &options, err);

        if (r < 0)
                return r;
        if (!args->command)
                return err_set(err, EINVAL, "vm.exec", "a command is missing: banger vm exec %s -- <command>",
                               args->operands[0]);
        if (*folder && options.workdir)
                return err_set(err, EINVAL, "vm.exec",
                               "--guest-path and --workdir both name the folder to run in; give one");
        fd = cli_connect(cli, args->operands[0], &vm, err);
        if (fd < 0)
                return fd;
        r = compare_with_host(cli, vm, json_flag(args->options, "auto_prepare"), err);
        if (r < 0)
                return r;
        if (!*folder) /* S-276: only where something says so, else root's home */
                folder = json_text(json_object_get(vm, "workspace"), "guest_path");
        if (json_flag(args->options, "detach"))
                return start_detached(fd, args, &options, *folder ? folder : NULL, err);
        return cli_run_in_guest(fd,
                                &(struct cli_run){ .argv = (const char *const *) args->command,
                                                   .folder = *folder ? folder : NULL,
                                                   .image = GUEST_IMAGE_EXEC,
                                                   .login_shell = true,
                                                   .options = &options },
                                err);
}
