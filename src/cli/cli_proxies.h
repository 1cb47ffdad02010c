/* The proxies of this command's environment, for what a VM fetches on its behalf. */
#pragma once

#include "base/err.h"

#define CLI_PROXIES_MAX 8 /* four names, in small letters and in capitals */

/*
 * "NAME=value" for each that is set; those of borrowed environment, NULL-terminated. EINVAL: one is on the loopback of this
 * machine, where no VM gets to.
 */
int cli_proxies_find(const char *ret_env[CLI_PROXIES_MAX + 1], struct err *err);
