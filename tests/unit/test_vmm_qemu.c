/* banger-qemu without a guest: command line, kernel command line, QEMU's arguments, QMP, the console, the requests. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/scoped.h"
#include "base/text.h"
#include "unit.h"
#include "vmm/qemu/guest_memory.h"
#include "vmm/qemu/host_tsc.h"
#include "vmm/qemu/kernel_cmdline.h"
#include "vmm/qemu/kvm_probe.h"
#include "vmm/qemu/qemu_command.h"
#include "vmm/qemu/qmp.h"
#include "vmm/qemu/vm_console.h"
#include "vmm/qemu/vm_instance.h"
#include "vmm/qemu/vm_log.h"
#include "vmm/qemu/vm_options.h"

#define ARGS_MAX 8

static int parse(const char *const *args, struct vm_options *options, struct err *err)
{
        static char copies[ARGS_MAX][128];
        char *argv[ARGS_MAX + 1] = { copies[0] };
        int argc = 1;

        (void) snprintf(copies[0], sizeof(copies[0]), "banger-qemu");
        for (; args[argc - 1]; argc++) {
                (void) snprintf(copies[argc], sizeof(copies[argc]), "%s", args[argc - 1]);
                argv[argc] = copies[argc];
        }
        return vm_options_parse(argc, argv, options, err);
}

static void options_take_both_forms(void **state)
{
        const char *const args[] = { "--api-sock", "/a",  "--id=x-1",     "--tap=t0=7",
                                     "--accel",    "tcg", "--no-seccomp", NULL };
        struct vm_options options;
        struct err err = { 0 };

        (void) state;
        assert_int_equal(parse(args, &options, &err), 0);
        assert_string_equal(options.api_sock, "/a");
        assert_string_equal(options.id, "x-1");
        assert_int_equal(options.n_taps, 1);
        assert_string_equal(options.taps[0], "t0=7");
        assert_int_equal(options.accel, VM_ACCEL_TCG);
        assert_true(options.no_seccomp);
        assert_int_equal(options.payload_max, 51200);
        assert_int_equal(options.mmds_max, 51200);
}

static void wrong_options_are_refused(void **state)
{
        // clang-format off
        static const char *const cases[][3] = {
                {"--nonsense"},
                { "-x" },
                { "word" },
                { "--id" },
                { "--id=" },
                { "--id", "a_b" },
                { "--id", "" },
                { "--no-api" },
                { "--no-api=1" },
                { "--level", "loud" },
                { "--accel", "xen" },
                { "--http-api-max-payload-size", "many" },
                { "--config-file=a", "--config-file=b" },
        };
        // clang-format on

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct vm_options options;
                struct err err = { 0 };

                if (parse(cases[i], &options, &err) != -EINVAL)
                        fail_msg("case %zu (%s) was accepted", i, cases[i][0]);
        }
}

static char *cmdline(const struct kernel_cmdline *wish)
{
        struct err err = { 0 };
        char *line = NULL;

        assert_int_equal(kernel_cmdline_build(wish, &line, &err), 0);
        return line;
}

static void the_kernel_is_told_root_and_clock(void **state)
{
        // clang-format off
        static const struct {
                struct kernel_cmdline wish;
                const char *line;
        } cases[] = {
                {{ .boot_args = "a" },                                                      "a"                               },
                { { .boot_args = "a", .has_root = true },                                   "a root=/dev/vda rw"              },
                { { .boot_args = "a", .has_root = true, .root_read_only = true },           "a root=/dev/vda ro"              },
                { { .boot_args = "a", .has_root = true, .root_partuuid = "0eaa91a0-01" },   "a root=PARTUUID=0eaa91a0-01 rw"  },
                { { .boot_args = "a -- b", .has_root = true },                              "a root=/dev/vda rw -- b"         },
                { { .boot_args = "", .tsc_khz = 5 },                                        " tsc=reliable tsc_early_khz=5"   },
        };
        // clang-format on

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                scoped_free char *line = cmdline(&cases[i].wish);

                assert_string_equal(line, cases[i].line);
        }
}

static void the_default_command_line_is_firecrackers(void **state)
{
        scoped_free char *line = cmdline(&(struct kernel_cmdline){ 0 });

        (void) state;
        assert_true(text_starts_with(line, "reboot=k panic=1 nomodule 8250.nr_uarts=0"));
}

static void a_command_line_ends_at_2047_bytes(void **state)
{
        char args[KERNEL_CMDLINE_MAX + 1];
        struct kernel_cmdline wish = { .boot_args = args };
        scoped_free char *line = NULL;
        struct err err = { 0 };

        (void) state;
        memset(args, 'x', sizeof(args));
        args[KERNEL_CMDLINE_MAX - 1] = '\0';
        assert_int_equal(kernel_cmdline_build(&wish, &line, &err), 0);
        args[KERNEL_CMDLINE_MAX - 1] = 'x';
        args[KERNEL_CMDLINE_MAX] = '\0';
        assert_int_equal(kernel_cmdline_build(&wish, &line, &err), -EINVAL);
}

static void qmp_lines_are_told_apart(void **state)
{
        static const struct {
                const char *line;
                enum qmp_kind kind;
                const char *name;
        } cases[] = {
                {"{\"QMP\":{\"version\":{}}}",                                      QMP_GREETING, NULL      },
                { "{\"return\":{}}",                                                QMP_RETURN,   NULL      },
                { "{\"error\":{\"class\":\"GenericError\",\"desc\":\"no\"}}",       QMP_ERROR,    "no"      },
                { "{\"event\":\"SHUTDOWN\",\"data\":{\"reason\":\"guest-reset\"}}", QMP_EVENT,    "SHUTDOWN"},
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct qmp_message message;
                struct err err = { 0 };

                assert_int_equal(qmp_parse_line(cases[i].line, strlen(cases[i].line), &message, &err), 0);
                assert_int_equal(message.kind, cases[i].kind);
                if (cases[i].name)
                        assert_string_equal(message.name, cases[i].name);
                qmp_message_done(&message);
        }
}

static void what_is_no_qmp_is_refused(void **state)
{
        static const char *const lines[] = { "",           "[]", "{}", "{\"event\":1}", "{\"error\":\"x\"}",
                                             "{\"return\"" };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(lines); i++) {
                struct qmp_message message;
                struct err err = { 0 };

                assert_int_equal(qmp_parse_line(lines[i], strlen(lines[i]), &message, &err), -EPROTO);
        }
}

static void qmp_pieces_become_lines(void **state)
{
        struct qmp_buffer buffer = { 0 };
        struct qmp_message message;
        struct err err = { 0 };

        (void) state;
        assert_int_equal(qmp_buffer_take(&buffer, &message, &err), 0);
        assert_int_equal(qmp_buffer_add(&buffer, "{\"ret", 5, &err), 0);
        assert_int_equal(qmp_buffer_take(&buffer, &message, &err), 0);
        assert_int_equal(qmp_buffer_add(&buffer, "urn\":{}}\r\n{\"return\":1}\n", 24, &err), 0);
        for (int i = 0; i < 2; i++) {
                assert_int_equal(qmp_buffer_take(&buffer, &message, &err), 1);
                assert_int_equal(message.kind, QMP_RETURN);
                qmp_message_done(&message);
        }
        assert_int_equal(qmp_buffer_take(&buffer, &message, &err), 0);
        qmp_buffer_done(&buffer);
}

static void an_endless_qmp_line_is_refused(void **state)
{
        struct qmp_buffer buffer = { 0 };
        scoped_free char *much = xcalloc(1, QMP_LINE_MAX);
        struct err err = { 0 };

        (void) state;
        assert_int_equal(qmp_buffer_add(&buffer, much, QMP_LINE_MAX, &err), 0);
        assert_int_equal(qmp_buffer_add(&buffer, much, 1, &err), -EFBIG);
        qmp_buffer_done(&buffer);
}

static void the_console_is_cut_when_full(void **state)
{
        scoped_close int fd = memfd_create("console", MFD_CLOEXEC);
        scoped_free char *block = xmalloc(65536);
        struct vm_console console;
        char last[4];

        (void) state;
        memset(block, 'x', 65536);
        vm_console_init(&console, fd);
        for (int i = 0; i < VM_CONSOLE_MAX / 65536; i++)
                vm_console_write(&console, block, 65536);
        assert_int_equal(lseek(fd, 0, SEEK_END), VM_CONSOLE_MAX);
        vm_console_write(&console, "end!", 4);
        assert_in_range(lseek(fd, 0, SEEK_END), VM_CONSOLE_KEEP, VM_CONSOLE_KEEP + 64);
        assert_int_equal(pread(fd, last, 4, lseek(fd, 0, SEEK_END) - 4), 4);
        assert_memory_equal(last, "end!", 4);
}

/* A request against an instance that never starts; returns the fault or "". */
static const char *ask(struct vm_instance *instance, const char *method, const char *path, const char *text)
{
        static struct err err;
        const struct vm_incoming incoming = {
                .method = method, .path = path, .body = text, .n = strlen(text)
        };
        struct vm_reply reply;

        err = (struct err){ 0 };
        (void) vm_instance_request(instance, &incoming, &reply, &err);
        json_decref(reply.json);
        return err.message;
}

