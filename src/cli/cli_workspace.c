#include "cli/cli_workspace.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "api/api_vm.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/size.h"
#include "cli/cli_call.h"
#include "cli/cli_guest.h"
#include "cli/cli_signals.h"
#include "cli/render_progress.h"
#include "cli/render_style.h"
#include "workspace/workspace_send.h"

int cli_workspace_open(const char *path, bool include_untracked, struct cli_workspace *ret_workspace,
                       struct err *err)
{
        int r = workspace_inspect(path, &ret_workspace->repo, err);

        if (r < 0)
                return r;
        r = workspace_list_files(&ret_workspace->repo, include_untracked, &ret_workspace->files, err);
        if (r == 0 && !include_untracked && ret_workspace->files.n_untracked > 0)
                (void) fprintf(
                        stderr,
                        "%zu untracked files or folders stay here; --include-untracked takes them along\n",
                        ret_workspace->files.n_untracked);
        return r;
}

void cli_workspace_done(struct cli_workspace *workspace)
{
        workspace_pack_done(&workspace->pack);
        workspace_files_done(&workspace->files);
        workspace_repo_done(&workspace->repo);
}

void cli_workspace_print(const struct cli_workspace *workspace, bool include_untracked)
{
        const struct text *names = &workspace->files.names;
        char size[SIZE_TEXT_MAX];

        for (const char *name = names->s; name && name < names->s + names->n; name += strlen(name) + 1)
                (void) printf("%s\n", name);
        size_human(workspace->files.n_bytes, size);
        (void) fprintf(
                stderr, "would copy %zu files (%s) and the history of %s to %s, %s; nothing was made\n",
                workspace->files.n_files, size, workspace->repo.branch ? workspace->repo.branch : "HEAD",
                WORKSPACE_GUEST_PATH, include_untracked ? "tracked and untracked" : "tracked only");
}

static int interrupted(struct cli *cli, int r, struct err *err)
{
        cli->signal = signals_unguard();
        if (cli->signal != 0 && r == 0)
                return err_set(err, ECANCELED, "cli.workspace", "interrupted");
        return r;
}

int cli_workspace_pack(struct cli_workspace *workspace, struct err *err)
{
        return workspace_pack_start(&workspace->repo, &workspace->wish, &workspace->pack, err);
}

/* Waits until it is packed, or for a signal. */
static int finish_pack(struct cli *cli, struct cli_workspace *workspace, struct err *err)
{
        int signals = signals_begin(false);
        struct pollfd polled[2] = {
                {.fd = workspace->pack.pidfd, .events = POLLIN},
                { .fd = signals,              .events = POLLIN}
        };

        while (poll(polled, 2, -1) < 0)
                if (errno != EINTR)
                        break;
        if (polled[1].revents)
                cli->signal = signals_take(signals);
        signals_end(signals);
        if (cli->signal != 0)
                return err_set(err, ECANCELED, "cli.workspace", "interrupted");
        return workspace_pack_finish(&workspace->pack, err);
}

static int pack_and_send(struct cli *cli, struct cli_workspace *workspace, const char *vm, struct err *err)
{
        scoped_close int fd = FD_NONE;
        int r = workspace->pack.pid == 0 ? cli_workspace_pack(workspace, err) : 0;

        if (r == 0)
                r = finish_pack(cli, workspace, err);
        if (r < 0)
                return r;
        fd = cli_connect(cli, vm, NULL, err);
        if (fd < 0)
                return fd;
        signals_guard(fd);
        r = workspace_send(&workspace->repo, &workspace->pack.copy, &workspace->files, fd,
                           WORKSPACE_GUEST_PATH, err);
        return interrupted(cli, r, err);
}

static int record(struct cli *cli, const struct cli_workspace *workspace, const char *vm, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        json_t *params = json_pack("{s:s, s:s, s:s, s:s}", "vm", vm, "guest_path", WORKSPACE_GUEST_PATH,
                                   "host_path", workspace->repo.root, "head", workspace->repo.commit);

        if (!params)
                return err_set(err, EINVAL, "cli.workspace", "the path of the repository is not UTF-8");
        return cli_call(cli, &api_vm_workspace_record, params, &reply, err);
}

/* Does mise read any of the files? Without one there is nothing to trust, and a slow guest is spared a shell. */
static bool has_mise_files(const struct text *names)
{
        for (const char *name = names->s; name && name < names->s + names->n; name += strlen(name) + 1)
                if (strstr(name, "mise") || strstr(name, ".tool-versions"))
                        return true;
        return false;
}

static void trust(struct cli *cli, const struct cli_workspace *workspace, const char *vm)
{
        struct err failure = { 0 };
        scoped_free char *path = text_shell_quote(WORKSPACE_GUEST_PATH);
        scoped_free char *script = xasprintf("mise trust --quiet --all %s", path);
        int status;

        if (!has_mise_files(&workspace->files.names))
                return;
        status = cli_run_quietly(cli, vm, script, FD_NONE, &failure);
        if (status != 0) /* S-104, S-271: neither a missing mise nor its failure matters */
                log_debug("mise trusts nothing", "{s:s, s:s, s:i, s:s}", "vm_name", vm, "path",
                          WORKSPACE_GUEST_PATH, "status", status, "error", failure.message);
}

int cli_workspace_send(struct cli *cli, struct cli_workspace *workspace, const char *vm, struct err *err)
{
        uint64_t start_ms = clock_monotonic_ms();
        char elapsed[ELAPSED_MAX];
        int r = pack_and_send(cli, workspace, vm, err);

        if (r == 0)
                r = record(cli, workspace, vm, err);
        if (r < 0)
                return r;
        elapsed_format(clock_monotonic_ms() - start_ms, elapsed);
        (void) fprintf(stderr, "%s%s: %zu file%s to %s %s%s\n", style_on(stderr, STYLE_DIM),
                       workspace->repo.name, workspace->files.n_files,
                       workspace->files.n_files == 1 ? "" : "s", WORKSPACE_GUEST_PATH, elapsed,
                       style_off(stderr));
        trust(cli, workspace, vm);
        return 0;
}

void cli_workspace_bootstrap(struct cli *cli, const struct cli_workspace *workspace, const char *vm,
                             bool wait)
{
        struct err failure = { 0 };
        scoped_free char *log = xasprintf("/root/.cache/banger/vm-run-tooling-%s.log", workspace->repo.name);
        scoped_free char *quoted = text_shell_quote(log);
        scoped_free char *script =
                xasprintf("command -v mise >/dev/null 2>&1 || exit 0; "
                          "mkdir -p /root/.cache/banger; cd " WORKSPACE_GUEST_PATH "; %s%s%s",
                          wait ? "mise install 2>&1 | tee " : "trap '' HUP; mise install >", quoted,
                          wait ? "" : " 2>&1 </dev/null &"); /* as nohup, which small images lack */
        int status;

        if (!workspace->repo.has_tooling)
                return;
        status = cli_run_quietly(cli, vm, script, wait ? STDERR_FILENO : FD_NONE, &failure);
        if (status < 0)
                (void) fprintf(stderr, "the tools of %s were not installed: %s\n", workspace->repo.name,
                               failure.message);
}
