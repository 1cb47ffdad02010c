#include "cli/cli_recipe.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "base/scoped.h"
#include "base/text.h"

#define SPACES " \t\r"
#define NAME   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"

struct recipe {
        json_t *images, *stages, *arguments; /* borrowed; name -> value the latter */
};

/* The next word of a line, which is cut off behind it; NULL: there is none. */
static char *take_word(char **line)
{
        char *word = *line + strspn(*line, SPACES), *end = word + strcspn(word, SPACES);

        *line = *end == '\0' ? end : end + 1;
        *end = '\0';
        return *word == '\0' ? NULL : word;
}

/* $NAME, ${NAME} and ${NAME:-word} from at on; what stands for nothing is left as it is. Returns where it ends. */
static const char *expand_one(const struct recipe *recipe, const char *at, struct text *out)
{
        bool braced = at[1] == '{';
        const char *name = at + 1 + braced, *end = name + strspn(name, NAME), *close = end;
        scoped_free char *key = xasprintf("%.*s", (int) (end - name), name);
        const char *value = json_string_value(json_object_get(recipe->arguments, key));

        if (braced)
                close += strcspn(end, "}");
        if (*key == '\0' || (braced && *close == '\0')) {
                text_append(out, "$");
                return at + 1;
        }
        if (value && *value != '\0')
                text_append(out, value);
        else if (braced && text_starts_with(end, ":-"))
                text_append_bytes(out, end + 2, (size_t) (close - end - 2));
        return close + braced;
}

/* The caller owns it. */
static char *expand(const struct recipe *recipe, const char *word)
{
        struct text out = { 0 };

        text_append(&out, "");
        while (*word != '\0') {
                size_t n = strcspn(word, "$\"'");

                text_append_bytes(&out, word, n);
                word += n;
                if (*word == '$')
                        word = expand_one(recipe, word, &out);
                else
                        word += *word != '\0'; /* a quote */
        }
        return text_take(&out);
}

static bool has(const json_t *array, const char *word)
{
        const json_t *each = NULL;
        size_t i;

        json_array_foreach (array, i, each)
                if (strcasecmp(json_string_value(each), word) == 0)
                        return true;
        return false;
}

static void add_image(struct recipe *recipe, const char *word)
{
        scoped_free char *image = expand(recipe, word);

        if (*image == '\0' || strcmp(image, "scratch") == 0 ||
            image[strspn(image, "0123456789")] == '\0' || /* a stage by its number */
            has(recipe->stages, image) || has(recipe->images, image))
                return;
        (void) json_array_append_new(recipe->images, json_string(image));
}

/* FROM [--platform=X] IMAGE [AS STAGE] */
static void take_from(struct recipe *recipe, char *rest)
{
        char *word = take_word(&rest), *as, *stage;

        while (word && text_starts_with(word, "--"))
                word = take_word(&rest);
        if (word)
                add_image(recipe, word);
        as = take_word(&rest);
        stage = take_word(&rest);
        if (as && stage && strcasecmp(as, "as") == 0)
                (void) json_array_append_new(recipe->stages, json_string(stage));
}

static void take_copy(struct recipe *recipe, char *rest)
{
        for (const char *word; (word = take_word(&rest)) && text_starts_with(word, "--");)
                if (text_starts_with(word, "--from="))
                        add_image(recipe, word + strlen("--from="));
}

/* ARG NAME[=default]; what was given wins. */
static void take_argument(struct recipe *recipe, char *rest)
{
        const char *word = take_word(&rest), *equals = word ? strchr(word, '=') : NULL;
        scoped_free char *name = equals ? xasprintf("%.*s", (int) (equals - word), word) : NULL;
        scoped_free char *value = equals ? expand(recipe, equals + 1) : NULL;

        if (name && !json_object_get(recipe->arguments, name))
                (void) json_object_set_new(recipe->arguments, name, json_string(value));
}

static void take_line(struct recipe *recipe, char *line)
{
        const char *word = take_word(&line);

        if (!word || word[0] == '#')
                return;
        if (strcasecmp(word, "FROM") == 0)
                take_from(recipe, line);
        else if (strcasecmp(word, "COPY") == 0 || strcasecmp(word, "ADD") == 0)
                take_copy(recipe, line);
        else if (strcasecmp(word, "ARG") == 0)
                take_argument(recipe, line);
}

static json_t *given_arguments(const json_t *build_args)
{
        json_t *arguments = json_object();
        const json_t *each = NULL;
        size_t i;

        json_array_foreach (build_args, i, each) {
                const char *word = json_string_value(each), *equals = strchr(word, '=');
                scoped_free char *name = equals ? xasprintf("%.*s", (int) (equals - word), word) : NULL;

                if (name)
                        (void) json_object_set_new(arguments, name, json_string(equals + 1));
        }
        return arguments;
}

/* A backslash at a line's end joins it with the next. Not a comment's; and one among joined lines is dropped. */
static void join_lines(char *text)
{
        bool is_joined = false;

        for (char *line = text, *next; *line != '\0'; line = next) {
                char *end = line + strcspn(line, "\n"), *last = end > line && end[-1] == '\r' ? end - 1 : end;
                bool is_comment = line[strspn(line, SPACES)] == '#';
                bool goes_on = !is_comment && *end != '\0' && last > line && last[-1] == '\\';

                next = *end == '\0' ? end : end + 1;
                if (is_joined && is_comment) {
                        memset(line, ' ', (size_t) (next - line));
                        continue;
                }
                if (goes_on)
                        memset(last - 1, ' ', (size_t) (next - last) + 1);
                is_joined = goes_on;
        }
}

json_t *recipe_images(const char *text, const json_t *build_args)
{
        json_auto_t *stages = json_array(), *arguments = given_arguments(build_args);
        struct recipe recipe = { .images = json_array(), .stages = stages, .arguments = arguments };
        scoped_free char *copy = xstrdup(text);
        char *rest = copy;

        join_lines(copy);
        for (char *line; (line = strsep(&rest, "\n"));)
                take_line(&recipe, line);
        return recipe.images;
}
