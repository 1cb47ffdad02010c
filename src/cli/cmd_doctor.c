#include <stdio.h>
#include <string.h>

#include "api/api_daemon.h"
#include "base/json.h"
#include "cli/cli_call.h"
#include "cli/cli_commands.h"
#include "cli/render_style.h"

static enum style style_of(const char *status)
{
        if (strcmp(status, "pass") == 0)
                return STYLE_PASS;
        return strcmp(status, "warn") == 0 ? STYLE_WARN : STYLE_FAIL;
}

static const char *word_of(const char *status)
{
        if (strcmp(status, "pass") == 0)
                return "PASS";
        return strcmp(status, "warn") == 0 ? "WARN" : "FAIL";
}

/* "PASS name" and indented details (S-281). */
static void print_check(const json_t *check)
{
        const char *status = json_text(check, "status");
        const json_t *detail = NULL;
        size_t i;

        (void) printf("%s%s%s %s\n", style_on(stdout, style_of(status)), word_of(status), style_off(stdout),
                      json_text(check, "name"));
        json_array_foreach (json_object_get(check, "details"), i, detail)
                (void) printf("  - %s\n", json_string_value(detail));
}

static size_t count(const json_t *checks, const char *status)
{
        const json_t *check;
        size_t i, n = 0;

        json_array_foreach (checks, i, check)
                n += strcmp(json_text(check, "status"), status) == 0;
        return n;
}

static void print_report(const json_t *checks, bool verbose)
{
        size_t n = json_array_size(checks), n_warn = count(checks, "warn"), n_fail = count(checks, "fail");
        const json_t *check;
        size_t i;

        json_array_foreach (checks, i, check)
                if (verbose || strcmp(json_text(check, "status"), "pass") != 0)
                        print_check(check);
        if (n_warn + n_fail == 0)
                (void) printf("all %zu checks passed\n", n);
        else
                (void) printf("%zu checks: %zu passed, %zu warnings, %zu failed\n", n, n - n_warn - n_fail,
                              n_warn, n_fail);
}

int cmd_doctor(struct cli *cli, const struct cli_args *args, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        int r = cli_call(cli, &api_doctor_run, NULL, &reply, err);
        const json_t *checks;

        if (r < 0)
                return r;
        checks = json_object_get(reply.result, "checks");
        if (json_flag(args->options, "json"))
                print_json(checks);
        else
                print_report(checks, json_flag(args->options, "verbose"));
        return count(checks, "fail") > 0;
}
