/*
 * The files a guest gets at each start. Written anew by rename, so that a symbolic link in their place (resolv.conf often is
 * one) is replaced and not followed, and only when they would change. No fsync: the next start writes them again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/agent/agent_init.h"

#define FILE_MAX (1U << 20)

static int write_new(const char *path, const char *data, size_t n, mode_t mode)
{
        scoped_free char *temporary = xasprintf("%s.banger-new", path);
        scoped_close int fd = FD_NONE;
        int r;

        (void) unlink(temporary);
        fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = fd_write_full(fd, data, n);
        if (r == 0 && (fchmod(fd, mode) < 0 || rename(temporary, path) < 0))
                r = -errno;
        if (r < 0)
                (void) unlink(temporary);
        return r;
}

static bool is_same(const char *path, const char *data, size_t n, mode_t mode)
{
        scoped_free char *old = NULL;
        struct err ignored = { 0 };
        struct stat st;
        size_t n_old;

        if (lstat(path, &st) < 0 || !S_ISREG(st.st_mode) || (st.st_mode & 07777) != mode || st.st_uid != 0)
                return false;
        return file_read(path, FILE_MAX, &old, &n_old, &ignored) == 0 && n_old == n &&
               memcmp(old, data, n) == 0;
}

static void write_file(const char *root, const char *name, const char *data, mode_t mode)
{
        scoped_free char *path = xasprintf("%s%s", root, name);
        int r;

        if (is_same(path, data, strlen(data), mode))
                return;
        r = write_new(path, data, strlen(data), mode);
        if (r < 0)
                agent_say("write %s: %s", name, strerror(-r));
}

/* A folder of root's with these bits, whatever it was before. */
static void own_folder(const char *root, const char *name, mode_t mode)
{
        scoped_free char *path = xasprintf("%s%s", root, name);
        struct stat st;

        if (mkdir(path, mode) < 0 && errno != EEXIST) {
                agent_say("create %s: %s", name, strerror(errno));
                return;
        }
        if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode))
                return;
        if ((st.st_uid != 0 || st.st_gid != 0) && lchown(path, 0, 0) < 0)
                agent_say("own %s: %s", name, strerror(errno));
        if ((st.st_mode & 07777) != mode)
                (void) chmod(path, mode);
}

static void write_names(const char *root, const char *hostname)
{
        scoped_free char *name = xasprintf("%s\n", hostname);
        scoped_free char *hosts = xasprintf(
                "127.0.0.1\tlocalhost\n127.0.1.1\t%s\n::1\tlocalhost ip6-localhost ip6-loopback\n", hostname);

        write_file(root, "/etc/hostname", name, 0644);
        write_file(root, "/etc/hosts", hosts, 0644);
}

/* sshd with StrictModes refuses keys below folders that others may write (sshd(8)). */
static void write_keys(const char *root, const json_t *keys)
{
        scoped_text struct text lines = { 0 };
        const json_t *key;
        size_t i;

        own_folder(root, "/root", 0755);
        write_file(root, "/root/.hushlogin", "", 0644);
        if (json_array_size(keys) == 0)
                return;
        json_array_foreach (keys, i, key) {
                text_append(&lines, json_string_value(key) ? json_string_value(key) : "");
                text_append(&lines, "\n");
        }
        own_folder(root, "/root/.ssh", 0700);
        write_file(root, "/root/.ssh/authorized_keys", lines.s, 0600);
}

static void write_sshd(const char *root)
{
        scoped_free char *sshd = xasprintf("%s/etc/ssh", root);

        if (access(sshd, F_OK) < 0)
                return;
        own_folder(root, "/etc/ssh/sshd_config.d", 0755);
        write_file(root, "/etc/ssh/sshd_config.d/99-banger.conf",
                   "PermitRootLogin prohibit-password\nPubkeyAuthentication yes\nPasswordAuthentication no\n"
                   "KbdInteractiveAuthentication no\nAuthorizedKeysFile /root/.ssh/authorized_keys\n",
                   0644);
}

/* systemd-networkd would flush an address that it was not told of: it is told the same one. */
static void write_networkd(const char *root, const json_t *config)
{
        scoped_free char *text =
                xasprintf("[Match]\nName=eth0\n\n[Network]\nKeepConfiguration=yes\nAddress=%s/%u\n"
                          "Gateway=%s\nDNS=%s\n",
                          json_text(config, "address"), (unsigned) json_u64(config, "prefix", 24),
                          json_text(config, "gateway"), json_text(config, "dns"));

        own_folder(root, "/run/systemd", 0755);
        own_folder(root, "/run/systemd/network", 0755);
        write_file(root, "/run/systemd/network/05-banger.network", text, 0644);
}

/* Does some [user] section of git-config(1) set this key? */
static bool has_git_user(const char *config, const char *key)
{
        scoped_free char *copy = xstrdup(config);
        bool in_user = false;
        char *rest = NULL;

        for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
                size_t n = strlen(key);

                line += strspn(line, " \t");
                if (*line == '[')
                        in_user = strncasecmp(line, "[user]", 6) == 0;
                else if (in_user && strncasecmp(line, key, n) == 0 && strchr(" \t=", line[n]))
                        return true;
        }
        return false;
}

/* "value" as git-config(1) quotes it. Control characters have no place in a name. */
static void append_git(struct text *text, const char *key, const char *value)
{
        text_appendf(text, "\t%s = \"", key);
        for (; *value != '\0'; value++) {
                if (*value == '"' || *value == '\\')
                        text_append(text, "\\");
                if ((unsigned char) *value >= ' ' && *value != 0x7f)
                        text_append_bytes(text, value, 1);
        }
        text_append(text, "\"\n");
}

static void write_git(const char *root, const char *name, const char *email)
{
        scoped_free char *path = xasprintf("%s/root/.gitconfig", root), *old = NULL;
        scoped_text struct text text = { 0 };
        struct err ignored = { 0 };

        if (file_read(path, FILE_MAX, &old, NULL, &ignored) < 0) {
                if (access(path, F_OK) == 0) /* there, but not to be read: not ours to replace */
                        return;
                old = xstrdup("");
        }
        name = has_git_user(old, "name") ? "" : name;
        email = has_git_user(old, "email") ? "" : email;
        if (name[0] == '\0' && email[0] == '\0')
                return;
        text_append(&text, old);
        if (text.n > 0 && text.s[text.n - 1] != '\n')
                text_append(&text, "\n");
        text_append(&text, "[user]\n");
        if (name[0] != '\0')
                append_git(&text, "name", name);
        if (email[0] != '\0')
                append_git(&text, "email", email);
        write_file(root, "/root/.gitconfig", text.s, 0644);
}

void agent_apply_files(const char *root, const json_t *config)
{
        const char *hostname = json_text(config, "hostname"), *dns = json_text(config, "dns");

        if (hostname[0] != '\0')
                write_names(root, hostname);
        if (dns[0] != '\0') {
                scoped_free char *resolver = xasprintf("nameserver %s\n", dns);

                write_file(root, "/etc/resolv.conf", resolver, 0644);
        }
        write_keys(root, json_object_get(config, "authorized_keys"));
        write_git(root, json_text(config, "git_name"), json_text(config, "git_email"));
}

void agent_apply_service_files(const char *root, const json_t *config)
{
        write_sshd(root);
        if (json_text(config, "address")[0] != '\0')
                write_networkd(root, config);
}
