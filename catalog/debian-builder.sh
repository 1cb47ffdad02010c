# Runs once over the unpacked tree: $1 is its root. What runs in this image is buildah alone, started by the agent.
set -eu
root=$1

# What each VM must have for itself: host name, resolver. The agent makes them.
rm -f "$root/etc/hostname" "$root/etc/resolv.conf"

# "FROM alpine" is Docker Hub's, as everybody who writes it means.
mkdir -p "$root/etc/containers/registries.conf.d"
echo 'unqualified-search-registries = ["docker.io"]' >"$root/etc/containers/registries.conf.d/banger.conf"

# /root becomes the work disk's first content.
chmod 0755 "$root/root"
