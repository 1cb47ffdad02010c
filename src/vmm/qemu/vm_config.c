#include "vmm/qemu/vm_config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scoped.h"
#include "base/text.h"
#include "vmm/qemu/vm_tap.h"
#include "vmm/qemu/vsock_device.h"

#define VCPU_MAX 32

void vm_config_init(struct vm_config *config)
{
        *config = (struct vm_config){
                .machine = {.vcpu_count = 1, .mem_size_mib = 128},
                .kernel_fd = FD_NONE,
                .initrd_fd = FD_NONE,
                .serial_fd = FD_NONE,
        };
}

static void replace_fd(int *slot, int owned_fd)
{
        if (*slot >= 0)
                (void) close(*slot);
        *slot = owned_fd;
}

static void replace_document(struct vmm_document *slot, struct vmm_document *document)
{
        vmm_document_done(slot);
        slot->json = take_ptr(document->json);
}

static void drive_done(struct vm_drive *drive)
{
        replace_fd(&drive->fd, FD_NONE);
        vmm_document_done(&drive->document);
}

static void interface_done(struct vm_interface *interface)
{
        replace_fd(&interface->fd, FD_NONE);
        vmm_document_done(&interface->document);
}

void vm_config_done(struct vm_config *config)
{
        for (size_t i = 0; i < config->n_drives; i++)
                drive_done(&config->drives[i]);
        for (size_t i = 0; i < config->n_interfaces; i++)
                interface_done(&config->interfaces[i]);
        for (size_t i = 0; i < config->n_taps; i++)
                replace_fd(&config->taps[i].fd, FD_NONE);
        replace_fd(&config->kernel_fd, FD_NONE);
        replace_fd(&config->initrd_fd, FD_NONE);
        replace_fd(&config->serial_fd, FD_NONE);
        vmm_document_done(&config->boot_document);
        vmm_document_done(&config->vsock_document);
        vmm_document_done(&config->mmds_document);
        vsock_device_free(take_ptr(config->vsock_device));
}

int vm_open(const char *path, int flags, const char *what, int *ret_fd, struct err *err)
{
        int fd = open(path, flags | O_CLOEXEC | O_NOCTTY, 0600);

        if (fd < 0)
                return err_set(err, errno, "vmm.open", "%s: %s (os error %d)", what, strerror(errno), errno);
        *ret_fd = fd;
        return 0;
}

static int check_machine(const struct vm_config *config, const struct vmm_machine_config *m, struct err *err)
{
        if (m->vcpu_count < 1 || m->vcpu_count > VCPU_MAX ||
            (m->smt && m->vcpu_count > 1 && m->vcpu_count % 2 != 0))
                return err_set(err, EINVAL, "vmm.machine",
                               "The vCPU number is invalid! The vCPU number can only be 1 or an even number "
                               "when SMT "
                               "is enabled.");
        /* the second half of the rule keeps the sum of bytes from wrapping */
        if (m->mem_size_mib == 0 || m->mem_size_mib > (UINT64_C(1) << 32) ||
            (m->huge_pages == VMM_HUGE_PAGES_2M && m->mem_size_mib % 2 != 0))
                return err_set(err, EINVAL, "vmm.machine", "The memory size (MiB) is invalid.");
        if (config->has_balloon && config->balloon.amount_mib > m->mem_size_mib)
                return err_set(err, EINVAL, "vmm.machine",
                               "The memory size (MiB) is smaller than the previously set balloon device "
                               "target size.");
        return 0;
}

#define TAKE_GIVEN(to, from, member)                                      \
        do {                                                              \
                if (vmm_given(&vmm_shape_machine_config, (from), member)) \
                        (to)->member = (from)->member;                    \
        } while (0)

int vm_config_put_machine(struct vm_config *config, const struct vmm_machine_config *body, bool is_patch,
                          struct err *err)
{
        struct vmm_machine_config wanted = is_patch ? config->machine : *body;
        int r;

        TAKE_GIVEN(&wanted, body, vcpu_count);
        TAKE_GIVEN(&wanted, body, mem_size_mib);
        TAKE_GIVEN(&wanted, body, smt);
        TAKE_GIVEN(&wanted, body, track_dirty_pages);
        TAKE_GIVEN(&wanted, body, huge_pages);
        TAKE_GIVEN(&wanted, body, cpu_template);
        if (!vmm_given(&vmm_shape_machine_config, body,
                       cpu_template)) /* an absent template keeps the old one */
                wanted.cpu_template = config->machine.cpu_template;
        wanted.given = body->given | config->machine.given;
        r = check_machine(config, &wanted, err);
        if (r < 0)
                return r;
        config->machine = wanted;
        return 0;
}

