#!/bin/sh
# The tests of chaos, memory and starts in full numbers, on the release build (or PILOTHOUSE_BIN): prints figures,
# ends at the first law that is broken. HANG_UPS=10000 KILLS=300 STARTS=1000; CROWD=16 for a sixteenth of each
# crowd, SEED=number for other dice. Half an hour or more on two cores.
set -eu
cd "$(dirname "$0")/.."
program=${PILOTHOUSE_BIN:-$PWD/target/release/pilothouse}
[ -n "${PILOTHOUSE_BIN:-}" ] || cargo build --release --quiet
export PILOTHOUSE_CHAOS_BIN="$program"
export PILOTHOUSE_CROWD="${CROWD:-1}" PILOTHOUSE_STARTS="${STARTS:-1000}"
export PILOTHOUSE_CHAOS_HANG_UPS="${HANG_UPS:-10000}" PILOTHOUSE_CHAOS_KILLS="${KILLS:-300}"
[ -z "${SEED:-}" ] || export PILOTHOUSE_CHAOS_SEED="$SEED"
cargo build --quiet --package fake-agent
exec cargo test --quiet --package pilothouse --test it -- chaos:: memory:: walls::starts:: --nocapture --test-threads=1
