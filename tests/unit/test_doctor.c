#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "doctor/doctor.h"
#include "doctor/doctor_checks.h"
#include "unit.h"

struct fixture {
        char folder[32];
        char os_release[64], tun[64], kvm[64], subids[64], namespaces[64], install[64];
        char state[64], cache[64], runtime[64], helper[64];
        struct layout layout;
        struct doctor_context context;
        struct doctor_result result;
};

static int setup(void **state)
{
        struct fixture *f = xcalloc(1, sizeof(*f));

        (void) strncpy(f->folder, "/tmp/test-doctor-XXXXXX", sizeof(f->folder) - 1);
        if (!mkdtemp(f->folder))
                return -1;
        (void) snprintf(f->os_release, sizeof(f->os_release), "%s/os-release", f->folder);
        (void) snprintf(f->tun, sizeof(f->tun), "%s/tun", f->folder);
        (void) snprintf(f->kvm, sizeof(f->kvm), "%s/kvm", f->folder);
        (void) snprintf(f->subids, sizeof(f->subids), "%s/subids", f->folder);
        (void) snprintf(f->namespaces, sizeof(f->namespaces), "%s/namespaces", f->folder);
        (void) snprintf(f->install, sizeof(f->install), "%s/install.toml", f->folder);
        (void) snprintf(f->state, sizeof(f->state), "%s/state", f->folder);
        (void) snprintf(f->cache, sizeof(f->cache), "%s/cache", f->folder);
        (void) snprintf(f->runtime, sizeof(f->runtime), "%s/run", f->folder);
        (void) snprintf(f->helper, sizeof(f->helper), "%s/helper.sock", f->folder);
        f->layout = (struct layout){ .state = f->state,
                                     .cache = f->cache,
                                     .runtime = f->runtime,
                                     .helper_socket = f->helper,
                                     .owner_uid = geteuid(),
                                     .owner_gid = getegid() };
        doctor_context_init(&f->layout, &f->context);
        f->context.os_release = f->os_release;
        f->context.tun = f->tun;
        f->context.kvm = f->kvm;
        f->context.subuid = f->context.subgid = f->subids;
        f->context.max_user_namespaces = f->namespaces;
        f->context.install_file = f->install;
        f->result.details = json_array();
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;
        struct err err = { 0 };
        int r = file_remove_tree(f->folder, &err);

        json_decref(f->result.details);
        free(f);
        return r;
}

static void write_file(const char *path, const char *text)
{
        struct err err = { 0 };

        if (file_replace(path, text, strlen(text), 0600, &err) < 0)
                fail_msg("%s", err.message);
}

/* Runs one check anew. */
static void run(struct fixture *f, void (*check)(const struct doctor_context *, struct doctor_result *))
{
        json_decref(f->result.details);
        f->result = (struct doctor_result){ .details = json_array() };
        check(&f->context, &f->result);
}

static bool says(const struct fixture *f, const char *part)
{
        const json_t *line;
        size_t i;

        json_array_foreach (f->result.details, i, line)
                if (strstr(json_string_value(line), part))
                        return true;
        return false;
}

static const char *answer;

static int answer_version(const char *const *argv, char **ret_output, struct err *err)
{
        (void) argv;
        if (!answer)
                return err_set(err, EIO, "test", "it does not run");
        *ret_output = xstrdup(answer);
        return 0;
}
static const struct vmm_runner answering = { answer_version };

/* S-286, S-287, S-409 */
static void firecracker_is_judged_by_its_version(void **state)
{
        static const struct {
                const char *output;
                enum doctor_status status;
                const char *said;
        } cases[] = {
                {"Firecracker v1.14.1\n",  DOCTOR_PASS,
                 "v1.14.1 at /bin/true (within tested range; min v1.5.0, tested v1.14.1)"              },
                { "Firecracker v1.5.0\n",  DOCTOR_PASS, "v1.5.0 at /bin/true (within tested range"     },
                { "Firecracker v1.4.9\n",  DOCTOR_FAIL, "v1.4.9 at /bin/true (too old"                 },
                { "Firecracker v1.16.1\n", DOCTOR_PASS, "within Firecracker's promise of compatibility"},
                { "Firecracker v1.17.0\n", DOCTOR_WARN, "newer than tested; min v1.5.0, tested v1.14.1"},
                { "garbage",               DOCTOR_FAIL, "'/bin/true': no line 'Firecracker vX.Y.Z'"    },
                { NULL,                    DOCTOR_FAIL, "it does not run"                              },
        };
        struct fixture *f = *state;

        f->context.runner = &answering;
        f->context.firecracker_path = "/bin/true";
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                answer = cases[i].output;
                run(f, doctor_firecracker);
                assert_int_equal(f->result.status, cases[i].status);
                assert_true(says(f, cases[i].said));
        }
}