static void requests_fail_in_firecrackers_words(void **state)
{
        /* version 14 crashes on long strings in a table */
        /* clang-format off */
        static const char *const cases[][4] = {
                { "PUT", "/boot-source", "{\"kernel_image_path\":\"/nonexistent\"}",
                  "Boot source error: The kernel file cannot be opened: No such file or directory (os error 2)" },
                { "PUT", "/actions", "{\"action_type\":\"InstanceStart\"}",
                  "Start microvm error: Cannot start microvm without kernel configuration." },
                { "PUT", "/actions", "{\"action_type\":\"SendCtrlAltDel\"}",
                  "The requested operation is not supported before starting the microVM." },
                { "PATCH", "/vm", "{\"state\":\"Paused\"}",
                  "The requested operation is not supported before starting the microVM." },
                { "PUT", "/machine-config", "{\"vcpu_count\":1}",
                  "An error occurred when deserializing the json body of a request: "
                  "missing field `mem_size_mib` at line 1 column 16." },
                { "PUT", "/machine-config", "{\"vcpu_count\":0,\"mem_size_mib\":1}",
                  "Machine config error: The vCPU number is invalid! "
                  "The vCPU number can only be 1 or an even number when SMT is enabled." },
                { "PUT", "/machine-config", "{\"vcpu_count\":3,\"mem_size_mib\":1,\"smt\":true}",
                  "Machine config error: The vCPU number is invalid! "
                  "The vCPU number can only be 1 or an even number when SMT is enabled." },
                { "PUT", "/machine-config", "{\"vcpu_count\":1,\"mem_size_mib\":0}",
                  "Machine config error: The memory size (MiB) is invalid." },
                { "PATCH", "/machine-config", "{}", "Empty PATCH request." },
                { "PUT", "/drives/a", "{\"drive_id\":\"b\",\"is_root_device\":false}",
                  "The id from the path does not match the id from the body!" },
                { "PUT", "/drives/a", "{\"drive_id\":\"a\",\"is_root_device\":false}",
                  "Drive config error: Running method expected different backend." },
                { "PUT", "/network-interfaces/a", "{\"iface_id\":\"b\",\"host_dev_name\":\"t\"}",
                  "The id from the path [a] does not match the id from the body [b]!" },
                { "PATCH", "/mmds", "{\"a\":1}", "MMDS error: The MMDS data store is not initialized." },
                { "GET", "/balloon", "", "Balloon config error: Device not found" },
        };
        /* clang-format on */
        struct vm_instance instance;

        (void) state;
        vm_instance_init(&instance, "test");
        instance.mmds.limit = 64;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++)
                assert_string_equal(ask(&instance, cases[i][0], cases[i][1], cases[i][2]), cases[i][3]);
        vm_instance_done(&instance);
}

