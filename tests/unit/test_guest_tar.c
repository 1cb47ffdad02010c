/* Files through the client and the agent, both ways, and archives that somebody meant badly. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"
#include "guest/agent/agent_serve.h"
#include "guest/client/guest_client.h"
#include "tar/tar_unpack.h"
#include "unit.h"

#define MANY 10000

/* One request against an agent in a process of its own. */
static int call(bool in, const char *path, int tar_fd, struct err *err)
{
        int fds[2], r;
        pid_t pid;

        assert_int_equal(fd_unix_pair(fds), 0);
        pid = fork();
        if (pid == 0) {
                (void) close(fds[0]);
                agent_serve(fds[1], NULL, NULL);
                _exit(0);
        }
        (void) close(fds[1]);
        r = in ? guest_tar_in(fds[0], path, tar_fd, err) : guest_tar_out(fds[0], path, tar_fd, err);
        (void) close(fds[0]);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        return r;
}

static void write_at(const char *folder, const char *name, const char *content, mode_t mode)
{
        scoped_free char *path = xasprintf("%s/%s", folder, name);
        scoped_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        const struct timespec times[2] = {
                {1,           0        },
                { 1700000000, 123456789}
        };

        assert_true(fd >= 0);
        assert_int_equal(fd_write_full(fd, content, strlen(content)), 0);
        assert_int_equal(fchmod(fd, mode), 0);
        assert_int_equal(futimens(fd, times), 0);
}

static void check_at(const char *folder, const char *name, const char *content, mode_t mode)
{
        scoped_free char *path = xasprintf("%s/%s", folder, name), *text = NULL;
        struct err err = { 0 };
        struct stat st;

        assert_int_equal(file_read(path, 1U << 20, &text, NULL, &err), 0);
        assert_string_equal(text, content);
        assert_int_equal(lstat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, mode);
        assert_true(st.st_mtim.tv_sec == 1700000000 && st.st_mtim.tv_nsec == 123456789);
}

static char long_name[201];

static void make_tree(const char *folder)
{
        scoped_free char *link = xasprintf("%s/link", folder), *deep = xasprintf("%s/%s", folder, long_name);

        memset(long_name, 'n', sizeof(long_name) - 1);
        free(deep);
        deep = xasprintf("%s/%s", folder, long_name);
        assert_int_equal(mkdir(deep, 0750), 0);
        write_at(folder, "plain", "content", 0644);
        write_at(folder, "run me.sh", "#!/bin/sh\n", 0755);
        write_at(folder, "-rf", "", 0600);
        write_at(folder, "new\nline \xff\xfe 'quote\" $x", "odd", 0640);
        write_at(deep, long_name, "deep", 0644);
        assert_int_equal(symlink("../outside/of it", link), 0);
}