int vm_config_put_boot_source(struct vm_config *config, const struct vmm_boot_source *body,
                              struct vmm_document *document, struct err *err)
{
        scoped_close int kernel = FD_NONE, initrd = FD_NONE;
        int r = vm_open(body->kernel_image_path, O_RDONLY, "The kernel file cannot be opened", &kernel, err);

        if (r < 0)
                return r;
        if (body->initrd_path) {
                r = vm_open(body->initrd_path, O_RDONLY,
                            "The initrd file cannot be opened due to invalid path or "
                            "invalid permissions",
                            &initrd, err);
                if (r < 0)
                        return r;
        }
        replace_fd(&config->kernel_fd, take_fd(&kernel));
        replace_fd(&config->initrd_fd, take_fd(&initrd));
        replace_document(&config->boot_document, document);
        config->boot_source = *body;
        config->has_boot_source = true;
        return 0;
}

struct vm_drive *vm_config_find_drive(struct vm_config *config, const char *id)
{
        for (size_t i = 0; i < config->n_drives; i++)
                if (strcmp(config->drives[i].body.drive_id, id) == 0)
                        return &config->drives[i];
        return NULL;
}

size_t vm_config_count_devices(const struct vm_config *config)
{
        return config->n_drives + config->n_interfaces + config->has_vsock + config->has_entropy +
               config->has_balloon;
}

static int refuse_too_many(const struct vm_config *config, struct err *err)
{
        return err_set(err, EINVAL, "vmm.config",
                       "Could not allocate GSI: The requested resource is not available. (%zu devices are "
                       "configured, "
                       "this VMM has room for %d, of which %d may be drives or network interfaces)",
                       vm_config_count_devices(config), VM_DEVICES_MAX, VM_DRIVES_MAX);
}

static int check_drive(const struct vm_config *config, const struct vmm_drive_body *body, struct err *err)
{
        if (body->socket)
                return err_set(err, EINVAL, "vmm.drive",
                               "Vhost-user block devices are not available with QEMU");
        if (!body->path_on_host)
                return err_set(err, EINVAL, "vmm.drive", "Running method expected different backend.");
        for (size_t i = 0; body->is_root_device && i < config->n_drives; i++)
                if (config->drives[i].body.is_root_device &&
                    strcmp(config->drives[i].body.drive_id, body->drive_id) != 0)
                        return err_set(err, EINVAL, "vmm.drive", "A root block device already exists!");
        return 0;
}

static int open_drive(const char *path, bool read_only, int *ret_fd, struct err *err)
{
        scoped_close int fd = FD_NONE;
        struct stat about;
        int r = vm_open(path, read_only ? O_RDONLY : O_RDWR,
                        "Unable to create the virtio block device: Virtio "
                        "backend error: Error manipulating the backing file",
                        &fd, err);

        if (r < 0)
                return r;
        if (fstat(fd, &about) < 0 || (!S_ISREG(about.st_mode) && !S_ISBLK(about.st_mode)))
                return err_set(
                        err, EINVAL, "vmm.drive",
                        "Unable to create the virtio block device: '%s' is neither a file nor a block device",
                        path);
        *ret_fd = take_fd(&fd);
        return 0;
}

int vm_config_put_drive(struct vm_config *config, const struct vmm_drive_body *body,
                        struct vmm_document *document, struct err *err)
{
        struct vm_drive *drive = vm_config_find_drive(config, body->drive_id);
        int fd, r = check_drive(config, body, err);

        if (r < 0)
                return r;
        if (!drive && config->n_drives + config->n_interfaces >= VM_DRIVES_MAX)
                return refuse_too_many(config, err);
        r = open_drive(body->path_on_host, body->is_read_only, &fd, err);
        if (r < 0)
                return r;
        if (drive) {
                drive_done(drive);
        } else {
                size_t at = body->is_root_device ? 0 : config->n_drives; /* the root is /dev/vda */

                memmove(&config->drives[at + 1], &config->drives[at],
                        (config->n_drives - at) * sizeof(config->drives[0]));
                drive = &config->drives[at];
                config->n_drives++;
        }
        *drive = (struct vm_drive){ .body = *body, .fd = fd, .document = *document };
        document->json = NULL;
        for (size_t i = 1; i < config->n_drives; i++) /* a replaced drive that became the root */
                if (config->drives[i].body.is_root_device) {
                        struct vm_drive root = config->drives[i];

                        memmove(&config->drives[1], &config->drives[0], i * sizeof(root));
                        config->drives[0] = root;
                }
        return 0;
}