static void a_missing_firecracker_fails_only_where_it_is_chosen(void **state)
{
        struct fixture *f = *state;

        f->context.firecracker_path = "/nonexistent/firecracker";
        f->context.vmm = VMM_CHOICE_FIRECRACKER;
        run(f, doctor_firecracker);
        assert_int_equal(f->result.status, DOCTOR_FAIL);
        assert_true(says(f, "https://github.com/firecracker-microvm/firecracker/releases"));
        f->context.vmm = VMM_CHOICE_AUTO;
        run(f, doctor_firecracker);
        assert_int_not_equal(f->result.status, DOCTOR_FAIL);
        f->context.vmm = VMM_CHOICE_QEMU;
        run(f, doctor_firecracker);
        assert_int_equal(f->result.status, DOCTOR_PASS);
}

/* S-288, S-289, S-410 */
static void distributions_are_told_apart(void **state)
{
        static const struct {
                const char *os_release; /* NULL: no file */
                enum doctor_distribution distribution;
                const char *firecracker, *git;
        } cases[] = {
                {"ID=debian\n",                                  DOCTOR_DEBIAN, "apt-get",  "sudo apt-get install git"},
                { "NAME=x\nID=pop\nID_LIKE=\"ubuntu debian\"\n", DOCTOR_DEBIAN, "apt-get",
                 "sudo apt-get install git"                                                                           },
                { "ID=arch\n",                                   DOCTOR_ARCH,   "paru",     "sudo pacman -S git"      },
                { "ID=manjaro\nID_LIKE=arch\n",                  DOCTOR_ARCH,   "paru",     "sudo pacman -S git"      },
                { "ID=nixos\n",                                  DOCTOR_NIXOS,  "nix-env",  "nix-env -iA nixos.git"   },
                { "ID=fedora\n",                                 DOCTOR_FEDORA, "https://", "sudo dnf install git"    },
                { "ID=\"alpine\"\n",                             DOCTOR_OTHER,  "https://", "install git"             },
                { "VERSION_ID=debian\n",                         DOCTOR_OTHER,  "https://", "install git"             },
                { "",                                            DOCTOR_OTHER,  "https://", "install git"             },
                { NULL,                                          DOCTOR_OTHER,  "https://", "install git"             },
        };
        struct fixture *f = *state;

        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                scoped_free char *git = NULL;
                enum doctor_distribution distribution;

                (void) unlink(f->os_release);
                if (cases[i].os_release)
                        write_file(f->os_release, cases[i].os_release);
                distribution = doctor_distribution_find(f->os_release);
                git = doctor_install_hint(distribution, DOCTOR_PACKAGE_GIT);
                assert_int_equal(distribution, cases[i].distribution);
                assert_non_null(strstr(doctor_firecracker_hint(distribution), cases[i].firecracker));
                assert_string_equal(git, cases[i].git);
                if (distribution == DOCTOR_OTHER)
                        assert_true(text_starts_with(doctor_firecracker_hint(distribution), "https://"));
        }
}

static void only_one_architecture_passes(void **state)
{
        struct fixture *f = *state;

        f->context.machine = "x86_64";
        run(f, doctor_architecture);
        assert_int_equal(f->result.status, DOCTOR_PASS);
        f->context.machine = "aarch64";
        run(f, doctor_architecture);
        assert_int_equal(f->result.status, DOCTOR_FAIL);
        assert_true(says(f, "aarch64"));
}

static void without_kvm_the_translator_is_named(void **state)
{
        struct fixture *f = *state;

        run(f, doctor_virtualization);
        assert_int_equal(f->result.status, DOCTOR_WARN);
        assert_true(says(f, "TCG"));
        write_file(f->kvm, "");
        run(f, doctor_virtualization);
        assert_int_equal(f->result.status, DOCTOR_PASS);
}

static void a_device_that_is_a_file_is_no_device(void **state)
{
        struct fixture *f = *state;

        run(f, doctor_tun);
        assert_int_equal(f->result.status, DOCTOR_FAIL);
        assert_true(says(f, "modprobe tun"));
        write_file(f->tun, "");
        run(f, doctor_tun);
        assert_int_equal(f->result.status, DOCTOR_FAIL);
        f->context.tun = "/dev/null";
        run(f, doctor_tun);
        assert_int_equal(f->result.status, DOCTOR_PASS);
}

static void folders_must_be_private_and_the_owners(void **state)
{
        struct fixture *f = *state;

        run(f, doctor_folders);
        assert_int_equal(f->result.status, DOCTOR_PASS); /* none of them is there yet */
        assert_int_equal(mkdir(f->state, 0700), 0);
        run(f, doctor_folders);
        assert_int_equal(f->result.status, DOCTOR_PASS);
        assert_int_equal(chmod(f->state, 0710), 0);
        run(f, doctor_folders);
        assert_int_equal(f->result.status, DOCTOR_FAIL);
        assert_true(says(f, "chmod 700"));
        assert_int_equal(chmod(f->state, 0700), 0);
        f->layout.owner_uid++;
        run(f, doctor_folders);
        assert_int_equal(f->result.status, DOCTOR_FAIL);
        assert_true(says(f, "chown -R"));
        f->layout.owner_uid--;
        assert_int_equal(symlink(f->state, f->cache), 0);
        run(f, doctor_folders);
        assert_int_equal(f->result.status, DOCTOR_FAIL);
}

