/* vm prune: every VM that does not run goes, after a look at the list. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/api_vm.h"
#include "base/json.h"
#include "base/size.h"
#include "cli/cli_commands.h"
#include "cli/cli_vms.h"
#include "cli/render_table.h"

/* Created, stopped and error (spec 3.4); one that something is being done to is not idle, whatever its state says. */
static bool is_prunable(const json_t *vm)
{
        return !vms_is_alive(vm) && !json_is_object(json_object_get(vm, "operation"));
}

static void show(const json_t *vms)
{
        static const char *const heads[] = { "NAME", "STATE", "IMAGE", "DISK", "CREATED", "WORKSPACE" };
        scoped(table_done) struct table table = { .n_columns = sizeof(heads) / sizeof(heads[0]) };
        const json_t *vm;
        size_t i;

        for (i = 0; i < table.n_columns; i++)
                table_add(&table, heads[i]);
        json_array_foreach (vms, i, vm) {
                char disk[SIZE_TEXT_MAX];

                size_human(json_u64(vm, "disk_bytes", 0), disk);
                table_add(&table, json_text(vm, "name"));
                table_add(&table, json_text(vm, "state"));
                table_add(&table, json_text(vm, "image"));
                table_add(&table, disk);
                table_add(&table, json_text(vm, "created_at"));
                table_add(&table, json_text(json_object_get(vm, "workspace"), "guest_path"));
        }
        table_print(&table, stdout);
}

/* 1: yes, 0: no. */
static int ask(size_t n, struct err *err)
{
        char answer[16];

        if (!isatty(STDIN_FILENO))
                return err_set(err, EINVAL, "vm.prune",
                               "nobody to ask whether to delete %s: standard input is no terminal; give -f "
                               "(--force) to delete without asking",
                               n == 1 ? "this vm" : "these vms");
        (void) printf("Delete %zu vm%s with %s disk%s? This cannot be undone. [y/N] ", n, n == 1 ? "" : "s",
                      n == 1 ? "its" : "their", n == 1 ? "" : "s");
        (void) fflush(stdout);
        if (!fgets(answer, sizeof(answer), stdin))
                return 0;
        answer[strcspn(answer, "\n")] = '\0';
        return strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0;
}

static int delete_all(struct cli *cli, const json_t *vms, struct err *err)
{
        size_t n = json_array_size(vms), n_failed, i;
        scoped_free struct cli_one *ones = xcalloc(n, sizeof(*ones));
        const json_t *vm;
        int r;

        json_array_foreach (vms, i, vm) {
                ones[i].params = vm_params(json_text(vm, "id"));
                ones[i].label = json_text(vm, "name");
        }
        r = cli_call_many(cli, &api_vm_delete, ones, n, err);
        n_failed = vms_report(ones, n, NULL, NULL);
        return r < 0 ? r : n_failed > 0;
}

static int fetch_idle(struct cli *cli, json_t **ret_idle, struct err *err)
{
        json_auto_t *all = NULL;
        json_t *vm;
        size_t i;
        int r = vms_fetch(cli, false, &all, err);

        if (r < 0)
                return r;
        *ret_idle = json_array();
        json_array_foreach (all, i, vm)
                if (is_prunable(vm))
                        (void) json_array_append(*ret_idle, vm);
        return 0;
}

/* The question may have stood there for long: what runs by now is spared, and what has come since was not shown. */
static int drop_busy(struct cli *cli, json_t *shown, struct err *err)
{
        json_auto_t *idle = NULL;
        int r = fetch_idle(cli, &idle, err);

        for (size_t i = r == 0 ? json_array_size(shown) : 0; i-- > 0;) {
                struct err busy = { 0 };

                if (!vms_resolve(idle, json_text(json_array_get(shown, i), "id"), &busy))
                        (void) json_array_remove(shown, i);
        }
        return r;
}

int cmd_vm_prune(struct cli *cli, const struct cli_args *args, struct err *err)
{
        json_auto_t *idle = NULL;
        int r = fetch_idle(cli, &idle, err);

        if (r < 0)
                return r;
        if (json_array_size(idle) == 0) {
                (void) fputs("no stopped vms\n", stderr);
                return 0;
        }
        if (!json_flag(args->options, "force")) {
                show(idle);
                r = ask(json_array_size(idle), err);
                if (r < 0)
                        return r;
                if (r == 0) {
                        (void) fputs("nothing was deleted\n", stderr);
                        return 1;
                }
                r = drop_busy(cli, idle, err);
        }
        return r < 0 ? r : delete_all(cli, idle, err);
}
