#!/bin/sh
# Serves a debug build and starts it again whenever a source is newer than the last build.
# Usage: tools/dev.sh [serve options]
set -u
cd "$(dirname "$0")/.." || exit 1
stamp=$(mktemp) || exit 1
server=
stop() {
    [ -n "$server" ] && kill "$server" 2>/dev/null && wait "$server"
    server=
}
trap 'stop; rm -f "$stamp"; exit 0' INT TERM
while :; do
    touch "$stamp"
    if cargo build --quiet; then
        stop
        target/debug/pilothouse serve "$@" &
        server=$!
    fi
    while [ -z "$(find Cargo.toml src crates migrations -newer "$stamp" -type f -print -quit)" ]; do
        sleep 1
    done
done
