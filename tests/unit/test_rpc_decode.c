#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/api_daemon.h"
#include "api/api_vm.h"
#include "unit.h"

static int decode(const char *text, struct vm_create_params *p, struct err *err, json_t **message)
{
        *message = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(*message);
        return rpc_decode(&api_vm_create, *message, p, err);
}

static void fills_the_struct_and_leaves_the_rest(void **state)
{
        struct vm_create_params p = { .vcpu = 7 };
        struct err err = { 0 };
        json_auto_t *message = NULL;

        (void) state;
        assert_int_equal(decode("{\"name\":\"web\",\"memory\":1024,\"nat\":true}", &p, &err, &message), 0);
        assert_string_equal(p.name, "web");
        assert_int_equal(p.vcpu, 7);
        assert_int_equal(p.memory, 1024);
        assert_true(p.nat);
        assert_null(p.image);
}

static void refuses_what_the_table_does_not_allow(void **state)
{
        static const struct {
                const char *text, *message;
        } cases[] = {
                {"{\"name\":\"Web\"}",
                 "name: not a vm name (a-z, 0-9 and hyphens inside; at most 63 characters)"     },
                { "{\"name\":\"-web\"}",
                 "name: not a vm name (a-z, 0-9 and hyphens inside; at most 63 characters)"     },
                { "{\"name\":\"web-\"}",
                 "name: not a vm name (a-z, 0-9 and hyphens inside; at most 63 characters)"     },
                { "{\"name\":\"\"}",
                 "name: not a vm name (a-z, 0-9 and hyphens inside; at most 63 characters)"     },
                { "{\"name\":\"a\\u0000b\"}", "name: not text"                                  },
                { "{\"kernel\":\"../etc\"}",
                 "kernel: not a name (letters, digits, '.', '_' and '-'; at most 64 characters)"},
                { "{\"vcpu\":0}",             "vcpu: out of range"                              },
                { "{\"vcpu\":33}",            "vcpu: out of range"                              },
                { "{\"vcpu\":4294967297}",    "vcpu: out of range"                              },
                { "{\"vcpu\":-1}",            "vcpu: out of range"                              },
                { "{\"vcpu\":\"2\"}",         "vcpu: not a whole number"                        },
                { "{\"nat\":1}",              "nat: not true or false"                          },
                { "{\"cpu\":2}",              "no parameter 'cpu'"                              },
                { "[]",                       "parameters are not an object"                    },
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct vm_create_params p = { 0 };
                struct err err = { 0 };
                json_auto_t *message = json_loads(cases[i].text, JSON_ALLOW_NUL, NULL);

                assert_non_null(message);
                assert_int_equal(rpc_decode(&api_vm_create, message, &p, &err), -EINVAL);
                assert_string_equal(err.message, cases[i].message);
                assert_string_equal(err.op, "vm.create");
        }
}

static void asks_for_what_is_required(void **state)
{
        struct vm_ref_params p = { 0 };
        struct err err = { 0 };

        (void) state;
        assert_int_equal(rpc_decode(&api_vm_show, NULL, &p, &err), -EINVAL);
        assert_string_equal(err.message, "vm: missing");
}

static void accepts_vm_names_up_to_63_characters(void **state)
{
        char name[65];

        (void) state;
        memset(name, 'a', sizeof(name));
        name[63] = '\0';
        assert_true(rpc_vm_name_is_valid(name));
        name[63] = 'a';
        name[64] = '\0';
        assert_false(rpc_vm_name_is_valid(name));
}

static void every_method_is_sound_and_the_set_is_the_documented_one(void **state)
{
        static const char *const documented[] = {
                "daemon.ping",      "daemon.shutdown",
                "daemon.defaults",  "daemon.operations.list",
                "doctor.run",       "daemon.df",
                "vm.create",        "vm.create.begin",
                "vm.create.status", "vm.create.cancel",
                "vm.start",         "vm.stop",
                "vm.restart",       "vm.kill",
                "vm.set",           "vm.delete",
                "vm.list",          "vm.rows",
                "vm.show",          "vm.connect",
                "vm.logs",          "vm.workspace.record",
                "vm.stats",         "vm.top",
                "vm.ports",         "vm.health",
                "vm.ping",          "vm.pause",
                "vm.resume",        "image.pull",
                "image.list",       "image.rows",
                "image.catalog",    "image.show",
                "image.delete",     "image.cache.prune",
                "registry.login",   "registry.logout",
                "registry.access",  "kernel.pull",
                "kernel.import",    "kernel.list",
                "kernel.catalog",   "kernel.show",
                "kernel.delete",    "image.register",
                "image.promote",
        };
        size_t n = 0;

        (void) state;
        for (; api_methods[n]; n++) {
                struct err err = { 0 };

                assert_true(n < N_ELEMENTS(documented));
                assert_string_equal(api_methods[n]->name, documented[n]);
                assert_int_equal(rpc_method_verify(api_methods[n], &err), 0);
        }
        assert_int_equal(n, N_ELEMENTS(documented));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(fills_the_struct_and_leaves_the_rest),
                cmocka_unit_test(refuses_what_the_table_does_not_allow),
                cmocka_unit_test(asks_for_what_is_required),
                cmocka_unit_test(accepts_vm_names_up_to_63_characters),
                cmocka_unit_test(every_method_is_sound_and_the_set_is_the_documented_one),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
