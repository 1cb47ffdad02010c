/*
 * Kernels by apt: it knows where packages are, and it refuses what the signed indices do not vouch for. Both programs
 * used here (apt-cache, apt-get download) work for any user.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/spawn_guard.h"
#include "base/text.h"
#include "kernel/kernel_archive.h"
#include "kernel/kernel_manifest.h"
#include "kernel/kernel_staging.h"
#include "kernel/kernel_store.h"

#define APT_TIMEOUT_MS 60000
#define APT_OUTPUT_MAX ((size_t) 1 << 20)
#define POLL_MS        200
#define LOG_NAME       "apt.log"

static int no_apt(struct err *err)
{
        *err = (struct err){ 0 };
        return err_set(
                err, ENOENT, "kernel.pull",
                "this host has no apt: give a kernel package or a kernel file to 'banger kernel import'");
}

/* "Depends: linux-image-6.1.0-40-cloud-amd64 (= 6.1.153-1)" -> the value of a field of apt-cache show; NULL: absent. */
static char *field_of(const char *record, const char *field)
{
        size_t length = strlen(field);

        for (const char *line = record; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
                if (strncmp(line, field, length) == 0 && line[length] == ':') {
                        const char *value = line + length + 1 + strspn(line + length + 1, " ");

                        return strndup(value, strcspn(value, "\n"));
                }
        return NULL;
}

static int show_package(const char *package, char **ret_record, struct err *err)
{
        const char *const argv[] = { "apt-cache", "show", "--no-all-versions", "--", package, NULL };
        scoped_free char *said = NULL;
        int r = spawn_run(argv, APT_TIMEOUT_MS, APT_OUTPUT_MAX, ret_record, &said, err);

        if (r == -ENOENT)
                return no_apt(err);
        if (r < 0)
                return r;
        if (r > 0 || text_is_blank(*ret_record))
                return err_set(err, ENOENT, "kernel.pull",
                               "apt knows no package '%s': run 'sudo apt-get update' and try again", package);
        return 0;
}

/*
 * A metapackage has one dependency, the kernel of the day; a package with a kernel in it is taken itself. NULL: failed. The
 * caller owns the name.
 */
static char *resolve_package(const char *package, uint64_t *ret_bytes, struct err *err)
{
        scoped_free char *record = NULL;
        scoped_free char *depends = NULL;
        scoped_free char *size = NULL;

        if (show_package(package, &record, err) < 0)
                return NULL;
        depends = field_of(record, "Depends");
        if (depends && text_starts_with(depends, "linux-image-")) {
                depends[strcspn(depends, " (,|")] = '\0';
                free(take_ptr(record));
                if (show_package(depends, &record, err) < 0)
                        return NULL;
                package = depends;
        }
        size = field_of(record, "Size");
        if (!size || text_parse_u64(size, kernel_fetched_bytes_max, ret_bytes) < 0) {
                (void) err_set(err, EFBIG, "kernel.pull", "apt names no sensible size for '%s'", package);
                return NULL;
        }
        return xstrdup(package);
}

static uint64_t count_downloaded(const char *folder, char **ret_deb)
{
        DIR *dir = opendir(folder);
        const struct dirent *entry;
        uint64_t bytes = 0;
        struct stat st;

        while (dir && (entry = readdir(dir))) {
                if (entry->d_name[0] == '.' || strcmp(entry->d_name, LOG_NAME) == 0 ||
                    fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
                        continue;
                bytes += (uint64_t) st.st_size;
                if (ret_deb && !*ret_deb && text_ends_with(entry->d_name, ".deb"))
                        *ret_deb = xasprintf("%s/%s", folder, entry->d_name);
        }
        if (dir)
                (void) closedir(dir);
        return bytes;
}

/* Watches the file grow until apt ends; a cancelled apt is killed. Returns its exit status or -code. */
static int watch_download(struct spawn_guard *apt, const char *folder, uint64_t total,
                          const struct kernel_progress *progress, struct err *err)
{
        int r;

        do {
                r = kernel_report(progress, "download", count_downloaded(folder, NULL), total, err);
        } while (r == 0 && fd_wait(apt->pidfd, POLLIN, POLL_MS) == -ETIMEDOUT);
        if (r == 0)
                return spawn_guard_wait(apt, err);
        spawn_guard_end(apt);
        return r;
}

static int download_err(const char *package, int log_fd, struct err *err)
{
        char said[512] = "";
        off_t end = lseek(log_fd, 0, SEEK_END);
        off_t from = end > (off_t) sizeof(said) - 1 ? end - (off_t) sizeof(said) + 1 : 0;
        ssize_t n = pread(log_fd, said, sizeof(said) - 1, from);

        said[n > 0 ? n : 0] = '\0';
        for (char *c = said; *c != '\0'; c++)
                if (*c == '\n')
                        *c = ' ';
        return err_set(err, EIO, "kernel.pull", "apt could not download '%s': %s", package, said);
}

static int download(const char *package, const struct kernel_staging *staging, uint64_t total,
                    const struct kernel_progress *progress, char **ret_deb, struct err *err)
{
        const char *folder = staging->path;
        const char *const argv[] = { "apt-get", "-q", "download", "--", package, NULL };
        scoped_free char *log = xasprintf("%s/" LOG_NAME, folder);
        scoped_close int log_fd = open(log, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        struct spawn_guard apt = SPAWN_GUARD_NONE;
        struct spawn spawn = {
                .argv = argv, .folder = folder, .stdin_fd = FD_NONE, .stdout_fd = FD_NONE, .stderr_fd = log_fd
        };
        int r;

        if (log_fd < 0)
                return err_errno(err, "kernel.pull", "create '%s'", log);
        r = spawn_guard_start(&spawn, staging->fd, &apt, err);
        if (r == -ENOENT)
                return no_apt(err);
        if (r < 0)
                return r;
        r = watch_download(&apt, folder, total, progress, err);
        if (r < 0)
                return r;
        (void) count_downloaded(folder, ret_deb);
        return r > 0 || !*ret_deb ? download_err(package, log_fd, err) : 0;
}

/* NULL: not in the catalog. */
static const struct kernel_catalog_entry *find_entry(const char *name, struct err *err)
{
        scoped_text struct text known = { 0 };
        unsigned n;
        const struct kernel_catalog_entry *entries = kernel_catalog(&n);

        for (unsigned i = 0; i < n; i++) {
                if (strcmp(entries[i].name, name) == 0)
                        return &entries[i];
                text_appendf(&known, "%s%s", i > 0 ? ", " : "", entries[i].name);
        }
        (void) err_set(err, ENOENT, "kernel.pull", "no kernel named '%.100s' in the catalog; it has: %s",
                       name, known.s ? known.s : "nothing");
        return NULL;
}

int kernel_pull(const struct kernel_import *import, const char *cache_folder, struct kernel *ret_kernel,
                struct err *err)
{
        scoped_kernel_staging struct kernel_staging staging = KERNEL_STAGING_NONE;
        const struct kernel_catalog_entry *entry = find_entry(import->name, err);
        scoped_free char *existing = xasprintf("%s/%s", import->kernels_folder, import->name);
        scoped_free char *package = NULL;
        scoped_free char *deb = NULL;
        scoped_free char *source = NULL;
        struct kernel_import from_deb = *import;
        uint64_t bytes = 0;
        int r;

        if (!entry)
                return -err->code;
        if (!import->replace && access(existing, F_OK) == 0)
                return err_set(err, EEXIST, "kernel.pull", "kernel '%s' is already pulled", import->name);
        package = resolve_package(entry->apt_package, &bytes, err);
        if (!package)
                return -err->code;
        r = kernel_staging_begin(cache_folder, &staging, err);
        if (r == 0)
                r = download(package, &staging, bytes, &import->progress, &deb, err);
        if (r < 0)
                return r;
        source = xasprintf("apt:%s", entry->apt_package);
        from_deb.from = deb;
        from_deb.distro = import->distro ? import->distro : "debian";
        return kernel_import_from(&from_deb, source, ret_kernel, err);
}
