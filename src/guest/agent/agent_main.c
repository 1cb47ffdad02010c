#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/scoped.h"
#include "base/version.h"
#include "guest/agent/agent_init.h"

int main(int argc, char **argv)
{
        if (getpid() == 1)
                agent_init(argv);
        if (argc == 2 && strcmp(argv[1], "--version") == 0) {
                scoped_free char *line = version_line("banger-vsock-agent");

                return puts(line) < 0;
        }
        (void) fprintf(
                stderr,
                "banger-vsock-agent is the first process of banger's guests; it does nothing elsewhere\n");
        return 2;
}
