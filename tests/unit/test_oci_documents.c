#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/scoped.h"
#include "base/text.h"
#include "image/oci/oci_auth.h"
#include "image/oci/oci_config.h"
#include "image/oci/oci_docker_config.h"
#include "image/oci/oci_manifest.h"
#include "image/oci/oci_reference.h"
#include "unit.h"

#define DIGEST "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define OTHER  "sha256:1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void names_get_what_docker_fills_in(void **state)
{
        static const struct {
                const char *typed, *whole, *host, *local, *local_whole;
        } cases[] = {
                {"debian",                             "docker.io/library/debian:latest",   "registry-1.docker.io", "debian",
                 "docker.io-library-debian-latest"                                                                                                                         },
                { "debian:bookworm",                   "docker.io/library/debian:bookworm", "registry-1.docker.io",
                 "debian-bookworm",                                                                                                     "docker.io-library-debian-bookworm"},
                { "docker.io/library/debian:bookworm", "docker.io/library/debian:bookworm",
                 "registry-1.docker.io",                                                                            "debian-bookworm",  "docker.io-library-debian-bookworm"},
                { "index.docker.io/a/b",               "docker.io/a/b:latest",              "registry-1.docker.io", "b",
                 "docker.io-a-b-latest"                                                                                                                                    },
                { "a/b",                               "docker.io/a/b:latest",              "registry-1.docker.io", "b",                "docker.io-a-b-latest"             },
                { "ghcr.io/x/y:tag",                   "ghcr.io/x/y:tag",                   "ghcr.io",              "y-tag",            "ghcr.io-x-y-tag"                  },
                { "localhost/x",                       "localhost/x:latest",                "localhost",            "x",                "localhost-x-latest"               },
                { "127.0.0.1:5000/x",                  "127.0.0.1:5000/x:latest",           "127.0.0.1:5000",       "x",
                 "127.0.0.1-5000-x-latest"                                                                                                                                 },
                { "[::1]:5000/x:1",                    "[::1]:5000/x:1",                    "[::1]:5000",           "x-1",              "---1--5000-x-1"                   },
                { "h:1/x@" DIGEST,                     "h:1/x@" DIGEST,                     "h:1",                  "x-0123456789ab",   "h-1-x-0123456789ab"               },
                { "h:1/x:t@" DIGEST,                   "h:1/x:t@" DIGEST,                   "h:1",                  "x-t-0123456789ab", "h-1-x-t-0123456789ab"             },
                { "A/x",                               "A/x:latest",                        "A",                    "x",                "A-x-latest"                       },
                { "a__b-c.d/e--f",                     "docker.io/a__b-c.d/e--f:latest",    "registry-1.docker.io", "e--f",
                 "docker.io-a__b-c.d-e--f-latest"                                                                                                                          },
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                scoped(oci_reference_done) struct oci_reference reference = { 0 };
                struct err err = { 0 };
                scoped_free char *whole = NULL, *local = NULL, *local_whole = NULL;

                if (strcmp(cases[i].typed, "a__b-c.d/e--f") == 0) {
                        /* a dot in the first component makes it a registry, and no host has '_' */
                        assert_int_equal(oci_reference_parse(cases[i].typed, &reference, &err), -EINVAL);
                        continue;
                }
                assert_int_equal(oci_reference_parse(cases[i].typed, &reference, &err), 0);
                whole = oci_reference_format(&reference);
                local = oci_reference_local_name(&reference, false);
                local_whole = oci_reference_local_name(&reference, true);
                assert_string_equal(whole, cases[i].whole);
                assert_string_equal(oci_reference_host(&reference), cases[i].host);
                assert_string_equal(local, cases[i].local);
                assert_string_equal(local_whole, cases[i].local_whole);
        }
}

