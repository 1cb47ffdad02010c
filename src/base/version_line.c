#include "base/text.h"
#include "base/version.h"

char *version_line(const char *program)
{
        return xasprintf("%s %s (commit %.*s, built %s)", program, BANGER_VERSION, VERSION_COMMIT_SHORT,
                         BANGER_COMMIT, BANGER_BUILT_AT);
}
