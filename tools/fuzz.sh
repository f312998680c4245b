#!/bin/sh
# Fuzzes the decoders of foreign bytes, one after the other, with libFuzzer on a stable toolchain.
# Usage: tools/fuzz.sh [TARGET...]   TIME=seconds of each (20)   KEEP=1: what is new and small stays in the corpus
#        tools/fuzz.sh --check       whether they compile
set -eu
cd "$(dirname "$0")/.."
seconds=${TIME:-20}
targets=${*:-$(ls fuzz/corpus)}
host=$(rustc -vV | sed -n 's/^host: //p')
work=target/fuzz
mkdir -p "$work/found" "$work/crashes"
# The versions of the workspace; what is only needed here is added to the copy.
cp Cargo.lock fuzz/Cargo.lock
if [ "${1:-}" = --check ]; then
    exec cargo check --quiet --manifest-path fuzz/Cargo.toml --target-dir "$work"
fi
# With --target the counters are in what is fuzzed, and not in build scripts and macros.
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1" \
    cargo build --quiet --release --manifest-path fuzz/Cargo.toml --target "$host" --target-dir "$work"
program=$work/$host/release/fuzz
[ -d /dev/shm ] && export TMPDIR=/dev/shm
failed=0
for target in $targets; do
    mkdir -p "$work/found/$target"
    log=$work/$target.log
    code=0
    PILOTHOUSE_FUZZ=$target "$program" "$work/found/$target" "fuzz/corpus/$target" \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=16384 \
        -artifact_prefix="$work/crashes/$target-" -print_final_stats=1 >"$log" 2>&1 || code=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
    printf '  %-10s %10s runs %8s a second  ' "$target" "${runs:-?}" "${rate:-?}"
    if [ "$code" -eq 0 ]; then echo "no failure"; else echo "FAILS, see $log"; failed=1; tail -n 30 "$log"; fi
    if [ "${KEEP:-0}" = 1 ] && [ "$code" -eq 0 ]; then
        # The smallest set that reaches as much.
        PILOTHOUSE_FUZZ=$target "$program" -merge=1 -max_len=1024 "fuzz/corpus/$target" "$work/found/$target" >>"$log" 2>&1
    fi
done
exit "$failed"
