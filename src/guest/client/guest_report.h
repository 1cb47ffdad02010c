/*
 * What a guest says of itself, as far as it is let through: known members of their known types, numbers in range, lists
 * and names of bounded length, text without anything that steers a terminal. It may still be a lie.
 */
#pragma once

#include <jansson.h>

#include "guest/client/guest_call.h"

#define GUEST_REPORT_NAMES_MAX     64   /* members of an object whose names the guest chooses: links, disks */
#define GUEST_REPORT_LISTENERS_MAX 1024 /* as many as an honest agent tells */
#define GUEST_REPORT_TEXT_MAX      64   /* bytes */

/* A new reference, or NULL when raw is no object. */
json_t *guest_report_check(enum guest_question question, const json_t *raw);
