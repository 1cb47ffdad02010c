#include "vmm/qemu/vm_tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/scoped.h"

int vm_tap_open(const char *name, int *ret_fd, struct err *err)
{
        struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
        scoped_close int fd = FD_NONE;

        if (name[0] == '\0' || strlen(name) >= IFNAMSIZ)
                return err_set(err, EINVAL, "vmm.tap",
                               "Open tap device failed: Invalid interface name '%.32s'", name);
        memcpy(request.ifr_name, name, strlen(name) + 1);
        fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
                return err_set(err, errno, "vmm.tap",
                               "Open tap device failed: Couldn't open /dev/net/tun: %s (os error %d); --tap "
                               "%s=FD hands "
                               "over an open one",
                               strerror(errno), errno, name);
        if (ioctl(fd, TUNSETIFF, &request) < 0)
                return err_set(err, errno, "vmm.tap",
                               "Open tap device failed: Error while creating ifreq structure: %s (os error "
                               "%d). Invalid "
                               "TUN/TAP Backend provided by %s. Check our documentation on setting up the "
                               "network devices.",
                               strerror(errno), errno, name);
        *ret_fd = take_fd(&fd);
        return 0;
}