static bool mac_is_valid(const char *mac)
{
        if (strlen(mac) != 17)
                return false;
        for (size_t i = 0; i < 17; i++)
                if (i % 3 == 2 ? mac[i] != ':' : !strchr("0123456789abcdefABCDEF", mac[i]))
                        return false;
        return true;
}

static int check_interface(const struct vm_config *config, const struct vmm_interface *body, struct err *err)
{
        if (body->guest_mac && !mac_is_valid(body->guest_mac))
                return err_set(err, EINVAL, "vmm.net", "invalid MAC address '%.32s'", body->guest_mac);
        for (size_t i = 0; body->guest_mac && i < config->n_interfaces; i++) {
                const struct vmm_interface *other = &config->interfaces[i].body;

                if (other->guest_mac && strcasecmp(other->guest_mac, body->guest_mac) == 0 &&
                    strcmp(other->iface_id, body->iface_id) != 0)
                        return err_set(err, EINVAL, "vmm.net", "The MAC address is already in use: %s",
                                       body->guest_mac);
        }
        return 0;
}

static int open_tap(const struct vm_config *config, const char *name, int *ret_fd, struct err *err)
{
        for (size_t i = 0; i < config->n_taps; i++)
                if (strlen(name) == config->taps[i].n_name &&
                    memcmp(name, config->taps[i].name, config->taps[i].n_name) == 0) {
                        *ret_fd = fcntl(config->taps[i].fd, F_DUPFD_CLOEXEC, 3);
                        return *ret_fd < 0 ? err_errno(err, "vmm.net", "tap descriptor for '%s'", name) : 0;
                }
        return vm_tap_open(name, ret_fd, err);
}

int vm_config_put_interface(struct vm_config *config, const struct vmm_interface *body,
                            struct vmm_document *document, struct err *err)
{
        struct vm_interface *interface = NULL;
        int fd, r = check_interface(config, body, err);

        if (r < 0)
                return r;
        for (size_t i = 0; i < config->n_interfaces; i++)
                if (strcmp(config->interfaces[i].body.iface_id, body->iface_id) == 0) {
                        /* the old one must let its tap go before the new one can have it; the last takes its
                         * place, as with Firecracker's swap_remove */
                        interface_done(&config->interfaces[i]);
                        config->interfaces[i] = config->interfaces[--config->n_interfaces];
                }
        if (config->n_drives + config->n_interfaces >= VM_DRIVES_MAX)
                return refuse_too_many(config, err);
        r = open_tap(config, body->host_dev_name, &fd, err);
        if (r < 0)
                return r;
        interface = &config->interfaces[config->n_interfaces++];
        *interface = (struct vm_interface){ .body = *body, .fd = fd, .document = *document };
        document->json = NULL;
        return 0;
}

int vm_config_put_vsock(struct vm_config *config, const struct vmm_vsock *body, struct vmm_document *document,
                        struct err *err)
{
        struct vsock_device *device = NULL;
        int r;

        if (config->has_vsock) { /* Firecracker unlinks the path it had and binds again */
                vsock_device_free(take_ptr(config->vsock_device));
                (void) unlink(config->vsock.uds_path);
                config->has_vsock = false;
        }
        r = vsock_device_new(body->uds_path, body->guest_cid, &device, err);
        if (r < 0)
                return err_wrap(
                        err,
                        "Cannot create backend for vsock device: Error binding to the host-side Unix socket");
        config->vsock_device = device;
        config->vsock = *body;
        replace_document(&config->vsock_document, document);
        config->has_vsock = true;
        return 0;
}

void vm_config_renew_vsock(struct vm_config *config)
{
        struct err ignored = { 0 };

        if (!config->has_vsock)
                return;
        vsock_device_free(take_ptr(config->vsock_device));
        (void) unlink(config->vsock.uds_path);
        config->has_vsock = vsock_device_new(config->vsock.uds_path, config->vsock.guest_cid,
                                             &config->vsock_device, &ignored) == 0;
}

