#!/bin/sh
# Builds the program for `make run`, and the page of the dashboard beside it where npm is. Cargo shows its progress at a terminal;
# the first build takes minutes, so that is said.
set -eu
cargo=${CARGO:-cargo}
if [ -e ui/package.json ] && command -v npm >/dev/null; then
    # The program's build script, which embeds the page, waits while this file is there.
    PILOTHOUSE_UI_PENDING=$(mktemp)
    export PILOTHOUSE_UI_PENDING
    (
        log=$(mktemp)
        tools/ui.sh >"$log" 2>&1 || { cat "$log" >&2; echo "the page of the dashboard could not be built; the program is built without it, or with an earlier one" >&2; }
        rm -f "$log" "$PILOTHOUSE_UI_PENDING"
    ) &
    # Where a page is there, cargo sees whether it has changed only when it looks.
    [ -e target/release/pilothouse ] && wait
fi
if [ ! -e target/release/pilothouse ]; then
    echo "building pilothouse; the first build takes about five minutes on two cores, later ones take less" >&2
    exec $cargo build --release
fi
# Silent where nothing is to be done.
exec $cargo build --release --quiet
