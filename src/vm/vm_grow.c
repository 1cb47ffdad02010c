#include "vm/vm_grow.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scoped.h"

int vm_grow_work_disk(const struct vm_spec *spec, struct err *err)
{
        scoped_free char *path = vm_path_work_disk(spec);
        scoped_close int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return err_errno(err, "vm.grow", "the work disk of vm '%s', '%s'", spec->name, path);
        if ((uint64_t) st.st_size >= spec->disk_bytes)
                return 0;
        if (ftruncate(fd, (off_t) spec->disk_bytes) < 0)
                return err_errno(err, "vm.grow", "grow the work disk of vm '%s', '%s', to %llu bytes",
                                 spec->name, path, (unsigned long long) spec->disk_bytes);
        return 0;
}
