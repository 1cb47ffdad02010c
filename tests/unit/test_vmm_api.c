/* vmm/contract: every body decodes, and is refused in the words that Firecracker's clients match on. */
#include <errno.h>
#include <string.h>

#include "unit.h"
#include "vmm/contract/vmm_decode.h"
#include "vmm/contract/vmm_place.h"
#include "vmm/contract/vmm_route.h"

/* The largest shape fits; the tests look at single fields through their own types. */
static union {
        uint32_t given;
        struct vmm_drive_body drive;
        struct vmm_machine_config machine;
        struct vmm_logger logger;
        struct vmm_interface interface;
} body;

static int decode(const struct vmm_shape *shape, const char *text, struct err *err)
{
        struct vmm_document document = { 0 };
        int r;

        assert_true(shape->size <= sizeof(body));
        r = vmm_decode(shape, text, strlen(text), &body, &document, err);
        vmm_document_done(&document);
        return r;
}

static void every_body_is_accepted(void **state)
{
        static const struct {
                const struct vmm_shape *shape;
                const char *text;
        } cases[] = {
                {&vmm_shape_boot_source,           "{\"kernel_image_path\":\"/k\"}"                                 },
                { &vmm_shape_boot_source,
                 "{\"kernel_image_path\":\"/k\",\"initrd_path\":null,\"boot_args\":\"a\"}"                          },
                { &vmm_shape_drive,
                 "{\"drive_id\":\"a\",\"is_root_device\":true,\"path_on_host\":\"/d\","
                  "\"cache_type\":\"Writeback\",\"io_engine\":\"Sync\",\"rate_limiter\":{\"ops\":"
                  "{\"size\":1,\"refill_time\":2,\"whatever\":3}}}"                                                 },
                { &vmm_shape_drive_update,         "{\"drive_id\":\"a\",\"path_on_host\":\"/d\"}"                   },
                { &vmm_shape_interface,            "{\"iface_id\":\"e\",\"host_dev_name\":\"t\",\"guest_mac\":null}"},
                { &vmm_shape_interface_update,     "{\"iface_id\":\"e\",\"rx_rate_limiter\":{}}"                    },
                { &vmm_shape_machine_config,
                 "{\"vcpu_count\":255,\"mem_size_mib\":1,\"smt\":false,\"huge_pages\":\"2M\"}"                      },
                { &vmm_shape_vsock,                "{\"guest_cid\":4294967295,\"uds_path\":\"/v\"}"                 },
                { &vmm_shape_entropy,              "{}"                                                             },
                { &vmm_shape_balloon,
                 "{\"amount_mib\":1,\"deflate_on_oom\":true,\"stats_polling_interval_s\":65535}"                    },
                { &vmm_shape_balloon_update,       "{\"amount_mib\":0}"                                             },
                { &vmm_shape_balloon_stats_update, "{\"stats_polling_interval_s\":1}"                               },
                { &vmm_shape_logger,               "{\"level\":\"warning\",\"log_path\":\"/l\"}"                    },
                { &vmm_shape_metrics,              "{\"metrics_path\":\"/m\",\"unknown\":1}"                        },
                { &vmm_shape_serial,               "{}"                                                             },
                { &vmm_shape_mmds_config,          "{\"network_interfaces\":[\"e\"],\"version\":\"V2\"}"            },
                { &vmm_shape_action,               "{\"action_type\":\"InstanceStart\"}"                            },
                { &vmm_shape_vm,                   "{\"state\":\"Resumed\"}"                                        },
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct err err = { 0 };

                if (decode(cases[i].shape, cases[i].text, &err) < 0)
                        fail_msg("%s: %s", cases[i].text, err.message);
        }
}

