/* Which banger this is, and whether it is installed as services (S-283 to S-285, S-295). */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/scoped.h"
#include "base/toml.h"
#include "base/version.h"
#include "doctor/doctor_checks.h"

#define INSTALL_FILE_MAX 65536

static void compare(struct doctor_result *result, const char *what, const char *ours, const char *installed)
{
        if (installed[0] != '\0' && strcmp(ours, installed) != 0)
                doctor_warn(result,
                            "%s: this program has %s, the installation recorded %s; run 'sudo banger system "
                            "install'",
                            what, ours, installed);
}

static bool is_unstamped(const char *text)
{
        return text[0] == '\0' || strcmp(text, "dev") == 0 || strcmp(text, "unknown") == 0;
}

DOCTOR_CHECK(doctor_version)
{
        json_auto_t *install = NULL;
        scoped_free char *text = NULL, *line = version_line("banger");
        struct err err = { 0 };

        doctor_pass(result, "%s", line);
        if (access(context->install_file, F_OK) < 0)
                return;
        if (file_read(context->install_file, INSTALL_FILE_MAX, &text, NULL, &err) < 0 ||
            toml_parse(text, context->install_file, &install, &err) < 0) {
                doctor_warn(result, "%s", err.message);
                return;
        }
        doctor_pass(result, "installed: %s (commit %.8s, built %s)", json_text(install, "version"),
                    json_text(install, "commit"), json_text(install, "built_at"));
        if (is_unstamped(BANGER_VERSION) || is_unstamped(json_text(install, "version")))
                return;
        compare(result, "version", BANGER_VERSION, json_text(install, "version"));
        compare(result, "commit", BANGER_COMMIT, json_text(install, "commit"));
        compare(result, "build time", BANGER_BUILT_AT, json_text(install, "built_at"));
}

/* A PASS without the installation would promise the separation of its two services. */
DOCTOR_CHECK(doctor_install)
{
        if (access(context->install_file, F_OK) == 0) {
                doctor_pass(result, "registered by %s to uid %u", context->install_file,
                            (unsigned) context->layout->owner_uid);
                return;
        }
        doctor_warn(
                result,
                "not installed as a system service: see docs/privileges.md > \"Running outside the system "
                "install\"");
}