static void check_tree(const char *folder)
{
        scoped_free char *link = xasprintf("%s/link", folder), *deep = xasprintf("%s/%s", folder, long_name);
        char target[64] = "";
        struct stat st;

        check_at(folder, "plain", "content", 0644);
        check_at(folder, "run me.sh", "#!/bin/sh\n", 0755);
        check_at(folder, "-rf", "", 0600);
        check_at(folder, "new\nline \xff\xfe 'quote\" $x", "odd", 0640);
        check_at(deep, long_name, "deep", 0644);
        assert_int_equal(stat(deep, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0750);
        assert_true(readlink(link, target, sizeof(target) - 1) > 0);
        assert_string_equal(target, "../outside/of it");
}

static void trees_come_back_as_they_were(void **state)
{
        char folder[] = "/tmp/banger-tar-XXXXXX";
        struct err err = { 0 };

        (void) state;
        assert_non_null(mkdtemp(folder));
        scoped_free char *from = xasprintf("%s/from", folder), *to = xasprintf("%s/a/b", folder);
        scoped_free char *unpacked = xasprintf("%s/from", to);
        scoped_close int tar = memfd_create("tar", MFD_CLOEXEC);

        assert_int_equal(mkdir(from, 0755), 0);
        make_tree(from);
        assert_int_equal(call(false, from, tar, &err), 0);
        for (int i = 0; i < 2; i++) { /* the second time everything is there already */
                assert_true(lseek(tar, 0, SEEK_SET) == 0);
                assert_int_equal(call(true, to, tar, &err), 0);
                check_tree(unpacked);
        }
        assert_int_equal(file_remove_tree(folder, &err), 0);
}

static void ten_thousand_files_pass(void **state)
{
        char folder[] = "/tmp/banger-tar-XXXXXX";
        struct err err = { 0 };
        unsigned n = 0;

        (void) state;
        assert_non_null(mkdtemp(folder));
        scoped_free char *from = xasprintf("%s/from", folder), *unpacked = xasprintf("%s/to/from", folder);
        scoped_free char *to = xasprintf("%s/to", folder);
        scoped_close int tar = memfd_create("tar", MFD_CLOEXEC);

        assert_int_equal(mkdir(from, 0755), 0);
        for (int i = 0; i < MANY; i++) {
                char name[16];

                (void) snprintf(name, sizeof(name), "f%d", i);
                write_at(from, name, name, 0644);
        }
        assert_int_equal(call(false, from, tar, &err), 0);
        assert_true(lseek(tar, 0, SEEK_SET) == 0);
        assert_int_equal(call(true, to, tar, &err), 0);

        DIR *listing = opendir(unpacked);

        assert_non_null(listing);
        for (const struct dirent *entry; (entry = readdir(listing));)
                n += entry->d_name[0] == 'f';
        (void) closedir(listing);
        assert_int_equal(n, MANY);
        check_at(unpacked, "f9999", "f9999", 0644);
        assert_int_equal(file_remove_tree(folder, &err), 0);
}

/* An archive in memory. */
struct bytes {
        const uint8_t *data;
        size_t n, at;
};

static int bytes_read(void *context, void *buffer, size_t n)
{
        struct bytes *bytes = context;

        if (bytes->at == bytes->n)
                return -ENODATA;
        if (n > bytes->n - bytes->at)
                return -EBADMSG;
        memcpy(buffer, bytes->data + bytes->at, n);
        bytes->at += n;
        return 0;
}

/* One header of a type, name, link and size; what tar calls a member. */
static void add_entry(struct text *archive, char type, const char *name, const char *link,
                      const char *content)
{
        uint8_t block[TAR_BLOCK] = { 0 };

        memcpy(block, name, strnlen(name, 100));
        (void) snprintf((char *) block + 100, 8, "%07o", 0644U);
        (void) snprintf((char *) block + 124, 12, "%011o", (unsigned) (strlen(content) & 0xffffffU));
        (void) snprintf((char *) block + 136, 12, "%011o", 1U);
        block[156] = (uint8_t) type;
        memcpy(block + 157, link, strnlen(link, 100));
        memcpy(block + 257,
               "ustar\0"
               "00",
               8);
        (void) snprintf((char *) block + 148, 8, "%06o", tar_checksum(block));
        text_append_bytes(archive, block, sizeof(block));
        text_append(archive, content);
        memset(block, 0, sizeof(block));
        text_append_bytes(archive, block, tar_padding(strlen(content)));
}

static int unpack(const struct text *archive, const char *folder, struct err *err)
{
        struct bytes bytes = { (const uint8_t *) archive->s, archive->n, 0 };
        struct tar_source source = { bytes_read, &bytes };
        scoped_close int root = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return tar_unpack(&source, &(struct tar_unpack){ .root_fd = root }, err);
}

static void nothing_is_made_outside(void **state)
{
        static const struct {
                char type;
                const char *name, *link, *content;
        } bad[] = {
                {'0',  "../escaped",      "",           "x"             },
                { '0', "a/../../escaped", "",           "x"             },
                { '0', "out/escaped",     "",           "x"             }, /* out is a symbolic link to the folder above */
                { '5', "out/escaped",     "",           ""              },
                { '1', "hard",            "../secret",  ""              },
                { '1', "hard",            "out/secret", ""              },
                { '1', "hard",            "",           ""              },
                { '3', "device",          "",           ""              },
                { 'x', "pax",             "",           "99 path=x\n"   },
                { 'x', "pax",             "",           "14 path=../e\n"},
        };
        char folder[] = "/tmp/banger-tar-XXXXXX";
        struct err err = { 0 };

        (void) state;
        assert_non_null(mkdtemp(folder));
        scoped_free char *root = xasprintf("%s/root", folder), *escaped = xasprintf("%s/escaped", folder);

        assert_int_equal(mkdir(root, 0755), 0);
        write_at(folder, "secret", "secret", 0600);
        for (size_t i = 0; i < N_ELEMENTS(bad); i++) {
                scoped_text struct text archive = { 0 };
                struct err refused = { 0 };

                add_entry(&archive, '2', "out", "..", "");
                add_entry(&archive, bad[i].type, bad[i].name, bad[i].link, bad[i].content);
                assert_true(unpack(&archive, root, &refused) < 0);
                assert_int_equal(access(escaped, F_OK), -1);
        }
        assert_int_equal(file_remove_tree(folder, &err), 0);
}

static void hard_links_and_replaced_kinds_are_made(void **state)
{
        char folder[] = "/tmp/banger-tar-XXXXXX";
        scoped_text struct text archive = { 0 };
        struct err err = { 0 };
        struct stat one, two;

        (void) state;
        assert_non_null(mkdtemp(folder));
        scoped_free char *first = xasprintf("%s/d/one", folder), *second = xasprintf("%s/two", folder);

        add_entry(&archive, '2', "two", "/etc/passwd", "");
        add_entry(&archive, '0', "d/one", "", "same");
        add_entry(&archive, '1', "two", "d/one", "");
        assert_int_equal(unpack(&archive, folder, &err), 0);
        assert_int_equal(lstat(first, &one), 0);
        assert_int_equal(lstat(second, &two), 0);
        assert_true(one.st_ino == two.st_ino && S_ISREG(two.st_mode));
        assert_int_equal(file_remove_tree(folder, &err), 0);
}

static void an_error_of_the_guest_ends_the_stream_early(void **state)
{
        scoped_close int zeros = open("/dev/zero", O_RDONLY | O_CLOEXEC),
                         junk = memfd_create("junk", MFD_CLOEXEC);
        char block[4096];
        struct err err = { 0 };

        (void) state;
        memset(block, 'j', sizeof(block));
        for (int i = 0; i < 1024; i++)
                assert_int_equal(fd_write_full(junk, block, sizeof(block)), 0);
        assert_true(lseek(junk, 0, SEEK_SET) == 0);
        assert_int_equal(call(true, "/tmp", junk, &err), -EBADMSG);
        assert_non_null(strstr(err.message, "not a tar archive"));
        err = (struct err){ 0 };
        assert_int_equal(call(true, "/proc/no/such", zeros, &err), -ENOENT);
        err = (struct err){ 0 };
        assert_int_equal(call(false, "/no/such", junk, &err), -ENOENT);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(trees_come_back_as_they_were),
                cmocka_unit_test(ten_thousand_files_pass),
                cmocka_unit_test(nothing_is_made_outside),
                cmocka_unit_test(hard_links_and_replaced_kinds_are_made),
                cmocka_unit_test(an_error_of_the_guest_ends_the_stream_early),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
