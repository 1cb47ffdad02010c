/* Images and kernels as objects: shared by the daemon and bangerd-import. */
#include "daemon/daemon_objects.h"

json_t *daemon_image_object(const struct image *image)
{
        return json_pack("{s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:s, s:s, s:s}", "name", image->name, "source",
                         image->source, "kernel", image->kernel, "distro", image->distro, "managed",
                         (int) image->is_managed, "size_bytes", (json_int_t) image->rootfs_size, "real_bytes",
                         (json_int_t) image->real_bytes, "created_at", image->created_at, "rootfs_path",
                         image->rootfs_path, "work_seed_path", image->work_seed_path);
}

json_t *daemon_kernel_object(const struct kernel *kernel)
{
        return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:i}", "name", kernel->name,
                         "version", kernel->version, "distro", kernel->distro, "source", kernel->source,
                         "sha256", kernel->sha256, "vmlinux_path", kernel->vmlinux_path, "initramfs_path",
                         kernel->initramfs_path, "imported_at", kernel->imported_at, "bytes",
                         (json_int_t) kernel->bytes, "n_modules", (int) kernel->n_modules);
}