static void put_machine_replaces_and_patch_adds(void **state)
{
        struct vm_instance instance;
        const struct vmm_machine_config *machine = &instance.config.machine;

        (void) state;
        vm_instance_init(&instance, "test");
        assert_string_equal(
                ask(&instance, "PUT", "/machine-config",
                    "{\"vcpu_count\":2,\"mem_size_mib\":64,\"smt\":true,\"track_dirty_pages\":true}"),
                "");
        assert_string_equal(ask(&instance, "PATCH", "/machine-config", "{\"mem_size_mib\":65}"), "");
        assert_int_equal(machine->mem_size_mib, 65);
        assert_true(machine->smt);
        assert_string_equal(
                ask(&instance, "PUT", "/machine-config", "{\"vcpu_count\":3,\"mem_size_mib\":64}"), "");
        assert_false(machine->smt);
        assert_false(machine->track_dirty_pages);
        vm_instance_done(&instance);
}

static void put_disk(struct vm_instance *instance, const char *id, bool is_root)
{
        scoped_free char *path = xasprintf("/drives/%s", id);
        scoped_free char *text =
                xasprintf("{\"drive_id\":\"%s\",\"path_on_host\":\"/proc/self/exe\",\"is_root_device\":%s,"
                          "\"is_read_only\":true}",
                          id, is_root ? "true" : "false");

        assert_string_equal(ask(instance, "PUT", path, text), "");
}

