#include "cli/render_progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/size.h"
#include "base/text.h"
#include "cli/render_style.h"

#define BAR_WIDTH   24
#define WIPE        "\r\033[K" /* ECMA-48 8.3.41, erase in line */
#define LONG_MS     1000       /* a stage that took so long leaves its line */
#define DETAIL_SHOW 40

void elapsed_format(uint64_t ms, char out[ELAPSED_MAX])
{
        if (ms < 1000)
                (void) snprintf(out, ELAPSED_MAX, "%" PRIu64 "ms", ms);
        else if (ms < 60000)
                (void) snprintf(out, ELAPSED_MAX, "%" PRIu64 ".%" PRIu64 "s", ms / 1000, ms % 1000 / 100);
        else
                (void) snprintf(out, ELAPSED_MAX, "%" PRIu64 "m%02" PRIu64 "s", ms / 60000,
                                ms % 60000 / 1000);
}

void progress_bar(uint64_t done, uint64_t total, unsigned width, char *out)
{
        unsigned filled =
                total == 0 ? 0 : (unsigned) ((double) (done < total ? done : total) / (double) total * width);

        out[0] = '[';
        memset(out + 1, '#', filled);
        memset(out + 1 + filled, '.', width - filled);
        out[width + 1] = ']';
        out[width + 2] = '\0';
}

void progress_init(struct progress *progress)
{
        *progress = (struct progress){ .is_live = isatty(STDERR_FILENO) == 1 };
}

static void wipe(struct progress *progress)
{
        if (progress->is_line_shown)
                (void) fputs(WIPE, stderr);
        progress->is_line_shown = false;
}

static void show_live(struct progress *progress, const json_t *event)
{
        uint64_t total = json_u64(event, "total", 0), done = json_u64(event, "done", 0);
        char elapsed[ELAPSED_MAX], bar[BAR_WIDTH + 3], have[SIZE_TEXT_MAX], all[SIZE_TEXT_MAX];

        elapsed_format(clock_monotonic_ms() - progress->started_ms, elapsed);
        (void) fprintf(stderr, WIPE "%s", progress->stage);
        if (total > 0) {
                progress_bar(done, total, BAR_WIDTH, bar);
                size_human(done, have);
                size_human(total, all);
                (void) fprintf(stderr, " %s %s of %s %s", bar, have, all, elapsed);
        } else {
                (void) fprintf(stderr, " %.*s", DETAIL_SHOW, json_text(event, "detail"));
        }
        (void) fflush(stderr);
        progress->is_line_shown = true;
}

static void show_end(struct progress *progress, const json_t *event)
{
        uint64_t ms = json_u64(event, "elapsed_ms", clock_monotonic_ms() - progress->started_ms);
        char elapsed[ELAPSED_MAX];

        elapsed_format(ms, elapsed);
        wipe(progress);
        if (!progress->is_live)
                (void) fprintf(stderr, "%s %s\n", progress->stage, elapsed);
        else if (ms >= LONG_MS)
                (void) fprintf(stderr, "%s%s %s%s\n", style_on(stderr, STYLE_DIM), progress->stage, elapsed,
                               style_off(stderr));
}

void progress_event(struct progress *progress, const json_t *event)
{
        const char *stage = json_text(event, "stage"), *state = json_text(event, "state");

        if (!*stage)
                return;
        if (strcmp(stage, progress->stage) != 0) {
                (void) snprintf(progress->stage, sizeof(progress->stage), "%s", stage);
                progress->started_ms = clock_monotonic_ms();
        }
        if (strcmp(state, "end") == 0)
                show_end(progress, event);
        else if (progress->is_live)
                show_live(progress, event);
}

void progress_done(struct progress *progress)
{
        wipe(progress);
}