static void wrong_names_are_told_what_is_wrong(void **state)
{
        static const struct {
                const char *typed, *said;
        } cases[] = {
                {"",                    "an image has a name"       },
                { "Debian",             "capital letters"           },
                { "debian:",            "is not a tag"              },
                { "debian:-x",          "is not a tag"              },
                { "debian@sha256:12",   "is not a digest"           },
                { "debian@md5:12",      "is not a digest"           },
                { "https://ghcr.io/x",  "no scheme; try 'ghcr.io/x'"},
                { "a b",                "neither spaces"            },
                { "h:99999/x",          "is not a registry"         },
                { "h:0/x",              "is not a registry"         },
                { "-h.x/x",             "is not a registry"         },
                { "a//b",               "is not a repository"       },
                { "a/b/",               "is not a repository"       },
                { "a___b",              "is not a repository"       },
                { "a..b/c",             "is not a registry"         },
                { "x/..",               "is not a repository"       },
                { "oci:",               "names no folder"           },
                { "oci-archive:",       "names no file"             },
                { "docker-archive:/x:", "is empty"                  },
                { "x\x1b[2J",           "neither spaces"            },
        };
        char many[OCI_REFERENCE_MAX + 2];

        (void) state;
        memset(many, 'a', sizeof(many));
        many[sizeof(many) - 1] = '\0';
        for (size_t i = 0; i <= N_ELEMENTS(cases); i++) {
                struct oci_reference reference = { 0 };
                struct err err = { 0 };
                const char *typed = i < N_ELEMENTS(cases) ? cases[i].typed : many;

                assert_int_equal(oci_reference_parse(typed, &reference, &err), -EINVAL);
                assert_non_null(strstr(err.message, i < N_ELEMENTS(cases) ? cases[i].said : "at most 512"));
        }
}

static void places_on_this_machine_are_told_from_registries(void **state)
{
        static const struct {
                const char *typed;
                enum oci_transport transport;
                const char *path, *tag, *local;
        } cases[] = {
                {"oci:/a/app",                OCI_TRANSPORT_LAYOUT,         "/a/app",    NULL, "app"   },
                { "oci:/a/app/:v1",           OCI_TRANSPORT_LAYOUT,         "/a/app/",   "v1", "app-v1"},
                { "oci-archive:x.tar",        OCI_TRANSPORT_OCI_ARCHIVE,    "x.tar",     NULL, "x"     },
                { "docker-archive:/b.tar.gz", OCI_TRANSPORT_DOCKER_ARCHIVE, "/b.tar.gz", NULL, "b"     },
                { "docker-archive:/c:d/b:t",  OCI_TRANSPORT_DOCKER_ARCHIVE, "/c:d/b",    "t",  "b-t"   },
                { "-",                        OCI_TRANSPORT_STDIN,          NULL,        NULL, ""      },
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                scoped(oci_reference_done) struct oci_reference reference = { 0 };
                struct err err = { 0 };
                scoped_free char *whole = NULL, *local = NULL;

                assert_int_equal(oci_reference_parse(cases[i].typed, &reference, &err), 0);
                assert_int_equal(reference.transport, cases[i].transport);
                assert_true(cases[i].path ? reference.path && strcmp(reference.path, cases[i].path) == 0
                                          : !reference.path);
                assert_true(cases[i].tag ? reference.tag && strcmp(reference.tag, cases[i].tag) == 0
                                         : !reference.tag);
                whole = oci_reference_format(&reference);
                local = oci_reference_local_name(&reference, false);
                assert_string_equal(whole, cases[i].typed);
                assert_string_equal(local, cases[i].local);
        }
}

static void a_local_name_fits_and_stays_its_own(void **state)
{
        static const char long_one[] =
                "ghcr.io/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb:one";
        static const char other[] =
                "ghcr.io/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb:two";
        scoped(oci_reference_done) struct oci_reference first = { 0 }, second = { 0 };
        scoped_free char *a = NULL, *b = NULL;
        struct err err = { 0 };

        (void) state;
        assert_int_equal(oci_reference_parse(long_one, &first, &err), 0);
        assert_int_equal(oci_reference_parse(other, &second, &err), 0);
        a = oci_reference_local_name(&first, true);
        b = oci_reference_local_name(&second, true);
        assert_int_equal(strlen(a), OCI_LOCAL_NAME_MAX);
        assert_string_not_equal(a, b);
}

#define CONFIG_PART       "\"config\":{\"digest\":\"" DIGEST "\",\"size\":2}"
#define LAYER(type, size) "{\"mediaType\":\"" type "\",\"digest\":\"" OTHER "\",\"size\":" size "}"
#define GZIP              "application/vnd.oci.image.layer.v1.tar+gzip"