static void the_root_disk_comes_first(void **state)
{
        struct vm_instance instance;

        (void) state;
        vm_instance_init(&instance, "test");
        put_disk(&instance, "a", false);
        put_disk(&instance, "b", false);
        put_disk(&instance, "r", true);
        put_disk(&instance, "a", false); /* again: keeps its place */
        assert_int_equal(instance.config.n_drives, 3);
        assert_string_equal(instance.config.drives[0].body.drive_id, "r");
        assert_string_equal(instance.config.drives[1].body.drive_id, "a");
        assert_string_equal(instance.config.drives[2].body.drive_id, "b");
        assert_string_equal(
                ask(&instance, "PUT", "/drives/s",
                    "{\"drive_id\":\"s\",\"path_on_host\":\"/proc/self/exe\",\"is_root_device\":true}"),
                "Drive config error: A root block device already exists!");
        vm_instance_done(&instance);
}

static void the_thirteenth_disk_is_refused(void **state)
{
        struct vm_instance instance;
        char id[8];

        (void) state;
        vm_instance_init(&instance, "test");
        for (int i = 0; i < VM_DRIVES_MAX; i++) {
                (void) snprintf(id, sizeof(id), "d%d", i);
                put_disk(&instance, id, i == 5);
        }
        assert_true(text_starts_with(
                ask(&instance, "PUT", "/drives/x",
                    "{\"drive_id\":\"x\",\"path_on_host\":\"/proc/self/exe\",\"is_root_device\":false,"
                    "\"is_read_only\":true}"),
                "Drive config error: Could not allocate GSI"));
        vm_instance_done(&instance);
}

static void mmds_data_is_merged_and_limited(void **state)
{
        struct vm_instance instance;
        scoped_free char *text = NULL;

        (void) state;
        vm_instance_init(&instance, "test");
        instance.mmds.limit = 32;
        assert_string_equal(ask(&instance, "PUT", "/mmds", "{\"a\":{\"b\":1,\"c\":2}}"), "");
        assert_string_equal(ask(&instance, "PATCH", "/mmds", "{\"a\":{\"b\":null},\"d\":{\"e\":null}}"), "");
        text = json_dumps(instance.mmds.data, JSON_COMPACT);
        assert_string_equal(text, "{\"a\":{\"c\":2},\"d\":{}}");
        assert_string_equal(ask(&instance, "PATCH", "/mmds", "{\"long\":\"012345678901234567890123456789\"}"),
                            "MMDS error: The MMDS patch request doesn't fit.");
        vm_instance_done(&instance);
}

static bool has(const struct qemu_command *command, const char *option, const char *value)
{
        for (size_t i = 0; i + 1 < command->n; i++)
                if (strcmp(command->argv[i], option) == 0 && strcmp(command->argv[i + 1], value) == 0)
                        return true;
        return false;
}

static void devices_become_arguments(void **state)
{
        struct qemu_setup setup = {
                .qemu = "q", .id = "i", .cmdline = "c", .qmp_fd = 40, .vsock_fd = 41, .memory_fd = FD_NONE
        };
        struct qemu_command command;
        struct vm_instance instance;

        (void) state;
        vm_instance_init(&instance, "test");
        put_disk(&instance, "r", true);
        instance.config.kernel_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        instance.config.has_vsock = true;
        instance.config.has_entropy = true;
        qemu_command_build(&instance.config, &setup, &command);
        assert_string_equal(command.argv[0], "q");
        assert_true(has(&command, "-append", "c"));
        assert_true(has(&command, "-accel", "tcg,thread=multi"));
        assert_true(has(&command, "-device", "virtio-blk-device,id=blk0,drive=drive0"));
        assert_true(has(&command, "-chardev", "socket,id=vsock,fd=41"));
        assert_true(has(&command, "-device", "virtio-rng-device,rng=rng"));
        assert_false(has(&command, "-accel", "kvm"));
        assert_true(has(&command, "-object", "memory-backend-memfd,id=mem,size=128M,share=on"));
        qemu_command_done(&command);
        setup.memory_fd = 42;
        qemu_command_build(&instance.config, &setup, &command);
        assert_true(has(&command, "-object",
                        "memory-backend-file,id=mem,size=128M,share=on,align=2M,mem-path=/proc/self/fd/42"));
        qemu_command_done(&command);
        instance.config.has_vsock = false;
        vm_instance_done(&instance);
}

