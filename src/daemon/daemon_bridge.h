/*
 * Sees to it that the bridge is there while machines run: the kernel tells of every change of interfaces
 * (rtnetlink(7), RTMGRP_LINK), and when the bridge is gone or another one the helper makes it and puts the taps back.
 */
#pragma once

#include "daemon/daemon.h"

/* After reconcile. A host that does not let us watch is no failure: then the next start makes the bridge. */
void daemon_bridge_watch(struct daemon *daemon);
