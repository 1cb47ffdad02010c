/* Bundles: nothing is unpacked that is too large, has another hash, or holds what it should not; and nothing of it stays. */
#include <archive.h>
#include <archive_entry.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/sha.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/size.h"
#include "base/text.h"
#include "bundle/bundle.h"
#include "ext4/ext4_image.h"
#include "image/image_store.h"
#include "unit.h"

static char folder[64];
static char *images, *packed, *url, sha256[65];

static int make_scratch(void **state)
{
        (void) state;
        (void) snprintf(folder, sizeof(folder), "/tmp/banger-test-bundle.XXXXXX");
        assert_non_null(mkdtemp(folder));
        images = xasprintf("%s/images", folder);
        packed = xasprintf("%s/bundle.tar.zst", folder);
        url = xasprintf("file://%s", packed);
        return 0;
}

static int drop_scratch(void **state)
{
        struct err err = { 0 };

        (void) state;
        image_bundle_bytes_max = 8 * GIB;
        assert_int_equal(file_remove_tree(folder, &err), 0);
        free(images);
        free(packed);
        free(url);
        return 0;
}

static void note_hash(void)
{
        unsigned char digest[SHA256_DIGEST_LENGTH];
        scoped_free char *bytes = NULL;
        struct err err = { 0 };
        size_t n = 0;

        assert_int_equal(file_read(packed, 64 << 20, &bytes, &n, &err), 0);
        (void) SHA256((const unsigned char *) bytes, n, digest);
        text_hex(digest, sizeof(digest), sha256);
}

struct member {
        const char *name, *text;
        mode_t type; /* 0: a regular file */
        const char *link;
};

/* text NULL: an ext4 file system. */
static void add(struct archive *archive, const struct member *member)
{
        struct archive_entry *entry = archive_entry_new();
        scoped_free char *path = xasprintf("%s/made.ext4", folder), *bytes = NULL;
        const struct ext4_options options = { .size = UINT64_C(8) << 20 };
        struct err err = { 0 };
        size_t n = member->text ? strlen(member->text) : 0;

        if (!member->text) {
                assert_int_equal(ext4_make_empty(path, &options, &err), 0);
                assert_int_equal(file_read(path, 16 << 20, &bytes, &n, &err), 0);
                assert_int_equal(unlink(path), 0);
        }
        archive_entry_set_pathname(entry, member->name);
        archive_entry_set_filetype(entry, member->type ? member->type : AE_IFREG);
        archive_entry_set_perm(entry, 0644);
        if (member->link && member->type == AE_IFLNK)
                archive_entry_set_symlink(entry, member->link);
        else if (member->link)
                archive_entry_set_hardlink(entry, member->link);
        archive_entry_set_size(entry, member->link || member->type ? 0 : (la_int64_t) n);
        assert_int_equal(archive_write_header(archive, entry), ARCHIVE_OK);
        if (!member->link && !member->type)
                assert_int_equal(archive_write_data(archive, bytes ? bytes : member->text, n), n);
        archive_entry_free(entry);
}

static void pack(const struct member *members, size_t n)
{
        struct archive *archive = archive_write_new();

        assert_int_equal(archive_write_add_filter_zstd(archive), ARCHIVE_OK);
        assert_int_equal(archive_write_set_format_pax_restricted(archive), ARCHIVE_OK);
        assert_int_equal(archive_write_open_filename(archive, packed), ARCHIVE_OK);
        for (size_t i = 0; i < n; i++)
                add(archive, &members[i]);
        assert_int_equal(archive_write_free(archive), ARCHIVE_OK);
        note_hash();
}

static const struct member manifest = { "manifest.json", "{\"name\":\"x\"}", 0, NULL };
static const struct member rootfs = { "rootfs.ext4", NULL, 0, NULL };

static void pack_good(void)
{
        const struct member members[] = { manifest, rootfs };

        pack(members, N_ELEMENTS(members));
}

