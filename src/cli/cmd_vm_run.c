#include <stdio.h>
#include <string.h>

#include "api/api_daemon.h"
#include "api/api_vm.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/size.h"
#include "base/text.h"
#include "cli/cli_call.h"
#include "cli/cli_commands.h"
#include "cli/cli_exec.h"
#include "cli/cli_guest.h"
#include "cli/cli_parse.h"
#include "cli/cli_signals.h"
#include "cli/cli_vms.h"
#include "cli/cli_workspace.h"
#include "cli/render_progress.h"
#include "cli/render_style.h"
#include "workspace/workspace_send.h"

/* One vm run; all borrowed. */
struct run {
        const struct cli_args *args;
        const struct cli_exec *options;
        struct cli_workspace *workspace; /* NULL: without a path */
        bool is_detached, is_removed, no_bootstrap;
        const char *vm; /* its name, once it is made */
        uint64_t started_ms;
};

static int check_combination(const struct cli_args *args, struct err *err)
{
        const json_t *options = args->options;
        bool detach = json_flag(options, "detach");
        const char *branch = json_text(options, "branch"), *from = json_text(options, "from");

        if (detach && json_flag(options, "rm"))
                return err_set(err, EINVAL, "vm.run",
                               "--detach and --rm exclude each other: who would delete it, and when?");
        if (detach && args->command)
                return err_set(err, EINVAL, "vm.run",
                               "--detach and a command exclude each other; start it with -d, then: banger vm "
                               "exec <vm> -- %s",
                               args->command[0]);
        if (args->n_operands == 0 &&
            (*branch || *from || json_flag(options, "include_untracked") || json_flag(options, "dry_run")))
                return err_set(err, EINVAL, "vm.run",
                               "--branch, --from, --include-untracked and --dry-run are about a repository; "
                               "give its path");
        if (!args->command && cli_exec_is_given(options))
                return err_set(
                        err, EINVAL, "vm.run",
                        "--env, --env-file, --workdir, --user and --timeout are for a command; give it "
                        "after '--'");
        if (*from && !*branch)
                return err_set(err, EINVAL, "vm.run",
                               "--from is where the new branch starts; name it with --branch");
        return 0;
}

/* S-052: the tools of the repository come from the network, which a VM has only when it is asked for. */
static int check_tooling(const struct run *run, struct err *err)
{
        if (!run->workspace->repo.has_tooling || run->no_bootstrap || run->args->command ||
            json_flag(run->args->params, "nat"))
                return 0;
        return err_set(err, EINVAL, "vm.run",
                       "'%s' names tools to install (.mise.toml or .tool-versions), which needs the network: "
                       "add --nat, or --no-bootstrap to leave them out",
                       run->workspace->repo.root);
}

static int check_branch(const struct run *run, struct err *err)
{
        const struct workspace_wish *wish = &run->workspace->wish;
        scoped_free char *commit = NULL;
        int r = wish->branch ? workspace_check_branch(&run->workspace->repo, wish->branch, err) : 0;

        return r == 0 && wish->from ? workspace_resolve(&run->workspace->repo, wish->from, &commit, err) : r;
}

/* Everything about the repository that can be wrong, before there is a VM. */
static int open_workspace(struct run *run, const char *path, struct err *err)
{
        const json_t *options = run->args->options;
        const char *branch = json_text(options, "branch"), *from = json_text(options, "from");
        int r = cli_workspace_open(path, json_flag(options, "include_untracked"), run->workspace, err);

        if (r < 0)
                return r;
        run->workspace->wish =
                (struct workspace_wish){ .branch = *branch ? branch : NULL, .from = *from ? from : NULL };
        r = check_branch(run, err);
        return r == 0 ? check_tooling(run, err) : r;
}

/* "spec: 4 vcpu | 8192 MiB | 8G disk": what was asked for, the daemon's defaults for the rest. */
static int print_spec(struct cli *cli, const json_t *params, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        int r = cli_call(cli, &api_daemon_defaults, NULL, &reply, err);
        char disk[SIZE_TEXT_MAX];

        if (r < 0)
                return r;
        size_format(json_u64(params, "disk_size", json_u64(reply.result, "disk_bytes", 0)), disk);
        (void) fprintf(stderr, "spec: %u vcpu | %u MiB | %s disk\n",
                       (unsigned) json_u64(params, "vcpu", json_u64(reply.result, "vcpu", 0)),
                       (unsigned) json_u64(params, "memory", json_u64(reply.result, "memory_mib", 0)), disk);
        return 0;
}

