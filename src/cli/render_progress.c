#include "cli/render_progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/size.h"
#include "base/text.h"
#include "cli/render_style.h"

#define BAR_WIDTH  24
#define WIPE       "\r\033[K" /* ECMA-48 8.3.41, erase in line */
#define CURSOR_UP  "\033[%uA" /* 8.3.22 */
#define WIPE_BELOW "\033[J"   /* 8.3.39, erase in page: from here on */
#define LONG_MS    1000       /* a stage that took so long leaves its line */

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

void progress_init(struct progress *progress, const char *label)
{
        *progress = (struct progress){ .is_live = !label && isatty(STDERR_FILENO) == 1, .label = label };
}

static void wipe(struct progress *progress)
{
        if (progress->n_below > 0)
                (void) fprintf(stderr, "\r" CURSOR_UP WIPE_BELOW, progress->n_below);
        progress->n_below = 0;
        if (progress->is_line_shown)
                (void) fputs(WIPE, stderr);
        progress->is_line_shown = false;
}

/* What the line may take: it can only be wiped while it is one line. */
static unsigned columns(void)
{
        struct winsize size;

        return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

static void show_part(struct progress *progress, const struct progress_part *part)
{
        char bar[BAR_WIDTH + 3], have[SIZE_TEXT_MAX], all[SIZE_TEXT_MAX];
        scoped_text struct text line = { 0 };

        progress_bar(part->done, part->total, BAR_WIDTH, bar);
        size_human(part->done, have);
        size_human(part->total, all);
        text_appendf(&line, "  %s %s %s of %s", part->name, bar, have, all);
        (void) fprintf(stderr, "\n%.*s", (int) columns() - 1, line.s);
        progress->n_below++;
}

/* A part that is whole makes room for those that are not. */
static void take_part(struct progress *progress, const char *name, uint64_t done, uint64_t total)
{
        unsigned i = 0;

        while (i < progress->n_parts &&
               strncmp(progress->parts[i].name, name, sizeof(progress->parts[i].name) - 1) != 0)
                i++;
        if (done >= total) {
                if (i < progress->n_parts) {
                        progress->n_parts--;
                        memmove(&progress->parts[i], &progress->parts[i + 1],
                                (progress->n_parts - i) * sizeof(progress->parts[0]));
                }
                return;
        }
        if (i == PROGRESS_PARTS_MAX)
                return;
        if (i == progress->n_parts)
                progress->n_parts++;
        (void) snprintf(progress->parts[i].name, sizeof(progress->parts[i].name), "%s", name);
        progress->parts[i].done = done;
        progress->parts[i].total = total;
}

static void show_live(struct progress *progress)
{
        char elapsed[ELAPSED_MAX], bar[BAR_WIDTH + 3], have[SIZE_TEXT_MAX], all[SIZE_TEXT_MAX];
        scoped_text struct text line = { 0 };

        elapsed_format(clock_monotonic_ms() - progress->started_ms, elapsed);
        text_append(&line, progress->stage);
        if (progress->total > 0) {
                progress_bar(progress->done, progress->total, BAR_WIDTH, bar);
                size_human(progress->done, have);
                size_human(progress->total, all);
                text_appendf(&line, " %s %s of %s", bar, have, all);
        } else if (*progress->detail) {
                text_appendf(&line, " %s", progress->detail);
        }
        text_appendf(&line, " %s", elapsed);
        wipe(progress);
        (void) fprintf(stderr, WIPE "%.*s", (int) columns() - 1, line.s);
        for (unsigned i = 0; i < progress->n_parts; i++)
                show_part(progress, &progress->parts[i]);
        (void) fflush(stderr);
        progress->is_line_shown = true;
}

void progress_tick(struct progress *progress)
{
        if (progress->is_live && *progress->stage && !progress->is_over)
                show_live(progress);
}

static void show_end(struct progress *progress, const json_t *event)
{
        uint64_t ms = json_u64(event, "elapsed_ms", clock_monotonic_ms() - progress->started_ms);
        char elapsed[ELAPSED_MAX];

        elapsed_format(ms, elapsed);
        wipe(progress);
        progress->is_over = true;
        if (!progress->is_live)
                (void) fprintf(stderr, "%s%s%s %s\n", progress->label ? progress->label : "",
                               progress->label ? ": " : "", progress->stage, elapsed);
        else if (ms >= LONG_MS)
                (void) fprintf(stderr, "%s%s %s%s\n", style_on(stderr, STYLE_DIM), progress->stage, elapsed,
                               style_off(stderr));
}

/* Stays on the screen, whoever looks. */
static void show_warning(struct progress *progress, const char *text)
{
        wipe(progress);
        (void) fprintf(stderr, "%sbanger:%s %s%s%s\n", style_on(stderr, STYLE_WARN), style_off(stderr),
                       progress->label ? progress->label : "", progress->label ? ": " : "", text);
}

void progress_event(struct progress *progress, const json_t *event)
{
        const char *stage = json_text(event, "stage"), *state = json_text(event, "state");

        if (!*stage)
                return;
        if (strcmp(stage, progress->stage) != 0) {
                (void) snprintf(progress->stage, sizeof(progress->stage), "%s", stage);
                progress->started_ms = clock_monotonic_ms();
                progress->n_parts = 0;
        }
        progress->is_over = false;
        if (*json_text(event, "part")) {
                take_part(progress, json_text(event, "part"), json_u64(event, "done", 0),
                          json_u64(event, "total", 0));
                if (progress->is_live)
                        show_live(progress);
                return;
        }
        progress->done = json_u64(event, "done", 0);
        progress->total = json_u64(event, "total", 0);
        (void) snprintf(progress->detail, sizeof(progress->detail), "%s", json_text(event, "detail"));
        if (strcmp(state, "warning") == 0)
                show_warning(progress, json_text(event, "detail"));
        else if (strcmp(state, "end") == 0)
                show_end(progress, event);
        else if (progress->is_live)
                show_live(progress);
}

void progress_done(struct progress *progress)
{
        wipe(progress);
}