static void guest_memory_is_a_tmpfs_of_its_own(void **state)
{
        scoped_close int fd = guest_memory_open(65), other = FD_NONE; /* no multiple of 2 MiB */
        struct statfs fs, other_fs;
        struct stat st;
        uint8_t *bytes;

        (void) state;
        if (fd < 0) {
                print_message("# no namespaces of users here (%s)\n", strerror(-fd));
                skip();
        }
        other = guest_memory_open(1);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_size, 65 << 20);
        assert_int_equal(st.st_nlink, 0);
        assert_int_equal(fstatfs(fd, &fs), 0);
        assert_int_equal(fs.f_type, TMPFS_MAGIC);
        assert_int_equal(fstatfs(other, &other_fs), 0);
        assert_memory_not_equal(&fs.f_fsid, &other_fs.f_fsid, sizeof(fs.f_fsid));
        bytes = mmap(NULL, 65 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        assert_ptr_not_equal(bytes, MAP_FAILED);
        bytes[0] = bytes[(65 << 20) - 1] = 1; /* the last page fits */
        assert_int_equal(munmap(bytes, 65 << 20), 0);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* who made it is gone */
}

static void limits_become_rates(void **state)
{
        /* given: bit 0 is bandwidth, bit 1 is ops */
        const struct vmm_rate_limiter slow = {
                .given = 3,
                .bandwidth = {.size = 1000, .refill_time = 500  },
                .ops = { .size = 10,  .refill_time = 10000}
        };
        const struct vmm_rate_limiter off = {
                .given = 1, .bandwidth = {.size = 0, .refill_time = 500}
        };
        json_auto_t *limits = qemu_throttle_limits(&slow), *none = qemu_throttle_limits(&off);

        (void) state;
        assert_int_equal(json_integer_value(json_object_get(limits, "bps-total")), 2000);
        assert_int_equal(json_integer_value(json_object_get(limits, "bps-total-max")), 0);
        assert_int_equal(json_integer_value(json_object_get(limits, "iops-total")), 1);
        assert_int_equal(json_integer_value(json_object_get(limits, "iops-total-max")), 10);
        assert_int_equal(json_integer_value(json_object_get(none, "bps-total")), 0);
        assert_null(json_object_get(none, "iops-total"));
}

static void the_tsc_has_a_rate(void **state)
{
        uint64_t khz = host_tsc_khz();

        (void) state;
        assert_in_range(khz, 100 * 1000, 10 * 1000 * 1000);
}

static void the_probe_guest_runs(void **state)
{
        (void) state;
        if (access("/usr/bin/qemu-system-x86_64", X_OK) < 0)
                skip();
        assert_true(kvm_probe_with("/usr/bin/qemu-system-x86_64", "tcg", 60000));
        assert_false(kvm_probe_with("/nonexistent/qemu", "tcg", 1000));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(options_take_both_forms),
                cmocka_unit_test(wrong_options_are_refused),
                cmocka_unit_test(the_kernel_is_told_root_and_clock),
                cmocka_unit_test(the_default_command_line_is_firecrackers),
                cmocka_unit_test(a_command_line_ends_at_2047_bytes),
                cmocka_unit_test(qmp_lines_are_told_apart),
                cmocka_unit_test(what_is_no_qmp_is_refused),
                cmocka_unit_test(qmp_pieces_become_lines),
                cmocka_unit_test(an_endless_qmp_line_is_refused),
                cmocka_unit_test(the_console_is_cut_when_full),
                cmocka_unit_test(requests_fail_in_firecrackers_words),
                cmocka_unit_test(put_machine_replaces_and_patch_adds),
                cmocka_unit_test(the_root_disk_comes_first),
                cmocka_unit_test(the_thirteenth_disk_is_refused),
                cmocka_unit_test(mmds_data_is_merged_and_limited),
                cmocka_unit_test(devices_become_arguments),
                cmocka_unit_test(guest_memory_is_a_tmpfs_of_its_own),
                cmocka_unit_test(limits_become_rates),
                cmocka_unit_test(the_tsc_has_a_rate),
                cmocka_unit_test(the_probe_guest_runs),
        };

        vm_log_set(VMM_LOG_OFF, false, false); /* standard output is TAP */
        return cmocka_run_group_tests(tests, NULL, NULL);
}
