#include "vmm/qemu/vm_log.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/scoped.h"

#define LINE_MAX_BYTES 2048

static struct {
        const char *id;
        int fd;
        enum vmm_log_level level;
        bool show_level, show_origin;
} the_log = { .id = "anonymous-instance", .fd = STDOUT_FILENO, .level = VMM_LOG_INFO };

void vm_log_init(const char *id)
{
        the_log.id = id;
}

int vm_log_open(const char *path, struct err *err)
{
        /* read-write, so that a FIFO without a reader opens too */
        int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0600);

        if (fd < 0)
                return err_errno(err, "vmm.log", "Failed to open target file '%s'", path);
        if (the_log.fd > STDERR_FILENO)
                (void) close(the_log.fd);
        the_log.fd = fd;
        return 0;
}

void vm_log_set(enum vmm_log_level level, bool show_level, bool show_origin)
{
        the_log.level = level;
        the_log.show_level = show_level;
        the_log.show_origin = show_origin;
}

void vm_log_apply(const struct vmm_logger *logger)
{
        if (vmm_given(&vmm_shape_logger, logger, level))
                the_log.level = logger->level;
        if (vmm_given(&vmm_shape_logger, logger, show_level))
                the_log.show_level = logger->show_level;
        if (vmm_given(&vmm_shape_logger, logger, show_log_origin))
                the_log.show_origin = logger->show_log_origin;
}

static bool is_wanted(enum vmm_log_level level)
{
        /* the enum goes from silent to loud and has Error last, as the API lists it: rank by hand */
        static const int rank[VMM_N_LOG_LEVELS] = {
                [VMM_LOG_OFF] = 0,  [VMM_LOG_ERROR] = 1, [VMM_LOG_WARN] = 2, [VMM_LOG_WARNING] = 2,
                [VMM_LOG_INFO] = 3, [VMM_LOG_DEBUG] = 4, [VMM_LOG_TRACE] = 5
        };

        return rank[level] <= rank[the_log.level];
}

void vm_log_at(enum vmm_log_level level, const char *where, const char *format, ...)
{
        char line[LINE_MAX_BYTES], when[40], text[LINE_MAX_BYTES - 512];
        struct timespec now;
        struct tm utc;
        va_list args;
        int n;

        if (!is_wanted(level))
                return;
        (void) clock_gettime(CLOCK_REALTIME, &now);
        (void) gmtime_r(&now.tv_sec, &utc);
        (void) strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &utc);
        va_start(args, format);
        (void) vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        for (char *c = text; *c; c++) /* a guest's or client's words must not forge lines */
                if ((unsigned char) *c < ' ' || *c == 0x7f)
                        *c = ' ';
        n = snprintf(line, sizeof(line), "%s.%09ld [%.64s:main%s%s%s%s] %s\n", when, now.tv_nsec, the_log.id,
                     the_log.show_level ? ":" : "", the_log.show_level ? vmm_log_levels[level] : "",
                     the_log.show_origin ? ":" : "", the_log.show_origin ? where : "", text);
        (void) !write(the_log.fd, line, (size_t) n);
}