static void manifests_of_both_worlds_are_read(void **state)
{
        static const char text[] =
                "{\"schemaVersion\":2," CONFIG_PART
                ",\"layers\":[" LAYER("application/vnd.oci.image.layer.v1.tar", "1") "," LAYER(
                        GZIP,
                        "2") "," LAYER("application/vnd.oci.image.layer.v1.tar+zstd",
                                       "3") "," LAYER("application/vnd.docker.image.rootfs.diff.tar.gzip",
                                                      "4") "]}";
        static const enum oci_compression wanted[] = { OCI_COMPRESSION_NONE, OCI_COMPRESSION_GZIP,
                                                       OCI_COMPRESSION_ZSTD, OCI_COMPRESSION_GZIP };
        scoped(oci_manifest_done) struct oci_manifest manifest = { 0 };
        struct err err = { 0 };

        (void) state;
        assert_int_equal(oci_manifest_parse(text, strlen(text), "x", &manifest, &err), 0);
        assert_false(manifest.is_index);
        assert_string_equal(manifest.config.digest, DIGEST);
        assert_int_equal(manifest.n_layers, N_ELEMENTS(wanted));
        for (size_t i = 0; i < N_ELEMENTS(wanted); i++) {
                assert_int_equal(manifest.layers[i].compression, wanted[i]);
                assert_int_equal(manifest.layers[i].size, i + 1);
        }
}

static void an_index_gives_our_platform_or_says_which_there_are(void **state)
{
#define ENTRY(digest, os, arch)                                                              \
        "{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"" digest \
        "\",\"size\":9,"                                                                     \
        "\"platform\":{\"os\":\"" os "\",\"architecture\":\"" arch "\"}}"
        static const char both[] = "{\"manifests\":[" ENTRY(OTHER, "linux", "arm64") "," ENTRY(
                DIGEST, "linux", "amd64") "," ENTRY(OTHER, "unknown", "unknown") "]}";
        static const char none[] =
                "{\"manifests\":[" ENTRY(OTHER, "linux", "arm64") "," ENTRY(OTHER, "unknown", "unknown") "]}";
        static const char unsaid[] = "{\"manifests\":[{\"digest\":\"" DIGEST "\",\"size\":9}]}";
        scoped(oci_manifest_done) struct oci_manifest manifest = { 0 };
        struct err err = { 0 };

        (void) state;
        assert_int_equal(oci_manifest_parse(both, strlen(both), "x", &manifest, &err), 0);
        assert_true(manifest.is_index);
        assert_string_equal(manifest.chosen.digest, DIGEST);
        assert_int_equal(oci_manifest_parse(unsaid, strlen(unsaid), "x", &manifest, &err), 0);
        assert_string_equal(manifest.chosen.digest, DIGEST);
        assert_int_equal(oci_manifest_parse(none, strlen(none), "x", &manifest, &err), -ENOENT);
        assert_non_null(strstr(err.message, "only for linux/arm64"));
        assert_null(strstr(err.message, "unknown"));
}

#define WITH(layer) "{" CONFIG_PART ",\"layers\":[" layer "]}"
#define FOREIGN     "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
#define INDEX_CLAIM "\"mediaType\":\"application/vnd.oci.image.index.v1+json\","
#define LYING_INDEX "{" INDEX_CLAIM CONFIG_PART ",\"layers\":[" LAYER(GZIP, "1") "]}"

