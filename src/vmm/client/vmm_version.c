/* Firecracker's versions: reading, comparing, and which are known to work. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/scoped.h"
#include "base/spawn.h"
#include "base/text.h"
#include "vmm/client/vmm_client.h"

#define QUERY_TIMEOUT_MS 5000
#define OUTPUT_MAX       65536
#define COMPONENT_MAX    100000

const struct vmm_version vmm_version_minimum = { 1, 5, 0 };
const struct vmm_version vmm_version_tested = { 1, 14, 1 };

/*
 * Firecracker's API keeps serving a client of X.Y in every X.V with V >= Y (docs/RELEASE_POLICY.md), so what was read
 * and checked against up to here is expected to work though the smoke suite has not run on it.
 */
const struct vmm_version vmm_version_promised = { 1, 16, 1 };

/* "14" at *text, which moves behind it. */
static int parse_component(const char **text, unsigned *ret_value)
{
        char *end = NULL;
        unsigned long value;

        if (**text < '0' || **text > '9')
                return -EINVAL;
        value = strtoul(*text, &end, 10);
        if (value > COMPONENT_MAX)
                return -EINVAL;
        *ret_value = (unsigned) value;
        *text = end;
        return 0;
}

static int parse_dot(const char **text)
{
        return *(*text)++ == '.' ? 0 : -EINVAL;
}

/* "1.14.1", also with what a prerelease adds: "1.15.0-dev", "1.15.0+abc". */
static int parse_numbers(const char *text, struct vmm_version *ret_version)
{
        struct vmm_version version;

        if (parse_component(&text, &version.major) < 0 || parse_dot(&text) < 0 ||
            parse_component(&text, &version.minor) < 0 || parse_dot(&text) < 0 ||
            parse_component(&text, &version.patch) < 0 || !strchr("-+ \t\r\n", *text))
                return -EINVAL;
        *ret_version = version;
        return 0;
}

int vmm_version_parse(const char *output, struct vmm_version *ret_version, struct err *err)
{
        static const char prefix[] = "Firecracker v";
        const char *line = output;

        while (line && *line != '\0') {
                if (text_starts_with(line, prefix) && parse_numbers(line + strlen(prefix), ret_version) == 0)
                        return 0;
                line = strchr(line, '\n');
                if (line)
                        line++;
        }
        return err_set(err, EBADMSG, "vmm.version",
                       "no line 'Firecracker vX.Y.Z' in what it prints for --version");
}

static int compare_unsigned(unsigned a, unsigned b)
{
        return (a > b) - (a < b);
}

int vmm_version_compare(const struct vmm_version *a, const struct vmm_version *b)
{
        if (a->major != b->major)
                return compare_unsigned(a->major, b->major);
        if (a->minor != b->minor)
                return compare_unsigned(a->minor, b->minor);
        return compare_unsigned(a->patch, b->patch);
}

enum vmm_support vmm_version_support(const struct vmm_version *version)
{
        if (vmm_version_compare(version, &vmm_version_minimum) < 0)
                return VMM_SUPPORT_TOO_OLD;
        if (vmm_version_compare(version, &vmm_version_tested) <= 0)
                return VMM_SUPPORT_TESTED;
        return vmm_version_compare(version, &vmm_version_promised) <= 0 ? VMM_SUPPORT_PROMISED
                                                                        : VMM_SUPPORT_UNKNOWN;
}

static int run_really(const char *const *argv, char **ret_output, struct err *err)
{
        int r = spawn_run(argv, QUERY_TIMEOUT_MS, OUTPUT_MAX, ret_output, NULL, err);

        return r > 0 ? -err->code : r;
}

const struct vmm_runner vmm_runner_real = { run_really };

int vmm_version_query(const struct vmm_runner *runner, const char *program, struct vmm_version *ret_version,
                      struct err *err)
{
        const char *const argv[] = { program, "--version", NULL };
        scoped_free char *output = NULL;
        int r = runner->run(argv, &output, err);

        if (r < 0)
                return r;
        r = vmm_version_parse(output, ret_version, err);
        return r < 0 ? err_wrap(err, "'%s'", program) : 0;
}
