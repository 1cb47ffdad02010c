#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/api_vm.h"
#include "base/json.h"
#include "base/size.h"
#include "cli/cli_call.h"
#include "cli/cli_commands.h"
#include "cli/cli_vms.h"
#include "cli/render_table.h"

#define N_COLUMNS 9 /* of vm list and ps, of which the last is there when something is being done to a VM */

static void add_vm(struct table *table, const struct vms_one *vm)
{
        table_add(table, vm->cells[VM_ROW_NAME]);
        table_add(table, vm->cells[VM_ROW_STATE]);
        table_add(table, vm->cells[VM_ROW_IMAGE]);
        table_add(table, vm->cells[VM_ROW_VCPU]);
        table_add_size(table, vm->cells[VM_ROW_MEMORY_MIB], MIB);
        table_add_size(table, vm->cells[VM_ROW_DISK_BYTES], 1);
        table_add(table, vm->cells[VM_ROW_ADDRESS]);
        table_add(table, vm->cells[VM_ROW_GUEST_PATH]);
        if (table->n_columns == N_COLUMNS)
                table_add(table, vm->cells[VM_ROW_DOING]);
}

struct wish {
        bool only_running;
        const char *label;
};

static bool is_wished(const struct wish *wish, const struct vms_one *vm)
{
        json_auto_t *labels = *wish->label ? json_loads(vm->cells[VM_ROW_LABELS], 0, NULL) : NULL;

        return (!wish->only_running || vms_is_alive(vm->cells[VM_ROW_STATE])) &&
               vms_has_label(labels, wish->label);
}

/* What the daemon wrote is shown as it is: to read and write a thousand objects once more costs more than all the rest. */
static int list_as_json(struct cli *cli, const struct wish *wish, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        scoped(vms_done) struct vms all = { 0 }, objects = { 0 };
        scoped(vms_one_done) struct vms_one vm = { 0 };
        scoped_text struct text shown = { 0 };
        const char *object, *end;
        int r = cli_call(cli, &api_vm_rows, json_pack("{s:b}", "objects", 1), &reply, err);

        if (r == 0)
                r = vms_map(&reply, 0, &all, err);
        if (r == 0)
                r = vms_map(&reply, 1, &objects, err);
        if (r < 0)
                return r;
        object = objects.lines;
        for (size_t at = 0; vms_next(&all, &at, &vm); object = end + 1) {
                end = memchr(object, '\0', (size_t) (objects.lines + objects.n - object));
                if (!end)
                        return err_set(err, EBADMSG, "cli.vms", "bangerd's list of vms ends too early");
                if (is_wished(wish, &vm))
                        add_json_member(&shown, object);
        }
        print_json_members(&shown);
        return 0;
}

static int list_vms(struct cli *cli, const struct cli_args *args, bool only_running, struct err *err)
{
        static const char *const heads[N_COLUMNS] = { "NAME", "STATE",   "IMAGE",     "VCPU", "MEMORY",
                                                      "DISK", "ADDRESS", "WORKSPACE", "DOING" };
        const struct wish wish = { only_running, json_text(args->options, "label") };
        scoped(table_done) struct table table = { .n_columns = N_COLUMNS - 1 };
        scoped(vms_done) struct vms all = { 0 };
        scoped(vms_one_done) struct vms_one vm = { 0 };
        int r;

        if (json_flag(args->options, "json"))
                return list_as_json(cli, &wish, err);
        r = vms_fetch(cli, &all, err);
        if (r < 0)
                return r;
        for (size_t at = 0; vms_next(&all, &at, &vm);)
                if (*vm.cells[VM_ROW_DOING] && is_wished(&wish, &vm))
                        table.n_columns = N_COLUMNS;
        for (size_t i = 0; i < table.n_columns; i++)
                table_add(&table, heads[i]);
        for (size_t at = 0; vms_next(&all, &at, &vm);)
                if (is_wished(&wish, &vm))
                        add_vm(&table, &vm);
        table_print(&table, stdout);
        return 0;
}

int cmd_vm_list(struct cli *cli, const struct cli_args *args, struct err *err)
{
        return list_vms(cli, args, false, err);
}

int cmd_ps(struct cli *cli, const struct cli_args *args, struct err *err)
{
        return list_vms(cli, args, true, err);
}

int cmd_vm_show(struct cli *cli, const struct cli_args *args, struct err *err)
{
        return call_and_print(cli, args, &api_vm_show, err);
}

int cmd_vm_create(struct cli *cli, const struct cli_args *args, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        bool detach = json_flag(args->options, "detach");
        int r = json_flag(args->params, "no_start") ? 0 : cli_need_helper(cli, err);

        if (r == 0)
                r = cli_call(cli, detach ? &api_vm_create_begin : &api_vm_create, json_incref(args->params),
                             &reply, err);
        if (r < 0)
                return r;
        if (json_flag(args->options, "json"))
                print_json(reply.result);
        else
                (void) printf("%s\n", json_text(reply.result, detach ? "id" : "name"));
        return 0;
}

int cmd_vm_start(struct cli *cli, const struct cli_args *args, struct err *err)
{
        int r = cli_need_helper(cli, err);

        return r < 0 ? r : vms_do_each(cli, args, &api_vm_start, NULL, NULL, err);
}

int cmd_vm_stop(struct cli *cli, const struct cli_args *args, struct err *err)
{
        return vms_do_each(cli, args, &api_vm_stop, NULL, NULL, err);
}

int cmd_vm_restart(struct cli *cli, const struct cli_args *args, struct err *err)
{
        int r = cli_need_helper(cli, err);

        return r < 0 ? r : vms_do_each(cli, args, &api_vm_restart, NULL, NULL, err);
}

int cmd_vm_kill(struct cli *cli, const struct cli_args *args, struct err *err)
{
        return vms_do_each(cli, args, &api_vm_kill, NULL, NULL, err);
}

int cmd_vm_delete(struct cli *cli, const struct cli_args *args, struct err *err)
{
        return vms_do_each(cli, args, &api_vm_delete, NULL, NULL, err);
}

int cmd_vm_pause(struct cli *cli, const struct cli_args *args, struct err *err)
{
        return vms_do_each(cli, args, &api_vm_pause, NULL, NULL, err);
}

int cmd_vm_resume(struct cli *cli, const struct cli_args *args, struct err *err)
{
        return vms_do_each(cli, args, &api_vm_resume, NULL, NULL, err);
}