int vm_config_put_balloon(struct vm_config *config, const struct vmm_balloon *body, struct err *err)
{
        if (body->amount_mib > config->machine.mem_size_mib)
                return err_set(
                        err, EINVAL, "vmm.balloon",
                        "Amount of pages requested cannot be greater than the number of pages in the guest.");
        config->balloon = *body;
        config->has_balloon = true;
        return 0;
}

int vm_config_put_mmds(struct vm_config *config, const struct vmm_mmds_config *body,
                       struct vmm_document *document, struct err *err)
{
        json_t *name;
        size_t i;

        if (json_array_size(body->network_interfaces) == 0)
                return err_set(err, EINVAL, "vmm.mmds", "The list of network interface IDs is empty.");
        json_array_foreach (body->network_interfaces, i, name) {
                bool known = false;

                for (size_t j = 0; j < config->n_interfaces; j++)
                        known |= strcmp(config->interfaces[j].body.iface_id, json_string_value(name)) == 0;
                if (!known)
                        return err_set(
                                err, EINVAL, "vmm.mmds",
                                "The list of network interface IDs provided contains at least one ID that "
                                "does not correspond to any existing network interface.");
        }
        if (body->ipv4_address && !text_starts_with(body->ipv4_address, "169.254."))
                return err_set(err, EINVAL, "vmm.mmds", "The MMDS IPv4 address is not link local: %.40s",
                               body->ipv4_address);
        config->mmds = *body;
        replace_document(&config->mmds_document, document);
        config->has_mmds = true;
        return 0;
}

int vm_config_put_serial(struct vm_config *config, const struct vmm_serial *body, struct err *err)
{
        int fd = FD_NONE;
        int r = body->serial_out_path
                        ? vm_open(body->serial_out_path, O_RDWR | O_CREAT | O_APPEND | O_NONBLOCK,
                                  "Failed to open the serial output", &fd, err)
                        : 0;

        if (r < 0)
                return r;
        replace_fd(&config->serial_fd, fd);
        return 0;
}

int vm_config_add_tap(struct vm_config *config, const char *argument, struct err *err)
{
        const char *equals = strchr(argument, '=');
        uint64_t fd;

        if (!equals || equals == argument || text_parse_u64(equals + 1, INT32_MAX, &fd) < 0)
                return err_set(err, EINVAL, "vmm.tap", "--tap takes NAME=FD, not '%.64s'", argument);
        if (config->n_taps == VM_TAPS_MAX)
                return err_set(err, EINVAL, "vmm.tap", "at most %d --tap options", VM_TAPS_MAX);
        if (fcntl((int) fd, F_SETFD, FD_CLOEXEC) < 0)
                return err_errno(err, "vmm.tap", "--tap %.64s", argument);
        config->taps[config->n_taps++] =
                (struct vm_tap){ .name = argument, .n_name = (size_t) (equals - argument), .fd = (int) fd };
        return 0;
}

static json_t *encode_if(bool has, const struct vmm_shape *shape, const void *body)
{
        return has ? vmm_encode(shape, body) : json_null();
}

json_t *vm_config_encode(const struct vm_config *config)
{
        json_t *drives = json_array(), *interfaces = json_array();
        json_t *vsock = encode_if(config->has_vsock, &vmm_shape_vsock, &config->vsock);

        for (size_t i = 0; i < config->n_drives; i++)
                (void) json_array_append_new(drives, vmm_encode(&vmm_shape_drive, &config->drives[i].body));
        for (size_t i = 0; i < config->n_interfaces; i++)
                (void) json_array_append_new(interfaces,
                                             vmm_encode(&vmm_shape_interface, &config->interfaces[i].body));
        (void) json_object_del(vsock, "vsock_id"); /* deprecated: never answered */
        return json_pack("{s:o, s:o, s:o, s:n, s:n, s:o, s:n, s:o, s:o, s:o, s:o, s:[], s:n}", "balloon",
                         encode_if(config->has_balloon, &vmm_shape_balloon, &config->balloon), "drives",
                         drives, "boot-source", vmm_encode(&vmm_shape_boot_source, &config->boot_source),
                         "cpu-config", "logger", "machine-config",
                         vmm_encode(&vmm_shape_machine_config, &config->machine), "metrics", "mmds-config",
                         encode_if(config->has_mmds, &vmm_shape_mmds_config, &config->mmds),
                         "network-interfaces", interfaces, "vsock", vsock, "entropy",
                         encode_if(config->has_entropy, &vmm_shape_entropy, &config->entropy), "pmem",
                         "memory-hotplug");
}
