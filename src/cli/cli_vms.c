#include "cli/cli_vms.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/text.h"
#include "cli/cli_signals.h"
#include "cli/render_error.h"

#define DELETE_TIMEOUT_MS 10000 /* spec 3.3: a fresh deadline of its own */

void vms_done(struct vms *vms)
{
        if (vms->n > 0)
                (void) munmap(vms->lines, vms->n);
        *vms = (struct vms){ 0 };
}

void vms_one_done(struct vms_one *one)
{
        text_done(&one->bytes);
        *one = (struct vms_one){ 0 };
}

bool vms_next(const struct vms *vms, size_t *at, struct vms_one *one)
{
        const char *line = vms->lines + *at,
                   *end = *at < vms->n ? memchr(line, API_VM_ROW_END, vms->n - *at) : NULL;
        char *rest;

        if (!end)
                return false;
        *at = (size_t) (end + 1 - vms->lines);
        one->bytes.n = 0;
        text_append_bytes(&one->bytes, line, (size_t) (end - line));
        rest = one->bytes.s;
        for (size_t cell = 0; cell < VM_N_ROW; cell++)
                one->cells[cell] = text_cut_cell(&rest, API_VM_CELL_END);
        return true;
}

int vms_map(const struct rpc_reply *reply, size_t which, struct vms *ret_vms, struct err *err)
{
        struct stat status;
        void *lines;

        if (which >= reply->n_fds || fstat(reply->fds[which], &status) < 0)
                return err_set(err, EBADMSG, "cli.vms", "bangerd answers without its list of vms");
        if (status.st_size == 0)
                return 0;
        lines = mmap(NULL, (size_t) status.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, reply->fds[which],
                     0);
        if (lines == MAP_FAILED)
                return err_errno(err, "cli.vms", "read the list of vms");
        *ret_vms = (struct vms){ .lines = lines, .n = (size_t) status.st_size };
        return 0;
}

int vms_fetch(struct cli *cli, struct vms *ret_vms, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        int r = cli_call(cli, &api_vm_rows, NULL, &reply, err);

        return r < 0 ? r : vms_map(&reply, 0, ret_vms, err);
}

bool vms_is_alive(const char *state)
{
        return strcmp(state, "running") == 0 || strcmp(state, "paused") == 0;
}

bool vms_has_label(const json_t *labels, const char *wanted)
{
        scoped_free char *key = strndup(wanted, strcspn(wanted, "="));
        const char *value = strchr(wanted, '=');
        const json_t *label = json_object_get(labels, key);

        if (*wanted == '\0')
                return true;
        return label && (!value || strcmp(json_string_value(label), value + 1) == 0);
}

/* How many VMs the reference may mean; *ret_one is the last of them, or the one that has this very name or id. */
static size_t find(const struct vms *vms, const char *reference, struct vms_one *ret_one)
{
        size_t n = 0, found_at = 0;

        for (size_t at = 0, this_one = 0; vms_next(vms, &at, ret_one); this_one = at) {
                if (strcmp(ret_one->cells[VM_ROW_NAME], reference) == 0 ||
                    strcmp(ret_one->cells[VM_ROW_ID], reference) == 0)
                        return 1;
                if (*reference && text_starts_with(ret_one->cells[VM_ROW_ID], reference)) {
                        found_at = this_one;
                        n++;
                }
        }
        if (n > 0)
                (void) vms_next(vms, &found_at, ret_one);
        return n;
}

int vms_resolve(const struct vms *vms, const char *reference, struct vms_one *ret_one, struct err *err)
{
        size_t n = find(vms, reference, ret_one);

        if (n == 1)
                return 0;
        return err_set(err, n == 0 ? ENOENT : EINVAL, "cli.resolve",
                       n == 0 ? "no vm named '%s'; 'banger vm list' shows them"
                              : "several vms have an id that begins with '%s'",
                       reference);
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
static size_t plan(const struct cli_args *args, const struct vms *vms, struct cli_one *ones,
                   size_t *ret_n_ones)
{
        scoped(vms_one_done) struct vms_one vm = { 0 };
        size_t n_failed = 0;

        *ret_n_ones = 0;
        for (size_t i = 0; i < args->n_operands; i++) {
                struct err failure = { 0 };
                struct cli_one *one = &ones[*ret_n_ones];

                if (vms_resolve(vms, args->operands[i], &vm, &failure) < 0) {
                        error_print("", "", failure.message);
                        n_failed++;
                } else if (!is_among(ones, *ret_n_ones, vm.cells[VM_ROW_ID])) {
                        one->params = json_deep_copy(args->params);
                        (void) json_object_set_new(one->params, "vm", json_string(vm.cells[VM_ROW_ID]));
                        one->label = xstrdup(vm.cells[VM_ROW_NAME]);
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
                free(one->label);
        }
        return n_failed;
}

/* All references against one snapshot of the list, the same VM once, the valid ones done even when others are not. */
static int do_many(struct cli *cli, const struct cli_args *args, const struct rpc_method *method,
                   const struct shower *shower, struct err *err)
{
        scoped_free struct cli_one *ones = xcalloc(args->n_operands, sizeof(*ones));
        scoped(vms_done) struct vms vms = { 0 };
        size_t n_ones, n_failed;
        int r = vms_fetch(cli, &vms, err);

        if (r < 0)
                return r;
        n_failed = plan(args, &vms, ones, &n_ones);
        r = cli_call_many(cli, method, ones, n_ones, err);
        n_failed += vms_report(ones, n_ones, shower->show, shower->userdata);
        return r < 0 ? r : n_failed > 0;
}

/* The daemon finds one by itself; the list of all would cost more than most of what is asked. */
static int do_one(struct cli *cli, const struct cli_args *args, const struct rpc_method *method,
                  const struct shower *shower, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        json_t *params = json_deep_copy(args->params);
        int r;

        (void) json_object_set_new(params, "vm", json_string(args->operands[0]));
        r = cli_call(cli, method, params, &reply, err);
        if (r < 0)
                return r;
        return !shower->show(json_text(reply.result, "name"), reply.result, shower->userdata);
}

int vms_do_each(struct cli *cli, const struct cli_args *args, const struct rpc_method *method, vms_show *show,
                void *userdata, struct err *err)
{
        const struct shower shower = { show ? show : show_name, userdata };

        return args->n_operands == 1 ? do_one(cli, args, method, &shower, err)
                                     : do_many(cli, args, method, &shower, err);
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