static void other_manifests_are_refused_by_name(void **state)
{
        static const char *const texts[] = { "[]",
                                             "{}",
                                             "{\"manifests\":[],\"layers\":[]}",
                                             "{\"schemaVersion\":1,\"fsLayers\":[]}",
                                             "{\"mediaType\":\"text/html\"}",
                                             LYING_INDEX,
                                             WITH(""),
                                             "{\"config\":{\"digest\":\"x\",\"size\":1},\"layers\":[1]}",
                                             WITH(LAYER(GZIP, "-1")),
                                             WITH(LAYER(GZIP, "68719476737")),
                                             WITH(LAYER(FOREIGN, "1")),
                                             WITH(LAYER("application/wasm", "1")) };
        static const struct {
                int code;
                const char *said;
        } wanted[N_ELEMENTS(texts)] = {
                {EBADMSG,  "neither a manifest"      },
                { EBADMSG, "neither a manifest"      },
                { EBADMSG, "neither a manifest"      },
                { ENOTSUP, "schema 1"                },
                { ENOTSUP, "no image but 'text/html'"},
                { EBADMSG, "neither a manifest"      },
                { EBADMSG, "no layers"               },
                { EBADMSG, "no sha256 digest"        },
                { EBADMSG, "no size"                 },
                { E2BIG,   "beyond the limit"        },
                { ENOTSUP, "not distributed"         },
                { ENOTSUP, "no file system's"        },
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
                struct oci_manifest manifest = { 0 };
                struct err err = { 0 };

                assert_int_equal(oci_manifest_parse(texts[i], strlen(texts[i]), "x", &manifest, &err),
                                 -wanted[i].code);
                assert_non_null(strstr(err.message, wanted[i].said));
        }
}

static void a_configuration_gives_what_running_needs(void **state)
{
        static const char text[] =
                "{\"architecture\":\"amd64\",\"os\":\"linux\",\"created\":\"2024-02-03T04:05:06.789Z\","
                "\"config\":{\"Env\":[\"A=b\"],\"Entrypoint\":[\"/e\"],\"Cmd\":null,\"WorkingDir\":\"/"
                "w\",\"User\":\"\","
                "\"StopSignal\":\"SIGINT\",\"Labels\":{\"x\":\"y\"}},"
                "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" DIGEST "\"]}}";
        scoped(oci_config_done) struct oci_config config = { 0 };
        struct err err = { 0 };

        (void) state;
        assert_int_equal(oci_config_parse(text, strlen(text), 1, "x", &config, &err), 0);
        assert_int_equal(config.created_s, 1706933106);
        assert_string_equal(config.diff_ids[0], DIGEST);
        assert_string_equal(json_text(config.run, "working_dir"), "/w");
        assert_string_equal(json_text(config.run, "stop_signal"), "SIGINT");
        assert_int_equal(json_array_size(json_object_get(config.run, "entrypoint")), 1);
        assert_null(json_object_get(config.run, "cmd"));
        assert_null(json_object_get(config.run, "user"));
}

static void a_configuration_for_another_image_or_machine_is_refused(void **state)
{
#define IDS ",\"rootfs\":{\"diff_ids\":[\"" DIGEST "\"]}}"
        static const struct {
                const char *text;
                int code;
        } cases[] = {
                {"{\"os\":\"linux\"}",                         EBADMSG},
                { "{\"os\":\"windows\"" IDS,                   ENOTSUP},
                { "{\"architecture\":\"arm64\"" IDS,           ENOTSUP},
                { "{\"config\":{\"Env\":\"A=b\"}" IDS,         EBADMSG},
                { "{\"config\":{\"Cmd\":[1]}" IDS,             EBADMSG},
                { "{\"rootfs\":{\"diff_ids\":[\"x\"]}}",       EBADMSG},
                { "{\"rootfs\":{\"diff_ids\":[\"a\",\"b\"]}}", EBADMSG},
                { "no json",                                   EBADMSG},
        };
        scoped_text struct text big = { 0 };
        struct oci_config config = { 0 };
        struct err err = { 0 };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                err = (struct err){ 0 };
                assert_int_equal(
                        oci_config_parse(cases[i].text, strlen(cases[i].text), 1, "x", &config, &err),
                        -cases[i].code);
        }
        err = (struct err){ 0 };
        text_append(&big, "{\"config\":{\"User\":\"");
        for (size_t i = 0; i < OCI_RUN_BYTES_MAX; i++)
                text_append(&big, "u");
        text_append(&big, "\"}" IDS);
        assert_int_equal(oci_config_parse(big.s, big.n, 1, "x", &config, &err), -E2BIG);
}

