/* vm prune: every VM that does not run goes, after a look at the list. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/api_vm.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/size.h"
#include "base/text.h"
#include "cli/cli_commands.h"
#include "cli/cli_vms.h"
#include "cli/render_table.h"

#define NS_PER_S UINT64_C(1000000000)

/* Created, stopped and error (spec 3.4); one that something is being done to is not idle, whatever its state says. */
static bool is_prunable(const struct vms_one *vm)
{
        return !vms_is_alive(vm->cells[VM_ROW_STATE]) && *vm->cells[VM_ROW_DOING] == '\0';
}

static void show_one(struct table *table, const struct vms_one *vm)
{
        char created[CLOCK_TEXT_MAX] = "";
        uint64_t seconds;

        if (text_parse_u64(vm->cells[VM_ROW_CREATED], UINT64_MAX / NS_PER_S, &seconds) == 0)
                clock_format(seconds * NS_PER_S, created);
        table_add(table, vm->cells[VM_ROW_NAME]);
        table_add(table, vm->cells[VM_ROW_STATE]);
        table_add(table, vm->cells[VM_ROW_IMAGE]);
        table_add_size(table, vm->cells[VM_ROW_DISK_BYTES], 1);
        table_add(table, created);
        table_add(table, vm->cells[VM_ROW_GUEST_PATH]);
}

static size_t count_idle(const struct vms *all)
{
        scoped(vms_one_done) struct vms_one vm = { 0 };
        size_t n = 0;

        for (size_t at = 0; vms_next(all, &at, &vm);)
                n += is_prunable(&vm);
        return n;
}

static void show(const struct vms *all)
{
        static const char *const heads[] = { "NAME", "STATE", "IMAGE", "DISK", "CREATED", "WORKSPACE" };
        scoped(table_done) struct table table = { .n_columns = sizeof(heads) / sizeof(heads[0]) };
        scoped(vms_one_done) struct vms_one vm = { 0 };

        for (size_t i = 0; i < table.n_columns; i++)
                table_add(&table, heads[i]);
        for (size_t at = 0; vms_next(all, &at, &vm);)
                if (is_prunable(&vm))
                        show_one(&table, &vm);
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

/* The question may have stood there for long: what runs by now is spared, and what has come since was not shown. */
static int delete_idle(struct cli *cli, const struct vms *shown, const struct vms *now, struct err *err)
{
        size_t n = 0, n_failed;
        scoped_free struct cli_one *ones = xcalloc(count_idle(shown), sizeof(*ones));
        scoped(vms_one_done) struct vms_one vm = { 0 }, again = { 0 };
        struct err gone = { 0 };
        int r;

        for (size_t at = 0; vms_next(shown, &at, &vm);)
                if (is_prunable(&vm) && vms_resolve(now, vm.cells[VM_ROW_ID], &again, &gone) == 0 &&
                    is_prunable(&again)) {
                        ones[n].params = vm_params(vm.cells[VM_ROW_ID]);
                        ones[n++].label = xstrdup(vm.cells[VM_ROW_NAME]);
                }
        r = cli_call_many(cli, &api_vm_delete, ones, n, err);
        n_failed = vms_report(ones, n, NULL, NULL);
        return r < 0 ? r : n_failed > 0;
}

/* 1: go on, with what is there by then in *ret_now; 0: no. */
static int confirm(struct cli *cli, const struct vms *all, struct vms *ret_now, struct err *err)
{
        int r;

        show(all);
        r = ask(count_idle(all), err);
        if (r == 0)
                (void) fputs("nothing was deleted\n", stderr);
        if (r <= 0)
                return r;
        r = vms_fetch(cli, ret_now, err);
        return r < 0 ? r : 1;
}

int cmd_vm_prune(struct cli *cli, const struct cli_args *args, struct err *err)
{
        scoped(vms_done) struct vms all = { 0 }, now = { 0 };
        int r = vms_fetch(cli, &all, err);

        if (r < 0)
                return r;
        if (count_idle(&all) == 0) {
                (void) fputs("no stopped vms\n", stderr);
                return 0;
        }
        if (json_flag(args->options, "force"))
                return delete_idle(cli, &all, &all, err);
        r = confirm(cli, &all, &now, err);
        if (r <= 0)
                return r < 0 ? r : 1;
        return delete_idle(cli, &all, &now, err);
}