static int pull_from(const char *from, uint64_t size, struct err *err)
{
        const struct image_bundle bundle = {
                .url = from, .sha256 = sha256, .kernel = "debian-6.1", .distro = "debian", .size = size
        };
        const struct image_pull pull = { .name = "mine",
                                         .recipe = "mine",
                                         .images_folder = images,
                                         .cache_folder = folder,
                                         .bundle = &bundle };
        struct image image = { 0 };
        int r = image_pull(&pull, &image, err);

        if (r == 0) {
                assert_true(image.is_managed);
                assert_string_equal(image.kernel, "debian-6.1");
                assert_string_equal(image.distro, "debian");
                assert_int_equal(image.rootfs_size, 8 << 20);
                assert_true(text_starts_with(image.source, "bundle:"));
        }
        image_done(&image);
        return r;
}

/* No image and no staging folder. */
static void assert_clean(void)
{
        DIR *open_folder = opendir(images);
        const struct dirent *entry;

        while (open_folder && (entry = readdir(open_folder)))
                assert_true(strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0);
        if (open_folder)
                (void) closedir(open_folder);
}

static void assert_refused(const char *from, uint64_t size, const char *said)
{
        struct err err = { 0 };

        assert_true(pull_from(from, size, &err) < 0);
        if (!strstr(err.message, said))
                fail_msg("'%s' is not in: %s", said ? said : "", err.message);
        assert_clean();
}

/* The first test: no other has changed it yet (S-241). */
static void the_cap_is_eight_gib(void **state)
{
        (void) state;
        assert_true(image_bundle_bytes_max == 8 * GIB);
}

static void a_good_bundle_becomes_an_image(void **state)
{
        scoped_free char *manifest_path = xasprintf("%s/mine/manifest.json", images);
        struct err err = { 0 };

        (void) state;
        pack_good();
        assert_int_equal(pull_from(url, 0, &err), 0);
        assert_int_equal(access(manifest_path, F_OK), 0);
        assert_int_equal(pull_from(url, 0, &err), -EEXIST);
}

static void one_that_is_too_large_is_refused_and_the_cap_named(void **state)
{
        (void) state;
        pack_good();
        image_bundle_bytes_max = 64;
        assert_refused(url, 0, "cap of 64 B");
        assert_refused(url, 65, "cap of 64 B");
}

static void another_hash_is_refused(void **state)
{
        (void) state;
        pack_good();
        sha256[0] = sha256[0] == 'a' ? 'b' : 'a';
        assert_refused(url, 0, "the catalog says");
}

static void what_the_disk_cannot_hold_is_not_begun(void **state)
{
        (void) state;
        pack_good();
        image_bundle_bytes_max = UINT64_C(1) << 60;
        assert_int_equal(mkdir(images, 0700), 0);
        assert_refused(url, UINT64_C(1) << 59, "lacks");
}

static void what_does_not_belong_in_it_is_refused(void **state)
{
        static const struct {
                struct member members[3];
                const char *said;
        } cases[] = {
                {{ { "manifest.json", "{}", 0, NULL } },                                                "'rootfs.ext4' is missing"  },
                { { { "rootfs.ext4", NULL, 0, NULL } },                                                 "'manifest.json' is missing"},
                { { { "manifest.json", "{}", 0, NULL }, { "other", "x", 0, NULL } },                    "does not belong"           },
                { { { "manifest.json", "{}", 0, NULL }, { "../rootfs.ext4", "x", 0, NULL } },           "leads out"                 },
                { { { "/manifest.json", "{}", 0, NULL } },                                              "leads out"                 },
                { { { "manifest.json", "{}", 0, NULL }, { "manifest.json", "{}", 0, NULL } },           "twice"                     },
                { { { "rootfs.ext4", "", AE_IFLNK, "/etc/passwd" } },                                   "not a regular file"        },
                { { { "manifest.json", "{}", 0, NULL }, { "rootfs.ext4", "", 0, "manifest.json" } },
                 "not a regular file"                                                                                               },
                { { { "rootfs.ext4", "", AE_IFIFO, NULL } },                                            "not a regular file"        },
                { { { "manifest.json", "[]", 0, NULL }, { "rootfs.ext4", NULL, 0, NULL } },             "not an object"             },
                { { { "manifest.json", "{}", 0, NULL }, { "rootfs.ext4", "no file system", 0, NULL } },
                 "not an ext4"                                                                                                      },
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                size_t n = 0;

                while (n < 3 && cases[i].members[n].name)
                        n++;
                pack(cases[i].members, n);
                assert_refused(url, 0, cases[i].said);
        }
}

