#include <stdio.h>
#include <string.h>

#include "api/api_vm.h"
#include "base/json.h"
#include "base/size.h"
#include "base/text.h"
#include "cli/cli_call.h"
#include "cli/cli_commands.h"
#include "cli/render_error.h"
#include "cli/render_table.h"

static int fetch_vms(struct cli *cli, bool brief, json_t **ret_vms, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        int r = cli_call(cli, &api_vm_list, json_pack("{s:b}", "brief", (int) brief), &reply, err);

        if (r == 0)
                *ret_vms = json_incref(json_object_get(reply.result, "vms"));
        return r;
}

static void add_vm(struct table *table, const json_t *vm)
{
        char memory[SIZE_TEXT_MAX], disk[SIZE_TEXT_MAX];
        scoped_free char *vcpu = xasprintf("%u", (unsigned) json_u64(vm, "vcpu", 0));

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
}

static int list_vms(struct cli *cli, const struct cli_args *args, bool only_running, struct err *err)
{
        static const char *const heads[] = { "NAME",   "STATE", "IMAGE",   "VCPU",
                                             "MEMORY", "DISK",  "ADDRESS", "WORKSPACE" };
        scoped(table_done) struct table table = { .n_columns = sizeof(heads) / sizeof(heads[0]) };
        json_auto_t *all = NULL, *shown = json_array();
        const json_t *vm;
        size_t i;
        int r = fetch_vms(cli, !json_flag(args->options, "json"), &all, err);

        if (r < 0)
                return r;
        json_array_foreach (all, i, vm)
                if (!only_running || strcmp(json_text(vm, "state"), "running") == 0)
                        (void) json_array_append(shown, json_array_get(all, i));
        if (json_flag(args->options, "json")) {
                print_json(shown);
                return 0;
        }
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
        int r = json_flag(args->params, "no_start") ? 0 : cli_need_helper(cli, err);

        if (r == 0)
                r = cli_call(cli, &api_vm_create, json_incref(args->params), &reply, err);

        if (r < 0)
                return r;
        if (json_flag(args->options, "json"))
                print_json(reply.result);
        else
                (void) printf("%s\n", json_text(reply.result, "name"));
        return 0;
}

/* The VM a reference means: its name, else its id, else the one id that begins with it. NULL with the reason in *err. */
static const json_t *resolve(const json_t *vms, const char *reference, struct err *err)
{
        const json_t *vm, *found = NULL;
        size_t i, n_found = 0;

        json_array_foreach (vms, i, vm)
                if (strcmp(json_text(vm, "name"), reference) == 0 ||
                    strcmp(json_text(vm, "id"), reference) == 0)
                        return vm;
        json_array_foreach (vms, i, vm)
                if (*reference && text_starts_with(json_text(vm, "id"), reference)) {
                        found = vm;
                        n_found++;
                }
        if (n_found == 1)
                return found;
        (void) err_set(err, n_found == 0 ? ENOENT : EINVAL, "cli.resolve",
                       n_found == 0 ? "no vm named '%s'; 'banger vm list' shows them all"
                                    : "several vms have an id that begins with '%s'",
                       reference);
        return NULL;
}

static bool is_among(const struct cli_one *ones, size_t n_ones, const char *id)
{
        for (size_t i = 0; i < n_ones; i++)
                if (strcmp(json_text(ones[i].params, "vm"), id) == 0)
                        return true;
        return false;
}

/* The VMs that are meant, each once, as requests; those that cannot be are told. Returns how many were not found. */
static size_t plan(const struct cli_args *args, const json_t *vms, struct cli_one *ones, size_t *ret_n_ones)
{
        size_t n_failed = 0;

        *ret_n_ones = 0;
        for (size_t i = 0; i < args->n_operands; i++) {
                struct err failure = { 0 };
                const json_t *vm = resolve(vms, args->operands[i], &failure);
                struct cli_one *one = &ones[*ret_n_ones];

                if (!vm) {
                        error_print("", "", failure.message);
                        n_failed++;
                } else if (!is_among(ones, *ret_n_ones, json_text(vm, "id"))) {
                        one->params = json_deep_copy(args->params);
                        (void) json_object_set(one->params, "vm", json_object_get(vm, "id"));
                        one->label = json_text(vm, "name");
                        (*ret_n_ones)++;
                }
        }
        return n_failed;
}

/* Names of those done on standard output, in the order they were first given. Returns how many failed. */
static size_t report(struct cli_one *ones, size_t n_ones)
{
        size_t n_failed = 0;

        for (size_t i = 0; i < n_ones; i++) {
                struct cli_one *one = &ones[i];

                if (one->reply.result)
                        (void) printf("%s\n", one->label);
                else if (one->err.code != 0) {
                        error_print(one->reply.code, one->reply.op_id, one->err.message);
                        n_failed++;
                }
                rpc_reply_done(&one->reply);
                json_decref(one->params);
        }
        return n_failed;
}

/* All references against one snapshot of the list, the same VM once, the valid ones done even when others are not. */
static int do_many(struct cli *cli, const struct cli_args *args, const struct rpc_method *method,
                   const json_t *vms, struct err *err)
{
        scoped_free struct cli_one *ones = xcalloc(args->n_operands, sizeof(*ones));
        size_t n_ones, n_failed = plan(args, vms, ones, &n_ones);
        int r = cli_call_many(cli, method, ones, n_ones, err);

        n_failed += report(ones, n_ones);
        return r < 0 ? r : n_failed > 0;
}

static int do_one(struct cli *cli, const struct cli_args *args, const struct rpc_method *method,
                  const json_t *vms, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        const json_t *vm = resolve(vms, args->operands[0], err);
        json_t *params;
        int r;

        if (!vm)
                return -err->code;
        params = json_deep_copy(args->params);
        (void) json_object_set(params, "vm", json_object_get(vm, "id"));
        r = cli_call(cli, method, params, &reply, err);
        if (r == 0)
                (void) printf("%s\n", json_text(vm, "name"));
        return r;
}

static int for_each_vm(struct cli *cli, const struct cli_args *args, const struct rpc_method *method,
                       struct err *err)
{
        json_auto_t *vms = NULL;
        int r = fetch_vms(cli, true, &vms, err);

        if (r < 0)
                return r;
        return args->n_operands == 1 ? do_one(cli, args, method, vms, err)
                                     : do_many(cli, args, method, vms, err);
}

int cmd_vm_start(struct cli *cli, const struct cli_args *args, struct err *err)
{
        int r = cli_need_helper(cli, err);

        return r < 0 ? r : for_each_vm(cli, args, &api_vm_start, err);
}

int cmd_vm_stop(struct cli *cli, const struct cli_args *args, struct err *err)
{
        return for_each_vm(cli, args, &api_vm_stop, err);
}

int cmd_vm_restart(struct cli *cli, const struct cli_args *args, struct err *err)
{
        int r = cli_need_helper(cli, err);

        return r < 0 ? r : for_each_vm(cli, args, &api_vm_restart, err);
}

int cmd_vm_kill(struct cli *cli, const struct cli_args *args, struct err *err)
{
        return for_each_vm(cli, args, &api_vm_kill, err);
}

int cmd_vm_delete(struct cli *cli, const struct cli_args *args, struct err *err)
{
        return for_each_vm(cli, args, &api_vm_delete, err);
}
