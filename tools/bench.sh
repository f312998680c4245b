#!/bin/sh
# Builds the release binary, the stub agent and the load generator, and prints the table of figures.
# Usage: tools/bench.sh [quick] [SECTION...]
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
cargo=${CARGO:-cargo}
out=target/bench

# The section `claude` runs the real one.
PILOTHOUSE_TEST_CLAUDE=${PILOTHOUSE_TEST_CLAUDE:-$(tools/claude.sh)} || unset PILOTHOUSE_TEST_CLAUDE
[ -z "${PILOTHOUSE_TEST_CLAUDE:-}" ] || export PILOTHOUSE_TEST_CLAUDE
"$cargo" build --release --quiet
"$cargo" build --release --quiet -p bench
mkdir -p "$out"
# No C library: see the stub itself.
rustc --edition 2024 -O -C panic=abort -C relocation-model=static -C target-feature=+crt-static -C strip=symbols \
    -C link-args="-nostartfiles -nostdlib -static" -o "$out/stub" benches/stub/main.rs

# A thousand streams with live agents: descriptors for their sockets and pipes, processes for their agents.
ulimit -n "$(ulimit -H -n)" 2>/dev/null || true
descriptors=$(ulimit -n)
if [ "$descriptors" != unlimited ] && [ "$descriptors" -lt 8192 ]; then
    echo "bench: $descriptors open files are allowed; the row of 1,000 streams needs 8192 (ulimit -n)" >&2
fi

BENCH_COMMIT=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
git diff --quiet HEAD -- src crates Cargo.toml 2>/dev/null || BENCH_COMMIT="$BENCH_COMMIT and changes"
export BENCH_COMMIT
exec "$target/release/bench" --server "$target/release/pilothouse" --stub "$out/stub" --out "$out" "$@"