static void print_ready(const struct run *run, const json_t *vm)
{
        char elapsed[ELAPSED_MAX];

        elapsed_format(clock_monotonic_ms() - run->started_ms, elapsed);
        (void) fprintf(stderr, "%sready in %s (%s on %s)%s\n", style_on(stderr, STYLE_DIM), elapsed, run->vm,
                       *json_text(vm, "vmm") ? json_text(vm, "vmm") : "vmm", style_off(stderr));
}

static int run_command(struct cli *cli, const struct run *run, struct err *err)
{
        scoped_close int fd = cli_connect(cli, run->vm, NULL, err);
        const struct cli_run command = { .argv = (const char *const *) run->args->command,
                                         .folder = run->workspace ? WORKSPACE_GUEST_PATH : NULL,
                                         .image = GUEST_IMAGE_RUN,
                                         .login_shell = true,
                                         .options = run->options };

        return fd < 0 ? fd : cli_run_in_guest(fd, &command, err);
}

/* With a VM that runs. Exit status or -code. */
static int use_vm(struct cli *cli, const struct run *run, const json_t *vm, struct err *err)
{
        int r = run->workspace ? cli_workspace_send(cli, run->workspace, run->vm, err) : 0;

        if (r < 0)
                return r;
        if (run->workspace && !run->args->command && !run->no_bootstrap)
                cli_workspace_bootstrap(cli, run->workspace, run->vm, run->is_detached);
        if (vms_is_interrupted(cli)) /* neither of these fails, but both can be interrupted */
                return err_set(err, ECANCELED, "vm.run", "interrupted");
        print_ready(run, vm);
        if (run->args->command || (json_flag(vm, "image_command") && !run->workspace && !run->is_detached))
                return run_command(cli, run, err);
        if (!run->is_detached)
                return session_open(cli, vm, run->workspace ? WORKSPACE_GUEST_PATH : NULL, err);
        (void) printf("%s\n", run->vm);
        (void) fprintf(stderr, "vm '%s' runs; connect with: banger vm ssh %s\n", run->vm, run->vm);
        return 0;
}

static int create_and_use(struct cli *cli, struct run *run, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        int r = run->workspace ? cli_workspace_pack(run->workspace, err) : 0;

        if (r == 0)
                r = cli_call(cli, &api_vm_create, json_incref(run->args->params), &reply, err);
        if (r < 0)
                return r;
        run->vm = json_text(reply.result, "name");
        r = vms_is_interrupted(cli) ? err_set(err, ECANCELED, "vm.run", "interrupted")
                                    : use_vm(cli, run, reply.result, err);
        if (run->is_removed)
                vms_delete_at_end(cli, run->vm);
        else if (!run->is_detached || r < 0)
                session_remind(run->vm);
        return r;
}

/* From here on there may be something to delete, so no signal ends this in between. */
static int create_and_use_held(struct cli *cli, struct run *run, struct err *err)
{
        int r = cli_need_helper(cli, err);

        if (r == 0)
                r = print_spec(cli, run->args->params, err);

        if (r < 0)
                return r;
        signals_hold();
        r = create_and_use(cli, run, err);
        if (run->workspace)
                workspace_pack_done(&run->workspace->pack);
        signals_release();
        return r;
}

int cmd_vm_run(struct cli *cli, const struct cli_args *args, struct err *err)
{
        scoped(cli_workspace_done) struct cli_workspace workspace = CLI_WORKSPACE_NONE;
        scoped(cli_exec_done) struct cli_exec options = { 0 };
        struct run run = { .args = args,
                           .options = &options,
                           .is_detached = json_flag(args->options, "detach"),
                           .is_removed = json_flag(args->options, "rm"),
                           .no_bootstrap = json_flag(args->options, "no_bootstrap"),
                           .started_ms = clock_monotonic_ms() };
        int r = check_combination(args, err);

        if (r == 0)
                r = cli_exec_read(args->options, &options, err);
        if (r < 0)
                return r;
        if (args->n_operands > 0) {
                run.workspace = &workspace;
                r = open_workspace(&run, args->operands[0], err);
                if (r < 0)
                        return r;
        }
        if (json_flag(args->options, "dry_run")) {
                cli_workspace_print(&workspace, json_flag(args->options, "include_untracked"));
                return 0;
        }
        return create_and_use_held(cli, &run, err);
}
