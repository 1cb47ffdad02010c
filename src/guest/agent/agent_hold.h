/*
 * The first process waits a moment before it becomes the image's init: on one CPU the init's own start takes from the
 * first command what it could do alone. Only the agent that comes from the initramfs holds; elsewhere nothing is held.
 */
#pragma once

#include <stdbool.h>

/* In the first process, before the agent is forked. */
void agent_hold_begin(void);
/* In the agent: leaves the waiting to the first process. */
void agent_hold_join(void);
/* In the first process: returns when a command has ended or the time is over. */
void agent_hold_wait(void);

/* In the agent: a command has ended. */
void agent_hold_end(void);
/* In the agent: the first process is not the image's init yet, so there is nobody to ask for a power-off. */
bool agent_is_held(void);
