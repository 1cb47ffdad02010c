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

static void add_vm(struct table *table, const json_t *vm)
{
        char memory[SIZE_TEXT_MAX], disk[SIZE_TEXT_MAX];
        scoped_free char *vcpu = xasprintf("%u", (unsigned) json_u64(vm, "vcpu", 0));
        const json_t *operation = json_object_get(vm, "operation");
        scoped_free char *doing = json_is_object(operation) ? xasprintf("%s %s", json_text(operation, "kind"),
                                                                        json_text(operation, "stage"))
                                                            : NULL;

        size_human(json_u64(vm, "memory_mib", 0) * MIB, memory);
        size_human(json_u64(vm, "disk_bytes", 0), disk);
        table_add(table, json_text(vm, "name"));
        table_add(table, json_text(vm, "state"));
        table_add(table, json_text(vm, "image"));
        table_add(table, vcpu);
        table_add(table, memory);
        table_add(table, disk);
        table_add(table, json_text(vm, "address"));
        table_add(table, json_text(json_object_get(vm, "workspace"), "guest_path"));
        if (table->n_columns == N_COLUMNS)
                table_add(table, doing);
}

static int list_vms(struct cli *cli, const struct cli_args *args, bool only_running, struct err *err)
{
        static const char *const heads[N_COLUMNS] = { "NAME", "STATE",   "IMAGE",     "VCPU", "MEMORY",
                                                      "DISK", "ADDRESS", "WORKSPACE", "DOING" };
        scoped(table_done) struct table table = { .n_columns = N_COLUMNS - 1 };
        json_auto_t *all = NULL, *shown = json_array();
        const json_t *vm;
        size_t i;
        int r = vms_fetch(cli, !json_flag(args->options, "json") && !*json_text(args->options, "label"), &all,
                          err);

        if (r < 0)
                return r;
        json_array_foreach (all, i, vm)
                if ((!only_running || vms_is_alive(vm)) &&
                    vms_has_label(vm, json_text(args->options, "label")))
                        (void) json_array_append(shown, json_array_get(all, i));
        if (json_flag(args->options, "json")) {
                print_json(shown);
                return 0;
        }
        json_array_foreach (shown, i, vm)
                if (json_is_object(json_object_get(vm, "operation")))
                        table.n_columns = N_COLUMNS;
        for (i = 0; i < table.n_columns; i++)
                table_add(&table, heads[i]);
        json_array_foreach (shown, i, vm)
                add_vm(&table, vm);
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
