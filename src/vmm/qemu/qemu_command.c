#include "vmm/qemu/qemu_command.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/scoped.h"
#include "base/text.h"

static void add(struct qemu_command *command, char *owned)
{
        if (command->n + 2 > command->capacity) {
                command->capacity = command->capacity ? command->capacity * 2 : 64;
                command->argv = xrealloc(command->argv, command->capacity * sizeof(char *));
        }
        command->argv[command->n++] = owned;
        command->argv[command->n] = NULL;
}

/* An option and its value; the value is a format, or NULL for a bare option. */
__attribute__((format(printf, 3, 4))) static void option(struct qemu_command *command, const char *name,
                                                         const char *format, ...)
{
        char *value = NULL;
        va_list args;

        add(command, xstrdup(name));
        if (!format)
                return;
        va_start(args, format);
        if (vasprintf(&value, format, args) < 0)
                abort();
        va_end(args);
        add(command, value);
}

void qemu_command_done(struct qemu_command *command)
{
        for (size_t i = 0; i < command->n; i++)
                free(command->argv[i]);
        free(command->argv);
        *command = (struct qemu_command){ 0 };
}

void qemu_node_name(char out[QEMU_NODE_MAX], const char *kind, size_t drive, unsigned generation)
{
        if (generation > 0)
                (void) snprintf(out, QEMU_NODE_MAX, "%s%zu.%u", kind, drive, generation);
        else
                (void) snprintf(out, QEMU_NODE_MAX, "%s%zu", kind, drive);
}

/*
 * Firecracker's bucket is `size` tokens refilled in refill_time ms; QEMU wants a rate a second, and how much may pass at
 * once where that is more. one_time_burst has no counterpart.
 */
static void put_bucket(json_t *limits, const char *what, const struct vmm_token_bucket *bucket)
{
        bool limited = bucket->size > 0 && bucket->refill_time > 0;
        double rate = limited ? (double) bucket->size * 1000.0 / (double) bucket->refill_time : 0;
        double burst = limited && (double) bucket->size > rate ? (double) bucket->size : 0;
        char key[32];

        /* QEMU refuses rates outside 1 ... 1e15 (THROTTLE_VALUE_MAX) */
        if (limited && rate < 1)
                rate = 1;
        if (rate > 1e15)
                rate = burst = 0;
        if (burst > 1e15)
                burst = 1e15;
        (void) snprintf(key, sizeof(key), "%s-total", what);
        (void) json_object_set_new(limits, key, json_integer((json_int_t) rate));
        (void) snprintf(key, sizeof(key), "%s-total-max", what);
        (void) json_object_set_new(limits, key, json_integer((json_int_t) burst));
}

json_t *qemu_throttle_limits(const struct vmm_rate_limiter *limiter)
{
        json_t *limits = json_object();

        if (vmm_given(&vmm_shape_rate_limiter, limiter, bandwidth))
                put_bucket(limits, "bps", &limiter->bandwidth);
        if (vmm_given(&vmm_shape_rate_limiter, limiter, ops))
                put_bucket(limits, "iops", &limiter->ops);
        return limits;
}

/* Shared, because the vsock back end reads and writes the guest's rings. */
static void add_memory(struct qemu_command *command, const struct vm_config *config,
                       const struct qemu_setup *setup)
{
        uint64_t mib = config->machine.mem_size_mib;

        if (setup->memory_fd >= 0)
                option(command, "-object",
                       "memory-backend-file,id=mem,size=%" PRIu64
                       "M,share=on,align=2M,mem-path=/proc/self/fd/%d",
                       mib, setup->memory_fd);
        else
                option(command, "-object", "memory-backend-memfd,id=mem,size=%" PRIu64 "M,share=on%s", mib,
                       config->machine.huge_pages == VMM_HUGE_PAGES_2M ? ",hugetlb=on,hugetlbsize=2M" : "");
}

