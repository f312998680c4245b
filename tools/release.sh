#!/usr/bin/env bash
# The steps of a release, each of which runs on any machine; .github/workflows/release.yml puts them together.
# What a release is, and how one is made: docs/releasing.md.
#
# Usage: tools/release.sh package BINARY DIR     DIR/pilothouse-VERSION-linux-ARCH.tar.gz of a static binary
#        tools/release.sh packages BINARY DIR    of the same binary, a wheel and an npm package (tools/packages.py)
#        tools/release.sh npm DIR                the npm package that needs those
#        tools/release.sh notes                  this version's section of CHANGELOG.md, to standard output
#        tools/release.sh installer URL DIR      DIR/install.sh that knows this version and where it lies
#        tools/release.sh sums DIR               DIR/SHA256SUMS over all other files there, and DIR/VERSION
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { echo "release: $*" >&2; exit 1; }
version=$(tools/check-version.sh --print)
# The same commit gives the same bytes.
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH=$epoch

# The machine that an ELF file is for.
machine() {
    [ "$(head -c 4 "$1" | tr -d '\0' | cut -c2-4)" = ELF ] || fail "$1 is no ELF file"
    case $(od -An -tu1 -j18 -N1 "$1" | tr -d ' ') in
        62) echo x86_64 ;;
        183) echo aarch64 ;;
        *) fail "$1 is for a machine that there are no releases for" ;;
    esac
}

is_static() { ! LC_ALL=C readelf -lW "$1" | grep -q INTERP; }

# The machine of a binary that may be released: a dynamic one would need the C library of the machine that it was
# built on. (A test that puts it onto the very same system may say RELEASE_DYNAMIC=1.)
releasable() {
    [ -f "$1" ] || fail "there is no $1"
    machine "$1"
    [ -n "${RELEASE_DYNAMIC:-}" ] || is_static "$1" || fail "$1 is not static; tools/docker-build.sh binary makes one"
}

packages() {
    local arch
    arch=$(releasable "$1")
    if is_static "$1"; then tools/packages.py machine "$1" "$arch" "$2"; else LINUX_ALONE=1 tools/packages.py machine "$1" "$arch" "$2"; fi
}

npm() { tools/packages.py npm "$1"; }

package() {
    local binary=$1 dir=$2 arch name work
    arch=$(releasable "$binary")
    name=pilothouse-$version-linux-$arch
    work=$(mktemp -d)
    mkdir -p "$work/$name/systemd" "$work/$name/apparmor" "$work/$name/man" "$dir"
    install -m 755 "$binary" "$work/$name/pilothouse"
    install -m 644 LICENSE LICENSE-APACHE LICENSE-MIT README.md SECURITY.md CHANGELOG.md pilothouse.example.yaml "$work/$name/"
    install -m 644 deploy/systemd/* "$work/$name/systemd/"
    install -m 644 deploy/apparmor/* "$work/$name/apparmor/"
    # The program writes them itself, where this machine can run it.
    [ "$arch" != "$(uname -m)" ] || "$binary" man "$work/$name/man"
    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" -C "$work" -cf - "$name" | gzip -9n >"$dir/$name.tar.gz"
    rm -rf "$work"
    echo "$dir/$name.tar.gz"
}

notes() {
    awk -v head="## [$version]" '
        index($0, head) == 1 {found = 1; next}
        found && /^## / {exit}
        found && (NF || begun) {begun = 1; held = held $0 "\n"; if (NF) {printf "%s", held; held = ""}}
        END {if (!begun) exit 1}' CHANGELOG.md || fail "CHANGELOG.md has no section '## [$version]'"
}

installer() {
    local url=${1%/} dir=$2
    case $url in *[!0-9A-Za-z:/._~%-]*) fail "$url is no address that a shell script may hold" ;; esac
    mkdir -p "$dir"
    sed -e "s|^BASE_URL=\$|BASE_URL=$url|" -e "s|^VERSION=\$|VERSION=$version|" tools/install.sh >"$dir/install.sh"
    chmod 755 "$dir/install.sh"
    grep -qx "BASE_URL=$url" "$dir/install.sh" && grep -qx "VERSION=$version" "$dir/install.sh" || fail "tools/install.sh has no lines BASE_URL= and VERSION="
}

sums() {
    cd "$1"
    echo "$version" >VERSION
    # shellcheck disable=SC2035
    find . -maxdepth 1 -type f ! -name SHA256SUMS -printf '%f\n' | LC_ALL=C sort | xargs sha256sum -- >SHA256SUMS
    cat SHA256SUMS
}

step=${1:-}
case $step:$# in
    package:3 | packages:3 | installer:3) "$step" "$2" "$3" ;;
    npm:2 | sums:2) "$step" "$2" ;;
    notes:1) "$step" ;;
    *) sed -n '/^# Usage/,/^set/p' "$0" | sed -n 's/^# //p' >&2; exit 2 ;;
esac
