/*
 * Taking the host's calls: processes that wait in accept(2) before a call comes, so that a call does not wait for a fork.
 * Each serves one call and ends.
 */
#pragma once

/* Never returns. listener is a listening socket, owned. */
__attribute__((noreturn)) void agent_pool_run(int listener);
/* A listening vsock socket for the agent's port; descriptor or -errno. */
int agent_listen(void);