static void every_shape_refuses_what_it_should(void **state)
{
        static const struct {
                const struct vmm_shape *shape;
                const char *text, *message;
        } cases[] = {
                {&vmm_shape_vm,              "{\"foo\": 1}",                                    "unknown field `foo`, expected `state` at line 1 column 6"},
                { &vmm_shape_rate_limiter,   "{\"foo\": 1}",
                 "unknown field `foo`, expected `bandwidth` or `ops` at line 1 column 6"                                                                  },
                { &vmm_shape_boot_source,    "{\n \"foo\": 1}",
                 "unknown field `foo`, expected one of `kernel_image_path`, `initrd_path`, `boot_args` at "
                  "line 2 column 6"                                                                                                                       },
                { &vmm_shape_boot_source,    "{}",                                              "missing field `kernel_image_path` at line 1 column 2"    },
                { &vmm_shape_vm,             "{\"state\":\"Gone\"}",
                 "unknown variant `Gone`, expected `Paused` or `Resumed` at line 1 column 15"                                                             },
                { &vmm_shape_action,         "{\"action_type\":\"foo\"}",
                 "unknown variant `foo`, expected one of `FlushMetrics`, `InstanceStart`, `SendCtrlAltDel` "
                  "at line 1 column 20"                                                                                                                   },
                { &vmm_shape_machine_config, "{\"vcpu_count\":256}",
                 "invalid value: integer `256`, expected u8 at line 1 column 17"                                                                          },
                { &vmm_shape_machine_config, "{\"vcpu_count\":-1}",
                 "invalid value: integer `-1`, expected u8 at line 1 column 16"                                                                           },
                { &vmm_shape_machine_config, "{\"vcpu_count\":\"1\"}",
                 "invalid type: string \"1\", expected u8 at line 1 column 17"                                                                            },
                { &vmm_shape_machine_config, "{\"smt\":1}",
                 "invalid type: integer `1`, expected a boolean at line 1 column 8"                                                                       },
                { &vmm_shape_machine_config, "{\"smt\":null}",
                 "invalid type: null, expected a boolean at line 1 column 11"                                                                             },
                { &vmm_shape_boot_source,    "{\"kernel_image_path\":null}",
                 "invalid type: null, expected a string at line 1 column 25"                                                                              },
                { &vmm_shape_boot_source,    "{\"kernel_image_path\":[]}",
                 "invalid type: sequence, expected a string at line 1 column 22"                                                                          },
                { &vmm_shape_drive,          "{\"rate_limiter\":{\"bandwidth\":{\"size\":1}}}",
                 "missing field `refill_time` at line 1 column 39"                                                                                        },
                { &vmm_shape_drive,          "{\"rate_limiter\":{\"band\":{}}}",
                 "unknown field `band`, expected `bandwidth` or `ops` at line 1 column 23"                                                                },
                { &vmm_shape_vm,             "{\"state\":\"Paused\",\"state\":\"Paused\"}",
                 "duplicate field `state` at line 1 column 25"                                                                                            },
                { &vmm_shape_mmds_config,    "{\"network_interfaces\":[1]}",
                 "invalid type: integer `1`, expected a string at line 1 column 23"                                                                       },
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct err err = { 0 };

                assert_int_equal(decode(cases[i].shape, cases[i].text, &err), -EINVAL);
                if (strcmp(err.message, cases[i].message) != 0)
                        fail_msg("%s\n  is refused with: %s\n  instead of:      %s", cases[i].text,
                                 err.message, cases[i].message);
        }
}

static void what_is_no_object_is_refused(void **state)
{
        static const char *const texts[] = { "", "{", "[]", "1", "\"x\"", "{\"a\":}", "nonsense", "{} {}" };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
                struct err err = { 0 };

                assert_int_equal(decode(&vmm_shape_entropy, texts[i], &err), -EINVAL);
        }
}

static void absent_fields_get_their_defaults(void **state)
{
        struct err err = { 0 };

        (void) state;
        assert_int_equal(decode(&vmm_shape_machine_config, "{\"smt\":true}", &err), 0);
        assert_int_equal(body.machine.vcpu_count, 1);
        assert_int_equal(body.machine.mem_size_mib, 128);
        assert_true(body.machine.smt);
        assert_true(vmm_given(&vmm_shape_machine_config, &body.machine, smt));
        assert_false(vmm_given(&vmm_shape_machine_config, &body.machine, vcpu_count));
        assert_int_equal(decode(&vmm_shape_logger, "{\"level\":\"ERROR\"}", &err), 0);
        assert_int_equal(body.logger.level, VMM_LOG_ERROR);
}

static void absent_options_are_answered_as_null(void **state)
{
        struct vmm_document document = { 0 };
        struct err err = { 0 };
        const char *text = "{\"drive_id\":\"a\",\"is_root_device\":true,\"path_on_host\":\"/d\"}";
        json_auto_t *answer = NULL;
        char *dump;

        (void) state;
        assert_int_equal(vmm_decode(&vmm_shape_drive, text, strlen(text), &body, &document, &err), 0);
        answer = vmm_encode(&vmm_shape_drive, &body.drive);
        dump = json_dumps(answer, JSON_COMPACT);
        assert_string_equal(
                dump,
                "{\"drive_id\":\"a\",\"partuuid\":null,\"is_root_device\":true,\"cache_type\":\"Unsafe\","
                "\"is_read_only\":null,\"path_on_host\":\"/d\",\"rate_limiter\":null,"
                "\"io_engine\":null,\"socket\":null}");
        free(dump);
        vmm_document_done(&document);
}

