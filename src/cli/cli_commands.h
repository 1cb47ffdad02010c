/* What the rows of cli_commands[] run, a file a noun. Each returns an exit status or -code. */
#pragma once

#include "cli/cli_command.h"

int cmd_vm_run(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_vm_create(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_vm_start(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_vm_stop(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_vm_restart(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_vm_kill(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_vm_delete(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_vm_prune(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_vm_set(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_vm_list(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_operations(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_ps(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_vm_show(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_vm_exec(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_vm_cp(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_vm_forward(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_vm_session_attach(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_vm_session_wait(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_vm_session_list(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_vm_session_kill(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_vm_ssh(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_vm_stats(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_vm_top(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_vm_ports(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_vm_ping(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_vm_health(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_vm_pause(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_vm_resume(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_vm_logs(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_image_pull(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_image_build(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_image_list(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_image_show(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_image_register(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_image_promote(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_image_prune(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_df(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_image_cache_prune(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_image_delete(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_registry_login(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_registry_logout(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_kernel_pull(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_kernel_import(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_kernel_list(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_kernel_show(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_kernel_delete(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_daemon_socket(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_daemon_status(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_daemon_start(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_daemon_stop(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_doctor(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_version(struct cli *cli, const struct cli_args *args, struct err *err);
int cmd_completion(struct cli *cli, const struct cli_args *args, struct err *err);

/* Shared by the files of commands. */

/* The session of vm ssh, and of vm run without a command: real ssh where sshd answers, else the agent's shell. */
int session_open(struct cli *cli, const json_t *vm, const char *folder, struct err *err);
/* "vm 'x' is still running ..." on standard error. */
void session_remind(const char *vm);
/* Indented JSON and a newline on standard output. */
void print_json(const json_t *json);
/* The same for an array, a member at a time and then all. object: JSON that is indented by two, as print_json has it. */
void add_json_member(struct text *array, const char *object);
void print_json_members(const struct text *array);
/* Calls with args->params and prints the answer as JSON. */
int call_and_print(struct cli *cli, const struct cli_args *args, const struct rpc_method *method,
                   struct err *err);
/* Calls with args->params and prints the object of the answer: its name, or all of it with --json. */
int call_and_name(struct cli *cli, const struct cli_args *args, const struct rpc_method *method,
                  struct err *err);
