/* Each pattern becomes a regular expression, as in moby/patternmatcher. */
#include "cli/cli_ignore.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/scoped.h"
#include "base/text.h"

#define OP       "image.build"
#define FILE_MAX ((size_t) 1 << 20)
#define SPACES   " \t\r\n"

/* The pattern as Go's path.Clean leaves it: no "//", no ".", no "..", no slash at an end. The caller owns it. */
static char *clean(const char *pattern, size_t n)
{
        scoped_free char *copy = xasprintf("%.*s", (int) n, pattern);
        scoped_text struct text out = { 0 };
        char *rest = copy;

        for (const char *part; (part = strsep(&rest, "/"));) {
                if (*part == '\0' || strcmp(part, ".") == 0)
                        continue;
                if (strcmp(part, "..") != 0) {
                        text_appendf(&out, "%s%s", out.n ? "/" : "", part);
                        continue;
                }
                while (out.n > 0 && out.s[--out.n] != '/')
                        continue;
                if (out.s)
                        out.s[out.n] = '\0';
        }
        return out.n ? text_take(&out) : xstrdup("");
}

/* What stands for itself, whatever it means to regcomp(3). */
static void add_literal(struct text *regex, char c)
{
        const char plain[] = { '\\', c, '\0' };

        text_append(regex, strchr("\\.[]{}()+*?^$|", c) ? plain : plain + 1);
}

/* POSIX.1-2017 §9.4 from a pattern. The caller owns it. */
static char *translate(const char *pattern)
{
        struct text regex = { 0 };

        text_append(&regex, "^");
        for (const char *c = pattern; *c != '\0'; c++) {
                if (c[0] == '*' && c[1] == '*') {
                        c += c[2] == '/' ? 2 : 1;
                        text_append(&regex, c[1] == '\0' ? ".*" : "(.*/)?");
                } else if (*c == '*') {
                        text_append(&regex, "[^/]*");
                } else if (*c == '?') {
                        text_append(&regex, "[^/]");
                } else if (*c == '[' || *c == ']' || (*c == '^' && c > pattern && c[-1] == '[')) {
                        text_append_bytes(&regex, c, 1);
                } else {
                        c += *c == '\\' && c[1] != '\0';
                        add_literal(&regex, *c);
                }
        }
        text_append(&regex, "$");
        return text_take(&regex);
}

static int add_line(struct cli_ignore *ignore, const char *line, size_t n, struct err *err)
{
        struct cli_ignore_pattern pattern = { .is_exception = n > 0 && line[0] == '!' };
        size_t skipped = pattern.is_exception ? 1 + strspn(line + 1, SPACES) : 0;
        scoped_free char *path = n > skipped ? clean(line + skipped, n - skipped) : xstrdup("");
        scoped_free char *regex = translate(path);

        if (*path == '\0')
                return 0;
        if (regcomp(&pattern.regex, regex, REG_EXTENDED | REG_NOSUB) != 0)
                return err_set(err, EINVAL, OP, "'%.*s' is no pattern for paths", (int) (n < 200 ? n : 200),
                               line);
        ignore->patterns = xrealloc(ignore->patterns, (ignore->n + 1) * sizeof(*ignore->patterns));
        ignore->patterns[ignore->n++] = pattern;
        ignore->has_exceptions = ignore->has_exceptions || pattern.is_exception;
        return 0;
}

int cli_ignore_parse(const char *text, struct cli_ignore *ignore, struct err *err)
{
        int r = 0;

        text += text_starts_with(text, "\xef\xbb\xbf") ? 3 : 0; /* a byte order mark */
        while (r == 0 && *text != '\0') {
                const char *start = text + strspn(text, " \t\r"), *end = text + strcspn(text, "\n");
                size_t n = start < end ? (size_t) (end - start) : 0;

                while (n > 0 && strchr(SPACES, start[n - 1]))
                        n--;
                if (n > 0 && text[0] != '#')
                        r = add_line(ignore, start, n, err);
                text = *end == '\n' ? end + 1 : end;
        }
        return r;
}

/* The one that buildah would take (buildah-build(1), --ignorefile). The caller owns it. */
static char *find(const char *folder, const char *recipe)
{
        const char *const bases[][2] = {
                {recipe,  "" },
                { folder, "/"}
        };
        static const char *const names[] = { ".containerignore", ".dockerignore" };

        for (size_t i = 0; i < 4; i++) {
                char *path = xasprintf("%s%s%s", bases[i / 2][0], bases[i / 2][1], names[i % 2]);

                if (!file_is_missing(path))
                        return path;
                free(path);
        }
        return NULL;
}

int cli_ignore_read(const char *folder, const char *recipe, struct cli_ignore *ret_ignore, struct err *err)
{
        scoped(cli_ignore_done) struct cli_ignore ignore = { .path = find(folder, recipe) };
        scoped_free char *text = NULL;
        int r = 0;

        if (ignore.path) {
                r = file_read(ignore.path, FILE_MAX, &text, NULL, err);
                if (r == 0)
                        r = cli_ignore_parse(text, &ignore, err);
                if (r < 0)
                        return err_wrap(err, "'%s'", ignore.path);
        }
        *ret_ignore = ignore;
        ignore = (struct cli_ignore){ 0 };
        return 0;
}

/* The path, or a folder that it is in. */
static bool fits(const struct cli_ignore_pattern *pattern, const char *path)
{
        scoped_free char *above = xstrdup(path);

        while (regexec(&pattern->regex, above, 0, NULL, 0) != 0) {
                char *slash = strrchr(above, '/');

                if (!slash)
                        return false;
                *slash = '\0';
        }
        return true;
}

bool cli_ignore_leaves_out(const struct cli_ignore *ignore, const char *path)
{
        bool is_out = false;

        for (size_t i = 0; i < ignore->n; i++)
                if (ignore->patterns[i].is_exception == is_out && fits(&ignore->patterns[i], path))
                        is_out = !is_out;
        return is_out;
}

void cli_ignore_done(struct cli_ignore *ignore)
{
        for (size_t i = 0; i < ignore->n; i++)
                regfree(&ignore->patterns[i].regex);
        free(ignore->patterns);
        free(ignore->path);
        *ignore = (struct cli_ignore){ 0 };
}
