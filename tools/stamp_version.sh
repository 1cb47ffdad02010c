#!/bin/sh
# Writes version.c for the source tree $1 to $2, and leaves the file alone when it already says the same: no rebuild.
set -eu

source=$1
output=$2
version=dev
commit=unknown
built_at=unknown

# safe.directory: `sudo make install` reads a tree of the user who built it. Only a repository of the tree itself counts,
# not one that a release archive was unpacked into.
git_of_source() {
        git -c safe.directory='*' -C "$source" "$@" 2>/dev/null
}
if [ -e "$source/.git" ] && commit=$(git_of_source rev-parse HEAD); then
        built_at=$(TZ=UTC0 git_of_source log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ)
        version=$(git_of_source describe --tags --exact-match --match 'v[0-9]*' || echo dev)
else
        commit=unknown
fi

text=$(printf '%s\n' '#include "base/version.h"' '' \
        "const char BANGER_VERSION[] = \"$version\";" \
        "const char BANGER_COMMIT[] = \"$commit\";" \
        "const char BANGER_BUILT_AT[] = \"$built_at\";")
if [ ! -e "$output" ] || [ "$text" != "$(cat "$output")" ]; then
        printf '%s\n' "$text" >"$output"
fi
