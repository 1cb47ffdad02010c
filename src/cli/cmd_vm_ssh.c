#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/spawn.h"
#include "base/text.h"
#include "cli/cli_call.h"
#include "cli/cli_commands.h"
#include "cli/cli_guest.h"
#include "cli/cli_signals.h"

#define SSH_PORT        22
#define SSH_CONNECT_MS  300    /* a guest on this host's bridge answers or refuses at once */
#define SSH_BANNER_MS   5000   /* without KVM its sshd takes a second to begin */
#define SSH_BANNER      "SSH-" /* RFC 4253 4.2 */
#define SSH_OWN_FAILURE 255    /* ssh(1), EXIT STATUS */

/* Does an sshd answer? A port that is open is not enough: its greeting must come. */
static bool sshd_answers(const char *address)
{
        struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = htons(SSH_PORT) };
        scoped_close int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        char banner[sizeof(SSH_BANNER)] = "";
        socklen_t n = sizeof(int);
        int refused = 0;

        if (sock < 0 || inet_pton(AF_INET, address, &peer.sin_addr) != 1)
                return false;
        if (connect(sock, (const struct sockaddr *) &peer, sizeof(peer)) < 0 && errno != EINPROGRESS)
                return false;
        if (fd_wait(sock, POLLOUT, SSH_CONNECT_MS) < 0)
                return false;
        (void) getsockopt(sock, SOL_SOCKET, SO_ERROR, &refused, &n);
        if (refused != 0 || fd_wait(sock, POLLIN, SSH_BANNER_MS) < 0)
                return false;
        return read(sock, banner, sizeof(banner) - 1) == (ssize_t) strlen(SSH_BANNER) &&
               strcmp(banner, SSH_BANNER) == 0;
}

/* The keys of the terminal are for the session; a SIGTERM or SIGHUP ends it, and is what ended this. */
static int wait_for_ssh(struct cli *cli, pid_t pid, int pidfd, struct err *err)
{
        int signals = signals_begin(false), r;
        struct pollfd polled[2] = {
                {.fd = pidfd,    .events = POLLIN},
                { .fd = signals, .events = POLLIN}
        };

        while (!polled[0].revents) {
                if (poll(polled, 2, -1) < 0 && errno != EINTR)
                        break;
                r = polled[1].revents ? signals_take(signals) : 0;
                if (r == SIGTERM || r == SIGHUP) {
                        cli->signal = r;
                        (void) kill(pid, r);
                }
        }
        r = spawn_wait(pid, err);
        signals_end(signals);
        return r;
}

/* Neither the caller's configuration nor the caller's known hosts are used; a changed host key stops it. */
static int run_ssh(struct cli *cli, const json_t *vm, const char *folder, struct err *err)
{
        const char *hosts = json_text(vm, "known_hosts");
        scoped_free char *hosts_option = xasprintf("UserKnownHostsFile=%s", *hosts ? hosts : "/dev/null");
        scoped_free char *target = xasprintf("root@%s", json_text(vm, "address"));
        scoped_free char *quoted = text_shell_quote(folder ? folder : "/root");
        scoped_free char *command = xasprintf("cd %s && exec \"${SHELL:-/bin/sh}\" -l", quoted);
        const char *const argv[] = { "ssh",
                                     "-F",
                                     "none",
                                     "-i",
                                     json_text(vm, "ssh_key"),
                                     "-o",
                                     "IdentitiesOnly=yes",
                                     "-o",
                                     hosts_option,
                                     "-o",
                                     *hosts ? "StrictHostKeyChecking=accept-new"
                                            : "StrictHostKeyChecking=yes",
                                     "-o",
                                     "LogLevel=ERROR",
                                     "-t",
                                     target,
                                     folder ? command : NULL,
                                     NULL };
        int pidfd, r;
        pid_t pid;

        r = spawn_start(&(struct spawn){ .argv = argv,
                                         .stdin_fd = STDIN_FILENO,
                                         .stdout_fd = STDOUT_FILENO,
                                         .stderr_fd = STDERR_FILENO },
                        &pid, &pidfd, err);
        if (r < 0)
                return r;
        r = wait_for_ssh(cli, pid, pidfd, err);
        (void) close(pidfd);
        if (r == SSH_OWN_FAILURE)
                return err_set(err, EIO, "vm.ssh", "ssh to vm '%s' failed", json_text(vm, "name"));
        return r < 0 ? r : 0; /* how an interactive shell ended is no verdict on us */
}

int session_open(struct cli *cli, const json_t *vm, const char *folder, struct err *err)
{
        scoped_close int fd = FD_NONE;
        int r;

        if (isatty(STDIN_FILENO) == 1 && *json_text(vm, "ssh_key") && *json_text(vm, "address") &&
            sshd_answers(json_text(vm, "address")))
                return run_ssh(cli, vm, folder, err);
        fd = cli_connect(cli, json_text(vm, "id"), NULL, err);
        if (fd < 0)
                return fd;
        r = cli_run_in_guest(
                fd, &(struct cli_run){ .folder = folder, .image = GUEST_IMAGE_SHELL, .login_shell = true },
                err);
        return r < 0 ? r : 0;
}

void session_remind(const char *vm)
{
        (void) fprintf(stderr,
                       "vm '%s' is still running; connect: banger vm ssh %s, stop: banger vm stop %s, "
                       "delete: banger vm delete %s\n",
                       vm, vm, vm, vm);
}

int cmd_vm_ssh(struct cli *cli, const struct cli_args *args, struct err *err)
{
        json_auto_t *vm = NULL, *still = NULL;
        struct err ignored = { 0 };
        scoped_close int fd = cli_connect(cli, args->operands[0], &vm, err), again = FD_NONE;
        const char *folder;
        int r;

        if (fd < 0)
                return fd;
        folder = json_text(json_object_get(vm, "workspace"), "guest_path");
        r = session_open(cli, vm, *folder ? folder : NULL, err);
        if (r < 0)
                return r;
        again = cli_connect(cli, json_text(vm, "id"), &still, &ignored);
        if (again >= 0)
                session_remind(json_text(vm, "name"));
        cli->code[0] = cli->op_id[0] = '\0';
        return r;
}
