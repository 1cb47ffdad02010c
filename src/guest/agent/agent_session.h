/*
 * The frames of a running command: its pipes or its terminal on one side, the host's connection on the other, one poll
 * loop between them. It starts nothing; agent_exec.c does, and hands the command over.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "guest/contract/guest_channel.h"

struct exec_output {
        int fd; /* owned; FD_NONE: ended */
        uint32_t credit;
        uint64_t left; /* after the command's end: what it left in the pipe */
};

/* What becomes of a command whose time is over. */
enum exec_stage {
        EXEC_IN_TIME,
        EXEC_ASKED, /* SIGTERM was sent to all of it */
        EXEC_ENDED, /* and SIGKILL, if that was needed: nothing of it is left */
        EXEC_N_STAGES
};

struct exec_session {
        struct guest_channel channel;
        bool terminal;
        pid_t pid;
        int pidfd;      /* owned; FD_NONE once the command has ended */
        int stdin_fd;   /* owned; FD_NONE: closed */
        uint8_t *input; /* owned: sent by the host and not yet taken by the command, at most GUEST_WINDOW */
        size_t input_start, input_end;
        bool input_ended;
        uint32_t owed; /* taken by the command, but not yet credited to the host */
        struct exec_output out[2];
        bool exited;
        int wait_status;
        enum exec_stage stage;
        uint64_t deadline_ms; /* monotonic, of the stage; 0: none */
};

void exec_session_init(struct exec_session *session, bool terminal);
void exec_session_done(struct exec_session *session);
/*
 * From the command's start (pid, pidfd and the descriptors are set, timeout_ms 0: none) to its EXIT frame. With a timeout the
 * process must have adopted its tree (agent_tree.h). -errno: the host has gone; the command got SIGHUP.
 */
int exec_session_run(struct exec_session *session, uint64_t timeout_ms);

static inline void exec_session_done_at_scope_end(struct exec_session *session)
{
        exec_session_done(session);
}
