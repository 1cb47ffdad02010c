# Runs once over the unpacked tree: $1 is its root, $masked_units comes from images.json.
set -eu
root=$1

# What each VM must have for itself: host keys, machine id, host name, resolver. The agent or the first boot makes them.
rm -f "$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub
rm -f "$root/etc/hostname" "$root/etc/resolv.conf" "$root/var/lib/dbus/machine-id" "$root/var/lib/systemd/random-seed"
: >"$root/etc/machine-id"

# Units that a microVM waits for without having any use of them.
mkdir -p "$root/etc/systemd/system/ssh.service.d"
for unit in $masked_units; do
        ln -sfn /dev/null "$root/etc/systemd/system/$unit"
done

# One key, of the kind that is quick to make: RSA costs an emulated CPU half a minute. "sshd -t" must come after it.
cat >"$root/etc/systemd/system/ssh.service.d/host-key.conf" <<'END'
[Service]
ExecStartPre=
ExecStartPre=/bin/sh -c 'test -s /etc/ssh/ssh_host_ed25519_key || exec ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key'
ExecStartPre=/usr/sbin/sshd -t
END
mkdir -p "$root/etc/ssh/sshd_config.d"
cat >"$root/etc/ssh/sshd_config.d/99-banger.conf" <<'END'
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
AuthorizedKeysFile /root/.ssh/authorized_keys
END

echo 'LANG=C.UTF-8' >"$root/etc/default/locale"

# /root becomes the work disk's first content.
chmod 0755 "$root/root"
: >"$root/root/.hushlogin"
mkdir -p -m 0700 "$root/root/.ssh"

# What a login shell makes of the environment, so that a VM's first command need not run one: the variables it starts
# with, every profile it reads, and after a NUL the umask and the variables it ends with. The agent uses it while all
# that stands before the NUL is still so (docs/decisions/0005-login-environment-cached.md).
start="HOME=/root USER=root LOGNAME=root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin SHELL=/usr/bin/bash"
mkdir -p "$root/usr/lib/banger"
{
        # shellcheck disable=SC2086 # the words of $start are the variables
        printf '%s\n' $start
        for file in "$root/etc/profile" "$root/etc/bash.bashrc" "$root/etc/environment" "$root/root/.bash_profile" \
                "$root/root/.bash_login" "$root/root/.profile" "$root/root/.bashrc" "$root"/etc/profile.d/*.sh; do
                [ ! -e "$file" ] || { printf '== %s\n' "${file#"$root"}" && cat "$file"; }
        done
        printf '\0'
        # shellcheck disable=SC2086
        (cd / && umask 022 && chroot "$root" /usr/bin/env -i $start /usr/bin/bash -lc 'umask | tr "\n" "\0"; exec env -0' </dev/null) |
                grep -zvE '^(_|PWD|OLDPWD)='
} >"$root/usr/lib/banger/login"
