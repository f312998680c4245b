#!/bin/sh
# Builds the program for `make run`. Cargo shows its progress at a terminal; the first build takes minutes, so that is said.
set -eu
cargo=${CARGO:-cargo}
if [ ! -e target/release/pilothouse ]; then
    echo "building pilothouse; the first build takes about five minutes on two cores, later ones take less" >&2
    exec $cargo build --release
fi
# Silent where nothing is to be done.
exec $cargo build --release --quiet