static void paths_lead_to_endpoints(void **state)
{
        static const struct {
                const char *method, *path, *id;
                bool has_body;
                enum vmm_endpoint endpoint;
        } cases[] = {
                {"GET",    "/",                        "",       false, VMM_GET_INSTANCE   },
                { "GET",   "//version/",               "",       false, VMM_GET_VERSION    },
                { "GET",   "http://localhost/version", "",       false, VMM_GET_VERSION    },
                { "PUT",   "/drives/root_1",           "root_1", true,  VMM_PUT_DRIVE      },
                { "PATCH", "/drives/a",                "a",      true,  VMM_PATCH_DRIVE    },
                { "PUT",   "/network-interfaces/e0",   "e0",     true,  VMM_PUT_INTERFACE  },
                { "PATCH", "/vm",                      "",       true,  VMM_PATCH_VM       },
                { "GET",   "/vm/config",               "",       false, VMM_GET_CONFIG     },
                { "PUT",   "/mmds/config",             "",       true,  VMM_PUT_MMDS_CONFIG},
                { "PUT",   "/mmds",                    "",       true,  VMM_PUT_MMDS       },
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct vmm_request request;
                struct err err = { 0 };

                assert_int_equal(
                        vmm_route_find(cases[i].method, cases[i].path, cases[i].has_body, &request, &err), 0);
                assert_int_equal(request.route->endpoint, cases[i].endpoint);
                assert_string_equal(request.id, cases[i].id);
        }
}

static void other_paths_are_refused(void **state)
{
        static const struct {
                const char *method, *path;
                bool has_body;
                const char *message;
        } cases[] = {
                {"GET",     "/vm/config",   true,  "GET request cannot have a body."                       },
                { "PUT",    "/actions",     false, "Empty PUT request."                                    },
                { "PATCH",  "/vm",          false, "Empty PATCH request."                                  },
                { "PUT",    "/drives",      true,  "The ID cannot be empty."                               },
                { "PUT",    "/drives/",     true,  "The ID cannot be empty."                               },
                { "PUT",    "/drives/a-b",  true,
                 "API Resource IDs can only contain alphanumeric characters and underscores."              },
                { "PUT",    "/drives/a/b",  true,
                 "API Resource IDs can only contain alphanumeric characters and underscores."              },
                { "PUT",    "/foo/bar",     true,  "Invalid request method and/or path: PUT foo."          },
                { "PUT",    "/drivesx/a",   true,  "Invalid request method and/or path: PUT drivesx."      },
                { "PATCH",  "/boot-source", true,  "Invalid request method and/or path: PATCH boot-source."},
                { "DELETE", "/drives/a",    false, "Invalid request method and/or path: DELETE drives."    },
                { "GET",    "/version?x=1", false, "Invalid request method and/or path: GET version?x=1."  },
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct vmm_request request;
                struct err err = { 0 };

                assert_int_equal(
                        vmm_route_find(cases[i].method, cases[i].path, cases[i].has_body, &request, &err),
                        -EINVAL);
                assert_string_equal(err.message, cases[i].message);
        }
}

static void every_route_keeps_to_its_time(void **state)
{
        (void) state;
        for (size_t i = 0; i < VMM_N_ENDPOINTS; i++) {
                const struct vmm_route *route = &vmm_routes[i];
                struct err before = { 0 }, after = { 0 };

                assert_int_equal(route->endpoint, i);
                assert_int_equal(vmm_route_check(route, false, &before) < 0, route->when == VMM_AFTER_START);
                assert_int_equal(vmm_route_check(route, true, &after) < 0, route->when == VMM_BEFORE_START);
                if (before.code)
                        assert_string_equal(before.message, "The requested operation is not supported before "
                                                            "starting the microVM.");
                if (after.code)
                        assert_string_equal(after.message, "The requested operation is not supported after "
                                                           "starting the microVM.");
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_body_is_accepted),
                cmocka_unit_test(every_shape_refuses_what_it_should),
                cmocka_unit_test(what_is_no_object_is_refused),
                cmocka_unit_test(absent_fields_get_their_defaults),
                cmocka_unit_test(absent_options_are_answered_as_null),
                cmocka_unit_test(paths_lead_to_endpoints),
                cmocka_unit_test(other_paths_are_refused),
                cmocka_unit_test(every_route_keeps_to_its_time),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
