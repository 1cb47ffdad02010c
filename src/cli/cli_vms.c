#include "cli/cli_vms.h"

#include <stdio.h>
#include <string.h>

#include "api/api_vm.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/cli_signals.h"
#include "cli/render_error.h"

#define DELETE_TIMEOUT_MS 10000 /* spec 3.3: a fresh deadline of its own */

int vms_fetch(struct cli *cli, bool brief, json_t **ret_vms, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        int r = cli_call(cli, &api_vm_list, json_pack("{s:b}", "brief", (int) brief), &reply, err);

        if (r == 0)
                *ret_vms = json_incref(json_object_get(reply.result, "vms"));
        return r;
}

bool vms_is_alive(const json_t *vm)
{
        const char *state = json_text(vm, "state");

        return strcmp(state, "running") == 0 || strcmp(state, "paused") == 0;
}

bool vms_has_label(const json_t *vm, const char *wanted)
{
        scoped_free char *key = strndup(wanted, strcspn(wanted, "="));
        const char *value = strchr(wanted, '=');
        const json_t *label = json_object_get(json_object_get(vm, "labels"), key);

        if (*wanted == '\0')
                return true;
        return label && (!value || strcmp(json_string_value(label), value + 1) == 0);
}

const json_t *vms_resolve(const json_t *vms, const char *reference, struct err *err)
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

struct shower {
        vms_show *show;
        void *userdata; /* borrowed */
};

/* The VMs that are meant, each once, as requests; those that cannot be are told. Returns how many were not found. */
static size_t plan(const struct cli_args *args, const json_t *vms, struct cli_one *ones, size_t *ret_n_ones)
{
        size_t n_failed = 0;

        *ret_n_ones = 0;
        for (size_t i = 0; i < args->n_operands; i++) {
                struct err failure = { 0 };
                const json_t *vm = vms_resolve(vms, args->operands[i], &failure);
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

static bool show_name(const char *name, json_t *result, void *userdata)
{
        (void) result;
        (void) userdata;
        (void) printf("%s\n", name);
        return true;
}

size_t vms_report(struct cli_one *ones, size_t n_ones, vms_show *show, void *userdata)
{
        size_t n_failed = 0;

        for (size_t i = 0; i < n_ones; i++) {
                struct cli_one *one = &ones[i];

                if (one->reply.result)
                        n_failed += !(show ? show : show_name)(one->label, one->reply.result, userdata);
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
                   const json_t *vms, const struct shower *shower, struct err *err)
{
        scoped_free struct cli_one *ones = xcalloc(args->n_operands, sizeof(*ones));
        size_t n_ones, n_failed = plan(args, vms, ones, &n_ones);
        int r = cli_call_many(cli, method, ones, n_ones, err);

        n_failed += vms_report(ones, n_ones, shower->show, shower->userdata);
        return r < 0 ? r : n_failed > 0;
}

static int do_one(struct cli *cli, const struct cli_args *args, const struct rpc_method *method,
                  const json_t *vms, const struct shower *shower, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        const json_t *vm = vms_resolve(vms, args->operands[0], err);
        json_t *params;
        int r;

        if (!vm)
                return -err->code;
        params = json_deep_copy(args->params);
        (void) json_object_set(params, "vm", json_object_get(vm, "id"));
        r = cli_call(cli, method, params, &reply, err);
        if (r < 0)
                return r;
        return !shower->show(json_text(vm, "name"), reply.result, shower->userdata);
}

int vms_do_each(struct cli *cli, const struct cli_args *args, const struct rpc_method *method, vms_show *show,
                void *userdata, struct err *err)
{
        const struct shower shower = { show ? show : show_name, userdata };
        json_auto_t *vms = NULL;
        int r = vms_fetch(cli, true, &vms, err);

        if (r < 0)
                return r;
        return args->n_operands == 1 ? do_one(cli, args, method, vms, &shower, err)
                                     : do_many(cli, args, method, vms, &shower, err);
}

void vms_delete_at_end(struct cli *cli, const char *vm)
{
        struct err failure = { 0 };

        if (cli_call_at_end(cli, &api_vm_delete, vm_params(vm), DELETE_TIMEOUT_MS, &failure) == 0)
                return;
        (void) err_wrap(&failure, "vm '%s' was not deleted; try: banger vm delete %s", vm, vm);
        error_print(cli->code, cli->op_id, failure.message);
        cli->code[0] = cli->op_id[0] = '\0';
}

bool vms_is_interrupted(struct cli *cli)
{
        if (cli->signal == 0)
                cli->signal = signals_waiting();
        return cli->signal != 0;
}
