#!/bin/sh
# Runs the tests in sets, prints each set's time, ends with counts.
# Usage: tools/test.sh [all|fast|claude]
set -u
cd "$(dirname "$0")/.." || exit 1
which=${1:-all}
passed=0 failed=0 skipped=0 broken=0 table= wrong=
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT

fail() { echo "test: $*" >&2; exit 1; }

# The pinned Claude Code, into a folder that git ignores.
install_claude() {
    PILOTHOUSE_TEST_CLAUDE=$(tools/claude.sh) || fail "Claude Code could not be installed; 'make test-fast' leaves its tests out"
    export PILOTHOUSE_TEST_CLAUDE
}

# run NAME COMMAND...: one set.
run() {
    name=$1; shift
    echo "== $name"
    began=$(date +%s)
    "$@" >"$log" 2>&1; code=$?
    seconds=$(($(date +%s) - began))
    # The closing line of each test binary, or that of a script.
    set -- $(sed -nE -e 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed; ([0-9]+) ignored.*/\1 \2 \3/p' \
        -e 's/^([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p' "$log" |
        awk '{p += $1; f += $2; i += $3} END {print p + 0, f + 0, i + 0}')
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
    table="$table$(printf '  %-28s %5d passed %3d failed %4d s' "$name" "$1" "$2" "$seconds")
"
    if [ "$code" -ne 0 ]; then
        grep -vE '^(test .* \.\.\. ok|running [0-9]+ tests?|)$' "$log" | tail -n 200
        [ "$2" -gt 0 ] || broken=1
        # Named again beside the counts: who reads a log from its end finds them there.
        wrong="$wrong$(printf '%s:' "$name"; grep -A 5 --no-group-separator -E '^(✗ |thread .* panicked|test .* FAILED$|error)' "$log" | head -n 20 | cut -c 1-300)
"
    fi
}

tools/bubblewrap.sh
command -v bwrap >/dev/null || fail "bwrap is missing; install the package bubblewrap, whose walls are tested"
[ "$which" = fast ] || install_claude
if [ "$which" = all ]; then
    echo "== foreign clients: install"
    PILOTHOUSE_TEST_FOREIGN=$(tests/foreign/install.sh) || fail "the foreign clients could not be installed"
    export PILOTHOUSE_TEST_FOREIGN
    echo "== real ACP agents: install"
    PILOTHOUSE_TEST_AGENTS=$(tests/agents/install.sh) || fail "the agents could not be installed"
    export PILOTHOUSE_TEST_AGENTS
fi
# The program holds the page, so the page comes first.
if command -v npm >/dev/null; then
    echo "== the page of the dashboard: build"
    tools/ui.sh || fail "the page of the dashboard could not be built"
fi
run "build" cargo test --workspace --no-run
if [ "$which" != claude ]; then
    run "protocol and drivers" cargo test -p pilothouse-a2a --all-features -p pilothouse-agents
    run "the proxy" cargo test -p pilothouse-egress
    run "the sandbox" cargo test -p pilothouse-sandbox
    run "test programs" cargo test -p fake-agent -p fake-model -p conformance-agent
    run "units" cargo test -p pilothouse --bins
    run "the real binary" cargo test -p pilothouse --test it -- --skip claude:: --skip foreign:: --skip acp_real:: --skip containers::
fi
if [ "$which" = all ]; then
    run "foreign clients" cargo test -p pilothouse --test it -- foreign::
    run "real ACP agents" cargo test -p pilothouse --test it -- acp_real:: --skip acp_real::table:: --test-threads=2
fi
if [ "$which" = all ]; then
    run "the documentation" tests/docs/test.sh
    run "the examples" tests/examples/test.sh
    run "the dashboard" tests/ui/test.sh
fi
if [ "$which" != fast ]; then
    run "the real Claude Code" cargo test -p pilothouse --test it -- claude:: --test-threads=4
fi
echo
printf '%s' "$table"
printf '%s' "$wrong"
[ "$broken" -eq 0 ] || { failed=$((failed + 1)); echo "a set did not run to its end"; }
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
