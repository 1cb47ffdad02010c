#include "vmm/contract/vmm_place.h"

#include <jansson.h>
#include <stdbool.h>
#include <string.h>

struct cursor {
        const char *text;
        size_t n, at;
};

static char peek(const struct cursor *c)
{
        return (char) (c->at < c->n ? c->text[c->at] : '\0');
}

static void skip_space(struct cursor *c)
{
        while (c->at < c->n && strchr(" \t\r\n", c->text[c->at]))
                c->at++;
}

static void skip_string(struct cursor *c)
{
        for (c->at++; c->at < c->n && c->text[c->at] != '"'; c->at++)
                if (c->text[c->at] == '\\')
                        c->at++;
        c->at++;
}

/* Any value; brackets are counted, so nesting needs no recursion. */
static void skip_value(struct cursor *c)
{
        size_t depth = 0;

        do {
                char first;

                skip_space(c);
                first = peek(c);
                if (first == '"') {
                        skip_string(c);
                } else if (first == '{' || first == '[') {
                        depth++;
                        c->at++;
                } else if (first == '}' || first == ']') {
                        depth--;
                        c->at++;
                } else if (first == ',' || first == ':') {
                        c->at++;
                } else {
                        while (c->at < c->n && !strchr(",:]} \t\r\n", c->text[c->at]))
                                c->at++;
                }
        } while (depth > 0 && c->at < c->n);
}

/* Does the string literal between the offsets spell this key? It may be written with escapes. */
static bool literal_is(const struct cursor *c, size_t from, size_t to, const char *key)
{
        json_t *string = json_loadb(c->text + from, to - from, JSON_DECODE_ANY, NULL);
        bool same = string && strcmp(json_string_value(string), key) == 0;

        json_decref(string);
        return same;
}

/* Inside an object, behind its brace: stops before the value of key, or at the closing brace. */
static bool enter(struct cursor *c, const char *key, size_t *ret_key_end)
{
        for (;;) {
                size_t from;

                skip_space(c);
                if (peek(c) == ',') {
                        c->at++;
                        continue;
                }
                if (peek(c) != '"')
                        return false;
                from = c->at;
                skip_string(c);
                if (c->at > c->n)
                        return false;
                *ret_key_end = c->at;
                skip_space(c);
                c->at++; /* the colon */
                skip_space(c);
                if (key && literal_is(c, from, *ret_key_end, key))
                        return true;
                skip_value(c);
        }
}

static struct vmm_place place_of(const struct cursor *c, size_t consumed)
{
        struct vmm_place place = { .line = 1 };

        for (size_t i = 0; i < consumed && i < c->n; i++)
                if (c->text[i] == '\n') {
                        place.line++;
                        place.column = 0;
                } else {
                        place.column++;
                }
        return place;
}

struct vmm_place vmm_place_find(const char *text, size_t n, const char *const *keys, size_t n_keys,
                                enum vmm_place_of of)
{
        struct cursor c = { .text = text, .n = n };
        size_t key_end = 0;

        skip_space(&c);
        for (size_t i = 0; i < n_keys; i++) {
                if (peek(&c) != '{')
                        return (struct vmm_place){ .line = 1 };
                c.at++;
                if (!enter(&c, keys[i], &key_end))
                        return (struct vmm_place){ .line = 1 };
        }
        if (of == VMM_PLACE_KEY)
                return place_of(&c, key_end);
        if (of == VMM_PLACE_END) {
                c.at++;
                (void) enter(&c, NULL, &key_end);
                return place_of(&c, c.at + 1);
        }
        if (peek(&c) == '{' || peek(&c) == '[')
                c.at++;
        else
                skip_value(&c);
        return place_of(&c, c.at);
}
