/* The environment of a login that is asked for once: with a real shell, a home and a cache in a temporary folder. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "guest/agent/agent_login.h"
#include "unit.h"

struct place {
        char *home, *profile, *etc, *cache, *count, *variable; /* owned */
        const char *env[3];
        struct agent_login_source source;
};

static int setup(void **state)
{
        struct place *place = xcalloc(1, sizeof(*place));
        char folder[] = "/tmp/banger-login-XXXXXX";

        assert_non_null(mkdtemp(folder));
        place->home = xstrdup(folder);
        place->profile = xasprintf("%s/.bash_profile", folder);
        place->etc = xasprintf("%s/etc", folder);
        place->cache = xasprintf("%s/cache", folder);
        place->count = xasprintf("%s/count", folder);
        place->variable = xasprintf("HOME=%s", folder);
        place->env[0] = place->variable;
        place->env[1] = "PATH=/usr/bin:/bin";
        place->source = (struct agent_login_source){ .shell = "/bin/bash",
                                                     .env = place->env,
                                                     .home = place->home,
                                                     .etc = place->etc,
                                                     .cache = place->cache };
        *state = place;
        return 0;
}

static int teardown(void **state)
{
        struct place *place = *state;
        struct err err = { 0 };

        assert_int_equal(file_remove_tree(place->home, &err), 0);
        free(place->home);
        free(place->profile);
        free(place->etc);
        free(place->cache);
        free(place->count);
        free(place->variable);
        free(place);
        return 0;
}

/* Each run of the profile leaves a byte in the file count. */
static void write_profile(const struct place *place, const char *body)
{
        FILE *file = fopen(place->profile, "w");

        assert_non_null(file);
        assert_true(fprintf(file, "printf x >> %s\n%s\n", place->count, body) > 0);
        assert_int_equal(fclose(file), 0);
}

static long runs(const struct place *place)
{
        struct stat st;

        return stat(place->count, &st) < 0 ? 0 : (long) st.st_size;
}

static bool has(const struct agent_login *login, const char *variable)
{
        for (const char *const *v = login->env; *v; v++)
                if (strcmp(*v, variable) == 0)
                        return true;
        return false;
}

static void expect(const struct place *place, const char *variable)
{
        struct agent_login login;

        assert_int_equal(agent_login_get(&place->source, &login), 0);
        assert_true(has(&login, variable));
        agent_login_done(&login);
}

static void what_a_profile_exports_is_there_and_asked_for_once(void **state)
{
        const struct place *place = *state;

        write_profile(place, "export FROM_PROFILE='a b'; PATH=$PATH:/opt/x; export PATH");
        for (int i = 0; i < 3; i++)
                expect(place, "FROM_PROFILE=a b");
        expect(place, place->variable);
        assert_int_equal(runs(place), 1);
}

static void a_changed_profile_is_read_again(void **state)
{
        const struct place *place = *state;

        write_profile(place, "export COLOUR=red");
        expect(place, "COLOUR=red");
        write_profile(place, "export COLOUR=green");
        expect(place, "COLOUR=green");
        assert_int_equal(runs(place), 2);
}

static void the_umask_of_a_profile_is_kept(void **state)
{
        const struct place *place = *state;
        struct agent_login login;

        write_profile(place, "umask 027");
        assert_int_equal(agent_login_get(&place->source, &login), 0);
        assert_int_equal(login.mask, 027);
        agent_login_done(&login);
}

static void what_belongs_to_one_command_is_not_kept(void **state)
{
        const struct place *place = *state;
        struct agent_login login;

        write_profile(place, "");
        assert_int_equal(agent_login_get(&place->source, &login), 0);
        for (const char *const *v = login.env; *v; v++)
                assert_false(text_starts_with(*v, "PWD=") || text_starts_with(*v, "_="));
        agent_login_done(&login);
}

/* Such a shell has to run for each command; that is found out once. */
static void a_profile_that_does_more_is_not_kept(void **state)
{
        static const char *const bodies[] = { "echo hello", "echo oops >&2", "cd /", "ulimit -n 64",
                                              "exit 3" };
        const struct place *place = *state;
        struct agent_login login;

        for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
                write_profile(place, bodies[i]);
                for (int again = 0; again < 2; again++) {
                        assert_true(agent_login_get(&place->source, &login) < 0);
                        agent_login_done(&login);
                }
                assert_int_equal(runs(place), (long) i + 1);
        }
}

static void what_a_profile_leaves_running_keeps_nobody_waiting(void **state)
{
        const struct place *place = *state;

        write_profile(place, "sleep 3 & export LEFT=yes");
        expect(place, "LEFT=yes");
}

/* What the golden image's script writes, for this place. */
static void ship(const struct place *place, const char *path, const char *profile, const char *variable)
{
        FILE *file = fopen(path, "w");

        assert_non_null(file);
        assert_true(fprintf(file, "%s\n%s\n== %s\n%s", place->env[0], place->env[1], place->profile,
                            profile) > 0);
        assert_int_equal(fwrite("\0"
                                "0027\0",
                                1, 6, file),
                         6);
        assert_int_equal(fwrite(variable, 1, strlen(variable) + 1, file), strlen(variable) + 1);
        assert_int_equal(fclose(file), 0);
}

static void an_answer_that_came_with_the_image_holds_until_a_profile_changes(void **state)
{
        struct place *place = *state;
        scoped_free char *shipped = xasprintf("%s/shipped", place->home);
        scoped_free char *content = NULL;
        struct agent_login login;
        struct err err = { 0 };

        write_profile(place, "export FROM=profile");
        assert_int_equal(file_read(place->profile, 4096, &content, NULL, &err), 0);
        ship(place, shipped, content, "FROM=image");
        place->source.shipped = shipped;
        assert_int_equal(agent_login_get(&place->source, &login), 0);
        assert_true(has(&login, "FROM=image"));
        assert_int_equal(login.mask, 027);
        assert_int_equal(runs(place), 0);
        agent_login_done(&login);

        write_profile(place, "export FROM=another");
        assert_int_equal(agent_login_get(&place->source, &login), 0);
        assert_true(has(&login, "FROM=another"));
        assert_int_equal(runs(place), 1);
        agent_login_done(&login);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(
                        an_answer_that_came_with_the_image_holds_until_a_profile_changes, setup, teardown),
                cmocka_unit_test_setup_teardown(what_a_profile_exports_is_there_and_asked_for_once, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(a_changed_profile_is_read_again, setup, teardown),
                cmocka_unit_test_setup_teardown(the_umask_of_a_profile_is_kept, setup, teardown),
                cmocka_unit_test_setup_teardown(what_belongs_to_one_command_is_not_kept, setup, teardown),
                cmocka_unit_test_setup_teardown(a_profile_that_does_more_is_not_kept, setup, teardown),
                cmocka_unit_test_setup_teardown(what_a_profile_leaves_running_keeps_nobody_waiting, setup,
                                                teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