static void the_store_is_looked_at_and_left_alone(void **state)
{
        struct fixture *f = *state;
        char path[80];

        assert_int_equal(mkdir(f->state, 0700), 0);
        run(f, doctor_store);
        assert_int_equal(f->result.status, DOCTOR_PASS);
        (void) snprintf(path, sizeof(path), "%s/banger.db", f->state);
        assert_int_equal(access(path, F_OK), -1);
        write_file(
                path,
                "this is a text of a person, long enough to be taken for the head of a database, but none");
        run(f, doctor_store);
        assert_int_equal(f->result.status, DOCTOR_FAIL);
}

static void ranges_of_ids_are_found_by_uid_and_size(void **state)
{
        struct fixture *f = *state;
        char line[64];

        f->layout.owner_uid = 4242;
        write_file(f->namespaces, "1000\n");
        run(f, doctor_namespaces);
        assert_int_equal(f->result.status, DOCTOR_WARN);
        write_file(f->subids, "4242:100000:65535\n42:1:65536\n4242:\n:::\n");
        run(f, doctor_namespaces);
        assert_int_equal(f->result.status, DOCTOR_WARN);
        (void) snprintf(line, sizeof(line), "other:1:65536\n4242:100000:65536\n");
        write_file(f->subids, line);
        run(f, doctor_namespaces);
        assert_int_equal(f->result.status, DOCTOR_PASS);
        write_file(f->namespaces, "0\n");
        run(f, doctor_namespaces);
        assert_int_equal(f->result.status, DOCTOR_WARN);
}

/* S-284, S-285, S-295 */
static void an_installation_is_compared_with_this_program(void **state)
{
        struct fixture *f = *state;

        run(f, doctor_install);
        assert_int_equal(f->result.status, DOCTOR_WARN);
        assert_true(says(f, "docs/privileges.md > \"Running outside the system install\""));
        write_file(f->install, "owner_uid = 1000\nversion = \"dev\"\ncommit = \"0000\"\nbuilt_at = \"x\"\n");
        run(f, doctor_install);
        assert_int_equal(f->result.status, DOCTOR_PASS);
        run(f, doctor_version);
        assert_int_equal(f->result.status, DOCTOR_PASS); /* dev builds are not compared */
        write_file(f->install, "version = ");
        run(f, doctor_version);
        assert_int_equal(f->result.status, DOCTOR_WARN);
}

static void an_image_without_a_known_kernel_is_no_failure(void **state)
{
        struct fixture *f = *state;

        run(f, doctor_kernel);
        assert_int_equal(f->result.status, DOCTOR_WARN);
        assert_true(says(f, "banger kernel pull debian-6.1"));
        f->context.kernel = NULL;
        run(f, doctor_kernel);
        assert_int_equal(f->result.status, DOCTOR_PASS);
        run(f, doctor_image);
        assert_int_equal(f->result.status, DOCTOR_WARN);
        assert_true(says(f, "banger image pull debian-bookworm"));
}

static void nobody_at_the_helpers_socket_is_a_failure(void **state)
{
        struct fixture *f = *state;

        run(f, doctor_helper);
        assert_int_equal(f->result.status, DOCTOR_FAIL);
        assert_true(says(f, f->helper));
}

static void a_report_has_every_check_and_knows_its_failures(void **state)
{
        struct fixture *f = *state;
        json_auto_t *report = doctor_run_all(&f->context);
        json_auto_t *fine = json_pack("[{s:s}, {s:s}]", "status", "pass", "status", "warn");
        size_t n = 0;

        while (doctor_checks[n].name)
                n++;
        assert_int_equal(json_array_size(report), n);
        for (size_t i = 0; i < n; i++) {
                const json_t *row = json_array_get(report, i);

                assert_string_equal(json_text(row, "name"), doctor_checks[i].name);
                assert_true(json_array_size(json_object_get(row, "details")) > 0);
        }
        assert_true(doctor_report_has_failure(report)); /* no helper, no tun */
        assert_false(doctor_report_has_failure(fine));
}

#define DOCTOR_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                DOCTOR_TEST(firecracker_is_judged_by_its_version),
                DOCTOR_TEST(a_missing_firecracker_fails_only_where_it_is_chosen),
                DOCTOR_TEST(distributions_are_told_apart),
                DOCTOR_TEST(only_one_architecture_passes),
                DOCTOR_TEST(without_kvm_the_translator_is_named),
                DOCTOR_TEST(a_device_that_is_a_file_is_no_device),
                DOCTOR_TEST(folders_must_be_private_and_the_owners),
                DOCTOR_TEST(the_store_is_looked_at_and_left_alone),
                DOCTOR_TEST(ranges_of_ids_are_found_by_uid_and_size),
                DOCTOR_TEST(an_installation_is_compared_with_this_program),
                DOCTOR_TEST(an_image_without_a_known_kernel_is_no_failure),
                DOCTOR_TEST(nobody_at_the_helpers_socket_is_a_failure),
                DOCTOR_TEST(a_report_has_every_check_and_knows_its_failures),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
