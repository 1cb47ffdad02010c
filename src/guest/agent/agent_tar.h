/* Unpacking below a folder. Split from the connection so that tests and the fuzzer feed it bytes. */
#pragma once

#include "base/err.h"
#include "guest/agent/agent_tar_header.h"

/*
 * Unpacks below root_fd (borrowed) and never outside: names are walked a component at a time without following symbolic
 * links, ".." is refused. Existing files are replaced, existing folders kept. New things belong to root when we are root.
 */
int tar_unpack(const struct tar_source *source, int root_fd, struct err *err);
