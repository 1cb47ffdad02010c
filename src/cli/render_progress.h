/* The stages of something long, on standard error: one live line on a terminal, a plain line each elsewhere. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define PROGRESS_PARTS_MAX 8

/* Something that goes on beside others within a stage: a layer of an image. */
struct progress_part {
        char name[24];
        uint64_t done, total;
};

struct progress {
        bool is_live;        /* standard error is a terminal */
        bool is_over;        /* the stage has ended and the next has not begun */
        bool is_line_shown;  /* there is something to wipe */
        uint64_t started_ms; /* of the stage, on the monotonic clock */
        char stage[48];
        char detail[48];
        uint64_t done, total;
        struct progress_part parts[PROGRESS_PARTS_MAX];
        unsigned n_parts;
        unsigned n_below;  /* lines shown under the stage's */
        const char *label; /* borrowed; NULL: there is only one */
};

/* How often a live line is to be told that time passes. */
#define PROGRESS_TICK_MS 100

/* With a label (the object's name) there are several at once: no live line, which they would fight for. */
void progress_init(struct progress *progress, const char *label);
/* Shows the time that has passed. */
void progress_tick(struct progress *progress);
/*
 * {"stage","state":"begin|progress|end|warning","detail","done","total","elapsed_ms"}; anything else is ignored. With "part" it is about
 * one of several things that go on at once, which get a bar each below the stage's line.
 */
void progress_event(struct progress *progress, const json_t *event);
/* Wipes the live line. */
void progress_done(struct progress *progress);

/* "[#####.....]" of width characters; done is capped by total. */
void progress_bar(uint64_t done, uint64_t total, unsigned width, char *out);
/* "340ms", "2.9s", "3m12s" */
#define ELAPSED_MAX 24
void elapsed_format(uint64_t ms, char out[ELAPSED_MAX]);