/* What every machine has. */
static void add_machine(struct qemu_command *command, const struct vm_config *config,
                        const struct qemu_setup *setup)
{
        uint64_t mib = config->machine.mem_size_mib, vcpus = config->machine.vcpu_count;

        option(command, "-name", "guest=%s,debug-threads=on", setup->id);
        /* acpi: 24 transports instead of 8, and a power-off that ends; auto-kernel-cmdline off: ACPI lists the devices */
        option(command, "-M",
               "microvm,acpi=on,rtc=on,pcie=off,auto-kernel-cmdline=off,x-option-roms=off,memory-backend="
               "mem");
        option(command, "-accel", "%s", setup->kvm ? "kvm" : "tcg,thread=multi");
        option(command, "-cpu", "%s", setup->kvm ? "host" : "max");
        if (config->machine.smt && vcpus > 1)
                option(command, "-smp", "%" PRIu64 ",cores=%" PRIu64 ",threads=2", vcpus, vcpus / 2);
        else
                option(command, "-smp", "%" PRIu64, vcpus);
        option(command, "-m", "%" PRIu64, mib);
        add_memory(command, config, setup);
        option(command, "-nodefaults", NULL);
        option(command, "-no-user-config", NULL);
        option(command, "-no-reboot", NULL);
        option(command, "-display", "none");
        option(command, "-sandbox",
               "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
        option(command, "-global", "virtio-mmio.force-legacy=false");
        option(command, "-chardev", "socket,id=qmp,fd=%d", setup->qmp_fd);
        option(command, "-mon", "chardev=qmp,mode=control");
        option(command, "-chardev", "stdio,id=serial,signal=off");
        option(command, "-serial", "chardev:serial");
}

static void add_kernel(struct qemu_command *command, const struct vm_config *config,
                       const struct qemu_setup *setup)
{
        option(command, "-kernel", "/proc/self/fd/%d", config->kernel_fd);
        if (config->initrd_fd >= 0)
                option(command, "-initrd", "/proc/self/fd/%d", config->initrd_fd);
        option(command, "-append", "%s", setup->cmdline);
}

static void add_throttle_group(struct qemu_command *command, const struct vm_drive *drive, size_t i)
{
        json_auto_t *limits = qemu_throttle_limits(&drive->body.rate_limiter);
        scoped_text struct text line = { 0 };
        const char *key;
        json_t *value;

        text_appendf(&line, "throttle-group,id=limit%zu", i);
        json_object_foreach (limits, key, value)
                if (json_integer_value(value) > 0)
                        text_appendf(&line, ",x-%s=%" JSON_INTEGER_FORMAT, key, json_integer_value(value));
        option(command, "-object", "%s", line.s);
}

static void add_drive(struct qemu_command *command, const struct vm_drive *drive, size_t i)
{
        const char *read_only = drive->body.is_read_only ? "on" : "off";
        /* Unsafe: the guest's flushes go no further than the host's page cache */
        const char *no_flush = drive->body.cache_type == VMM_CACHE_UNSAFE ? "on" : "off";

        option(command, "-add-fd", "fd=%d,set=%zu", drive->fd, i + 1);
        /* locking=off: Firecracker does not lock either, and read-only disks are shared among VMs */
        option(command, "-blockdev",
               "driver=file,node-name=file%zu,filename=/dev/fdset/"
               "%zu,locking=off,read-only=%s,cache.no-flush=%s",
               i, i + 1, read_only, no_flush);
        option(command, "-blockdev",
               "driver=raw,node-name=raw%zu,file=file%zu,read-only=%s,cache.no-flush=%s", i, i, read_only,
               no_flush);
        add_throttle_group(command, drive, i);
        option(command, "-blockdev",
               "driver=throttle,node-name=drive%zu,file=raw%zu,throttle-group=limit%zu,read-only=%s,cache.no-"
               "flush=%s",
               i, i, i, read_only, no_flush);
        option(command, "-device", "virtio-blk-device,id=blk%zu,drive=drive%zu", i, i);
}

/* limited_fd: the socket of net_limiter, or FD_NONE. */
static void add_interface(struct qemu_command *command, const struct vm_interface *interface, size_t i,
                          int limited_fd)
{
        const char *mac = interface->body.guest_mac;

        if (limited_fd >= 0)
                option(command, "-netdev", "socket,id=net%zu,fd=%d", i, limited_fd);
        else
                option(command, "-netdev", "tap,id=net%zu,fd=%d,vhost=off", i, interface->fd);
        option(command, "-device", "virtio-net-device,netdev=net%zu%s%s", i, mac ? ",mac=" : "",
               mac ? mac : "");
}

static void add_entropy(struct qemu_command *command, const struct vmm_entropy *entropy)
{
        const struct vmm_token_bucket *bucket = &entropy->rate_limiter.bandwidth;

        option(command, "-object", "rng-builtin,id=rng");
        if (bucket->size > 0 && bucket->refill_time > 0 && bucket->refill_time <= UINT32_MAX)
                option(command, "-device", "virtio-rng-device,rng=rng,max-bytes=%" PRIu64 ",period=%" PRIu64,
                       bucket->size > INT64_MAX ? INT64_MAX : bucket->size, bucket->refill_time);
        else
                option(command, "-device", "virtio-rng-device,rng=rng");
}

/* Firecracker's order of attachment, which is the guest's order of devices. */
static void add_devices(struct qemu_command *command, const struct vm_config *config,
                        const struct qemu_setup *setup)
{
        if (config->has_balloon)
                option(command, "-device",
                       "virtio-balloon-device,id=balloon,deflate-on-oom=%s,free-page-reporting=%s",
                       config->balloon.deflate_on_oom ? "on" : "off",
                       config->balloon.free_page_reporting ? "on" : "off");
        for (size_t i = 0; i < config->n_drives; i++)
                add_drive(command, &config->drives[i], i);
        for (size_t i = 0; i < config->n_interfaces; i++)
                add_interface(command, &config->interfaces[i], i,
                              setup->net_fds ? setup->net_fds[i] : FD_NONE);
        if (config->has_vsock) {
                option(command, "-chardev", "socket,id=vsock,fd=%d", setup->vsock_fd);
                option(command, "-device", "vhost-user-vsock-device,chardev=vsock");
        }
        if (config->has_entropy)
                add_entropy(command, &config->entropy);
}

void qemu_command_build(const struct vm_config *config, const struct qemu_setup *setup,
                        struct qemu_command *ret_command)
{
        *ret_command = (struct qemu_command){ 0 };
        add(ret_command, xstrdup(setup->qemu));
        add_machine(ret_command, config, setup);
        add_kernel(ret_command, config, setup);
        add_devices(ret_command, config, setup);
}
