#include "guest/agent/agent_hold.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "base/scoped.h"

/*
 * A short command (`vm run -- true`) is over by then, and nobody misses 0.3 s of a boot that goes on for seconds; what
 * takes longer runs beside the booting services, as on any machine.
 */
#define HOLD_MS 300

/* A pipe: a byte in it ends the hold; its reader is gone when the first process has executed the init. */
static int hold[2] = { FD_NONE, FD_NONE };

void agent_hold_begin(void)
{
        if (pipe2(hold, O_CLOEXEC | O_NONBLOCK) < 0)
                hold[0] = hold[1] = FD_NONE; /* then without */
}

void agent_hold_join(void)
{
        close_at_scope_end(&hold[0]);
        hold[0] = FD_NONE;
}

void agent_hold_wait(void)
{
        struct pollfd p = { .fd = hold[0], .events = POLLIN };

        if (hold[0] >= 0)
                (void) poll(&p, 1, HOLD_MS);
}

void agent_hold_end(void)
{
        if (hold[1] >= 0)
                (void) !write(hold[1], "", 1); /* EPIPE: over already; SIGPIPE is ignored */
}

bool agent_is_held(void)
{
        struct pollfd p = { .fd = hold[1] };

        return hold[1] >= 0 && poll(&p, 1, 0) == 0; /* POLLERR: no reader (poll(2)) */
}
