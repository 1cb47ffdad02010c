#include <errno.h>

#include "base/text.h"
#include "unit.h"

static void a_number_is_digits_alone(void **state)
{
        static const char *const wrong[] = { "",
                                             " 1",
                                             "1 ",
                                             "+1",
                                             "-1",
                                             "1.5",
                                             "0x10",
                                             "1k",
                                             "11",
                                             "18446744073709551616",
                                             "99999999999999999999" };
        uint64_t value = 7;

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(wrong); i++)
                assert_int_equal(text_parse_u64(wrong[i], 10, &value), -EINVAL);
        assert_int_equal(value, 7);
        assert_int_equal(text_parse_u64("010", 10, &value), 0);
        assert_int_equal(value, 10);
        assert_int_equal(text_parse_u64("18446744073709551615", UINT64_MAX, &value), 0);
        assert_true(value == UINT64_MAX);
}

static void a_row_of_numbers_is_taken_one_by_one(void **state)
{
        const char *at = "\t12  34\n5 x 6";
        const char *before;
        uint64_t value = 0;

        (void) state;
        assert_int_equal(text_take_u64(&at, 12, &value), 0);
        assert_int_equal(value, 12);
        before = at;
        assert_int_equal(text_take_u64(&at, 33, &value), -EINVAL);
        assert_ptr_equal(at, before); /* what is too large is not passed by */
        assert_int_equal(text_take_u64(&at, 34, &value), 0);
        assert_int_equal(text_take_u64(&at, 34, &value), 0);
        assert_int_equal(value, 5);
        assert_int_equal(text_take_u64(&at, 34, &value), -EINVAL);
        assert_string_equal(at, " x 6");
        at = "";
        assert_int_equal(text_take_u64(&at, 34, &value), -EINVAL);
}

static void a_row_is_cut_into_the_cells_it_was_made_of(void **state)
{
        scoped_text struct text row = { 0 };
        char *at;

        (void) state;
        text_append_cell(&row, "a", "\t\n", '\t');
        text_append_cell(&row, "", "\t\n", '\t');
        text_append_cell(&row, "b\tc\nd\033;", "\t\n", '\n');
        text_append_cell(&row, "a|b;c\nd", "|;", ';');
        assert_string_equal(row.s, "a\t\tb?c?d?;\na?b?c?d;");
        at = row.s;
        assert_string_equal(text_cut_cell(&at, '\t'), "a");
        assert_string_equal(text_cut_cell(&at, '\t'), "");
        assert_string_equal(text_cut_cell(&at, '\n'), "b?c?d?;");
        assert_string_equal(text_cut_cell(&at, ';'), "a?b?c?d");
        assert_string_equal(text_cut_cell(&at, '\t'), ""); /* none is left */
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_number_is_digits_alone),
                cmocka_unit_test(a_row_of_numbers_is_taken_one_by_one),
                cmocka_unit_test(a_row_is_cut_into_the_cells_it_was_made_of),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
