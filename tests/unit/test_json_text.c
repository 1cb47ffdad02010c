#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/json_text.h"
#include "unit.h"

/* The text is what json_dumps() makes of what it says. */
static void check_is_as_dumped(const char *text, const char *expected)
{
        json_auto_t *object = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
        scoped_free char *dumped = json_dumps(object, JSON_INDENT(2));

        assert_non_null(object);
        assert_string_equal(text, dumped);
        if (expected)
                assert_string_equal(text, expected);
}

static void an_object_is_written_as_jansson_writes_it(void **state)
{
        scoped_text struct text text = { 0 };

        (void) state;
        json_text_open(&text);
        json_text_string(&text, "name", "web-1");
        json_text_integer(&text, "most", INT64_MAX);
        json_text_integer(&text, "least", INT64_MIN);
        json_text_bool(&text, "nat", true);
        json_text_bool(&text, "peers", false);
        json_text_value(&text, "none", json_null());
        json_text_value(&text, "words", json_pack("[s, s]", "a\nb", "c"));
        json_text_value(&text, "no_words", json_array());
        json_text_value(&text, "labels", json_pack("{s:s, s:{s:i}}", "a", "{", "b", "c", 1));
        json_text_close(&text);
        check_is_as_dumped(text.s, NULL);
}

static void an_empty_object_has_no_lines(void **state)
{
        scoped_text struct text text = { 0 };

        (void) state;
        json_text_open(&text);
        json_text_close(&text);
        check_is_as_dumped(text.s, "{}");
}

static void every_string_comes_back_as_it_was(void **state)
{
        static const char *const values[] = { "",         "{",    "a\"b", "a\\b",        "\b\f\n\r\t",
                                              "\x01\x1f", "\x7f", "~ !/", "\xc3\xa9tat", "\xf0\x9f\x98\x80",
                                              "a\n{" };

        (void) state;
        for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
                scoped_text struct text text = { 0 };
                json_auto_t *object = NULL;

                json_text_open(&text);
                json_text_string(&text, "first", values[i]);
                json_text_string(&text, "second", values[i]);
                json_text_close(&text);
                check_is_as_dumped(text.s, NULL);
                object = json_loads(text.s, 0, NULL);
                assert_string_equal(json_text(object, "first"), values[i]);
                assert_string_equal(json_text(object, "second"), values[i]);
        }
}

static void a_string_that_is_not_utf8_is_null(void **state)
{
        scoped_text struct text text = { 0 };

        (void) state;
        json_text_open(&text);
        json_text_string(&text, "odd", "a\xff");
        json_text_close(&text);
        check_is_as_dumped(text.s, "{\n  \"odd\": null\n}");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(an_object_is_written_as_jansson_writes_it),
                cmocka_unit_test(an_empty_object_has_no_lines),
                cmocka_unit_test(every_string_comes_back_as_it_was),
                cmocka_unit_test(a_string_that_is_not_utf8_is_null),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
