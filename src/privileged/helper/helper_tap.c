#include "privileged/helper/helper_tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/scoped.h"

#define OP         "priv.tap"
#define TUN_DEVICE "/dev/net/tun"

int tap_open(const char *name, uid_t uid, gid_t gid, int *ret_fd, struct err *err)
{
        scoped_close int fd = open(TUN_DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };

        if (fd < 0)
                return err_errno(err, OP, "open " TUN_DEVICE " (is the module tun there?)");
        memcpy(request.ifr_name, name, strnlen(name, IFNAMSIZ - 1));
        if (ioctl(fd, TUNSETIFF, &request) < 0)
                return err_errno(err, OP, "create tap '%s'", name);
        if (ioctl(fd, TUNSETOWNER, (unsigned long) uid) < 0 ||
            ioctl(fd, TUNSETGROUP, (unsigned long) gid) < 0 || ioctl(fd, TUNSETPERSIST, 1UL) < 0)
                return err_errno(err, OP, "hand tap '%s' to uid %u", name, (unsigned) uid);
        *ret_fd = take_fd(&fd);
        return 0;
}
