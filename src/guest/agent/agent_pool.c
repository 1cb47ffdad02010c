#include "guest/agent/agent_pool.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "guest/agent/agent_command.h"
#include "guest/agent/agent_serve.h"
#include "guest/contract/guest_frame.h"

#define IDLE_WORKERS 2 /* one takes the call, the next one is there while its successor is made */
#define BACKLOG      64
#define RETRY_MS     100 /* after a fork that failed */
#define QUIET_MS     200 /* without a call: then what later commands profit from delays no first one */

struct pool {
        int listener, children, taken[2]; /* owned: listening socket, signalfd, pipe of workers' pids */
        pid_t idle[IDLE_WORKERS];         /* 0: to be made */
};

int agent_listen(void)
{
        struct sockaddr_vm address = { .svm_family = AF_VSOCK,
                                       .svm_cid = VMADDR_CID_ANY,
                                       .svm_port = GUEST_AGENT_PORT };
        scoped_close int sock = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (sock < 0 || bind(sock, (const struct sockaddr *) &address, sizeof(address)) < 0 ||
            listen(sock, BACKLOG) < 0)
                return -errno;
        return take_fd(&sock);
}

/* Tells the pool that this worker waits no longer. A pid is less than PIPE_BUF: it arrives whole. */
static void announce(void *context)
{
        const struct pool *pool = context;
        pid_t pid = getpid();

        (void) !write(pool->taken[1], &pid, sizeof(pid));
}

__attribute__((noreturn)) static void work(struct pool *pool)
{
        int fd;

        (void) close(pool->taken[0]);
        (void) close(pool->children);
        do
                fd = accept4(pool->listener, NULL, NULL, SOCK_CLOEXEC);
        while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
        (void) close(pool->listener);
        if (fd >= 0)
                agent_serve(fd, announce, pool);
        _exit(0);
}

static void not_idle(struct pool *pool, pid_t pid)
{
        for (int i = 0; i < IDLE_WORKERS; i++)
                if (pool->idle[i] == pid)
                        pool->idle[i] = 0;
}

/* The first n of them. False when one could not be made. */
static bool fill(struct pool *pool, int n)
{
        for (int i = 0; i < n; i++) {
                if (pool->idle[i] > 0)
                        continue;
                pool->idle[i] = fork();
                if (pool->idle[i] == 0)
                        work(pool);
                if (pool->idle[i] < 0)
                        return false;
        }
        return true;
}

static int wait_limit(bool is_full, bool is_warm)
{
        if (!is_full)
                return RETRY_MS;
        return is_warm ? -1 : QUIET_MS;
}

void agent_pool_run(int listener)
{
        struct pool pool = { .listener = listener };
        bool is_warm = false;
        sigset_t mask;

        agent_command_keep_logins();
        (void) signal(SIGPIPE, SIG_IGN);
        (void) sigemptyset(&mask);
        (void) sigaddset(&mask, SIGCHLD);
        (void) sigprocmask(SIG_BLOCK, &mask, NULL);
        pool.children = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
        if (pool.children < 0 || pipe2(pool.taken, O_CLOEXEC) < 0)
                _exit(1);
        for (;;) {
                bool is_full = fill(&pool, is_warm ? IDLE_WORKERS : 1);
                struct pollfd p[] = {
                        {.fd = pool.taken[0],  .events = POLLIN},
                        { .fd = pool.children, .events = POLLIN}
                };
                struct signalfd_siginfo info;
                pid_t pid;

                if (poll(p, 2, wait_limit(is_full, is_warm)) == 0 && is_full) {
                        agent_command_warm();
                        is_warm = true;
                }
                if (p[0].revents != 0 && read(pool.taken[0], &pid, sizeof(pid)) == (ssize_t) sizeof(pid))
                        not_idle(&pool, pid);
                if (p[1].revents == 0)
                        continue;
                (void) !read(pool.children, &info, sizeof(info));
                while ((pid = waitpid(-1, NULL, WNOHANG)) >
                       0) /* an idle one that was killed is missed here */
                        not_idle(&pool, pid);
        }
}