static void one_that_is_cut_short_is_refused(void **state)
{
        (void) state;
        pack_good();
        assert_int_equal(truncate(packed, 200), 0);
        note_hash();
        assert_refused(url, 0, "damaged");
}

/* A server for one request on 127.0.0.1; *ret_pid must be waited for. */
static char *serve(const char *answer, pid_t *ret_pid)
{
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t length = sizeof(address);
        int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_int_equal(bind(listener, (struct sockaddr *) &address, length), 0);
        assert_int_equal(listen(listener, 1), 0);
        assert_int_equal(getsockname(listener, (struct sockaddr *) &address, &length), 0);
        *ret_pid = fork();
        if (*ret_pid == 0) {
                int sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
                char request[4096];

                (void) !read(sock, request, sizeof(request));
                (void) fd_write_full(sock, answer, strlen(answer));
                (void) close(sock);
                _exit(0);
        }
        (void) close(listener);
        return xasprintf("http://127.0.0.1:%u/x.tar.zst", ntohs(address.sin_port));
}

static void a_server_is_not_believed(void **state)
{
        static const struct {
                const char *answer, *said;
        } cases[] = {
                {"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",                              "the server answers 404"},
                { "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",                                  "the server answers 500"},
                { "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",                                 "cap of 64 B"           },
                { "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",                                "http://127.0.0.1"      },
                { "HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n",
                 "rotocol"                                                                                                   },
                { "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",                                 "the catalog says"      },
        };

        (void) state;
        image_bundle_bytes_max = 64;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                pid_t pid;
                scoped_free char *from = serve(cases[i].answer, &pid);

                (void) snprintf(sha256, sizeof(sha256), "%064d", 0);
                assert_refused(from, 0, cases[i].said);
                (void) kill(pid, SIGKILL);
                (void) waitpid(pid, NULL, 0);
        }
}

static void a_catalog_of_the_users_comes_first(void **state)
{
        scoped_free char *path = xasprintf("%s/images.json", folder);
        static const char good[] =
                "[{\"name\":\"debian-bookworm\",\"kernel\":\"k\",\"bundle\":{\"url\":\"https://x/y\","
                "\"sha256\":\"0000000000000000000000000000000000000000000000000000000000000000\","
                "\"size\":5}}]";
        static const char *const wrong[] = {
                "{}", "[{}]", "[{\"name\":\"x\",\"kernel\":\"k\"}]", "[",
                "[{\"name\":\"x\",\"kernel\":\"k\",\"bundle\":{\"url\":\"ftp://x\"}}]"
        };
        struct err err = { 0 };
        unsigned n = 0, n_before = 0;

        (void) state;
        (void) image_catalog(&n_before);
        assert_int_equal(image_catalog_add(path, &err), 0); /* there is none */
        for (size_t i = 0; i < N_ELEMENTS(wrong); i++) {
                assert_int_equal(file_replace(path, wrong[i], strlen(wrong[i]), 0644, &err), 0);
                assert_true(image_catalog_add(path, &err) < 0);
                err = (struct err){ 0 };
        }
        assert_string_equal(image_catalog_find("debian-bookworm")->url, "");
        assert_int_equal(file_replace(path, good, strlen(good), 0644, &err), 0);
        assert_int_equal(image_catalog_add(path, &err), 0);
        assert_string_equal(image_catalog_find("debian-bookworm")->url, "https://x/y");
        (void) image_catalog(&n);
        assert_int_equal(n, n_before + 1);
        assert_null(image_catalog_find("nope"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(the_cap_is_eight_gib, make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(a_good_bundle_becomes_an_image, make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(one_that_is_too_large_is_refused_and_the_cap_named,
                                                make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(another_hash_is_refused, make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(what_the_disk_cannot_hold_is_not_begun, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(what_does_not_belong_in_it_is_refused, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(one_that_is_cut_short_is_refused, make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(a_server_is_not_believed, make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(a_catalog_of_the_users_comes_first, make_scratch,
                                                drop_scratch),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
