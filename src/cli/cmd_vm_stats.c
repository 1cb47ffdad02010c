/* vm stats, ping, health: one answer of the daemon for each VM. */
#include <stdio.h>

#include "api/api_vm.h"
#include "base/json.h"
#include "cli/cli_commands.h"
#include "cli/cli_vms.h"

#define US_PER_MS 1000.0

/* An object after another, as jq reads them: one VM or several look the same. */
static bool show_json(const char *name, json_t *result, void *userdata)
{
        (void) name;
        (void) userdata;
        print_json(result);
        return true;
}

int cmd_vm_stats(struct cli *cli, const struct cli_args *args, struct err *err)
{
        return vms_do_each(cli, args, &api_vm_stats, show_json, NULL, err);
}

static bool show_health(const char *name, json_t *result, void *userdata)
{
        (void) show_json(name, result, userdata);
        return json_flag(result, "healthy");
}

int cmd_vm_health(struct cli *cli, const struct cli_args *args, struct err *err)
{
        return vms_do_each(cli, args, &api_vm_health, show_health, NULL, err);
}

static bool show_ping(const char *name, json_t *result, void *userdata)
{
        (void) userdata;
        (void) printf("%s answers in %.1f ms\n", name,
                      (double) json_u64(result, "round_trip_us", 0) / US_PER_MS);
        return true;
}

int cmd_vm_ping(struct cli *cli, const struct cli_args *args, struct err *err)
{
        return vms_do_each(cli, args, &api_vm_ping, show_ping, NULL, err);
}