static void challenges_are_read_as_servers_write_them(void **state)
{
        static const struct {
                const char *header;
                enum oci_auth_scheme scheme;
                const char *realm, *service, *scope;
        } cases[] = {
                {"Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:x:pull,push\"",
                 OCI_AUTH_BEARER,                                                                                "https://a/t",  "s",  "repository:x:pull,push"},
                { "bearer service=s , realm=\"https://a\\\"b\"",                                OCI_AUTH_BEARER, "https://a\"b", "s",  NULL                    },
                { "Basic realm=\"x\"",                                                          OCI_AUTH_BASIC,  NULL,           NULL, NULL                    },
                { "Basic realm=\"x\"\nBearer realm=\"https://a\"",                              OCI_AUTH_BEARER, "https://a",    NULL, NULL                    },
                { "Bearer realm=\"unfinished",                                                  OCI_AUTH_NONE,   NULL,           NULL, NULL                    },
                { "Negotiate",                                                                  OCI_AUTH_NONE,   NULL,           NULL, NULL                    },
                { "",                                                                           OCI_AUTH_NONE,   NULL,           NULL, NULL                    },
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                scoped(oci_challenge_done) struct oci_challenge challenge = { 0 };

                oci_challenge_parse(cases[i].header, &challenge);
                assert_int_equal(challenge.scheme, cases[i].scheme);
                if (challenge.scheme != OCI_AUTH_BEARER)
                        continue;
                assert_string_equal(challenge.realm, cases[i].realm);
                assert_true(cases[i].service ? strcmp(challenge.service, cases[i].service) == 0
                                             : !challenge.service);
                assert_true(cases[i].scope ? strcmp(challenge.scope, cases[i].scope) == 0 : !challenge.scope);
        }
}

static void logins_are_found_by_the_forms_that_keys_have(void **state)
{
        static const char text[] = "{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"dTpwOnc=\"},"
                                   "\"r.example\":{\"username\":\"u\",\"password\":\"p\"},"
                                   "\"r.example/deep\":{\"identitytoken\":\"t\"},"
                                   "\"bad.example\":{\"auth\":\"%%%\"}},"
                                   "\"credHelpers\":{\"h.example\":\"help\",\"evil.example\":\"../x\"}}";
        static const struct {
                const char *registry, *repository;
                int code;
                const char *user, *secret, *token, *helper;
        } cases[] = {
                {"docker.io",      "library/x", 0,       "u",  "p:w", NULL, NULL  },
                { "r.example",     "x",         0,       "u",  "p",   NULL, NULL  },
                { "r.example",     "deep/x",    0,       NULL, NULL,  "t",  NULL  },
                { "r.example",     "deeper",    0,       "u",  "p",   NULL, NULL  },
                { "r.example.com", "x",         0,       NULL, NULL,  NULL, NULL  },
                { "h.example",     "x",         0,       NULL, NULL,  NULL, "help"},
                { "bad.example",   "x",         EBADMSG, NULL, NULL,  NULL, NULL  },
                { "evil.example",  "x",         EBADMSG, NULL, NULL,  NULL, NULL  },
        };
        json_auto_t *document = json_loads(text, 0, NULL);

        (void) state;
        assert_non_null(document);
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                scoped(oci_docker_login_done) struct oci_docker_login login = { 0 };
                const struct oci_credentials *found = &login.credentials;
                struct err err = { 0 };

#define SAME(wanted, got) ((wanted) ? (got) && strcmp(wanted, got) == 0 : !(got))
                assert_int_equal(oci_docker_config_find(document, cases[i].registry, cases[i].repository,
                                                        &login, &err),
                                 -cases[i].code);
                assert_true(SAME(cases[i].user, found->user) && SAME(cases[i].secret, found->secret));
                assert_true(SAME(cases[i].token, found->identity_token) &&
                            SAME(cases[i].helper, login.helper));
        }
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(names_get_what_docker_fills_in),
                cmocka_unit_test(wrong_names_are_told_what_is_wrong),
                cmocka_unit_test(places_on_this_machine_are_told_from_registries),
                cmocka_unit_test(a_local_name_fits_and_stays_its_own),
                cmocka_unit_test(manifests_of_both_worlds_are_read),
                cmocka_unit_test(an_index_gives_our_platform_or_says_which_there_are),
                cmocka_unit_test(other_manifests_are_refused_by_name),
                cmocka_unit_test(a_configuration_gives_what_running_needs),
                cmocka_unit_test(a_configuration_for_another_image_or_machine_is_refused),
                cmocka_unit_test(challenges_are_read_as_servers_write_them),
                cmocka_unit_test(logins_are_found_by_the_forms_that_keys_have),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
