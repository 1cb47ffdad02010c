/* A docker config.json, and behind its first line a server's challenge: any bytes are found to mean something or nothing. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/json.h"
#include "base/scoped.h"
#include "base/text.h"
#include "image/oci/oci_auth.h"
#include "image/oci/oci_docker_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void look_up(const char *text, const char *registry)
{
        scoped(oci_docker_login_done) struct oci_docker_login login = { 0 };
        json_auto_t *document = NULL;
        struct err err = { 0 };
        int r = json_parse(text, strlen(text), "fuzz", &document, &err);

        if (r == 0)
                r = oci_docker_config_find(document, registry, "library/x", &login, &err);
        assert(r == 0 || (err.code > 0 && err.message[0] != '\0'));
        assert(!login.helper || !strchr(login.helper, '/'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        scoped_free char *text = strndup((const char *) data, n);
        scoped(oci_challenge_done) struct oci_challenge challenge = { 0 };
        char *newline;

        look_up(text, "docker.io");
        look_up(text, "r.example:5000");
        newline = strchr(text, '\n');
        oci_challenge_parse(newline ? newline + 1 : text, &challenge);
        assert(challenge.scheme != OCI_AUTH_BEARER || challenge.realm);
        return 0;
}
