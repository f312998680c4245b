#!/bin/sh
# The dashboard in headless Chromium, against the real binary and a scripted agent. Ends with the counts.
# Usage: tests/ui/test.sh [PATTERN]     (tests by name; without one: all)
# PILOTHOUSE_BIN=FILE: the program to try, target/debug/pilothouse without it; it has to hold the built page
# (`make ui`, then `cargo build`). CHROMIUM=FILE: the browser, /usr/bin/chromium without it.
# UI_DIST=1: the page is that of ui/dist, whatever the program holds. Pictures of the pages: node ui/dev/pictures.mjs FOLDER.
set -eu
cd "$(dirname "$0")/../.."
skip() { echo "- the dashboard: $1"; echo "0 passed, 0 failed, 1 skipped"; exit 0; }
command -v npm >/dev/null || skip "there is no npm"
[ -x "${CHROMIUM:-/usr/bin/chromium}" ] || skip "there is no Chromium"
tools/ui.sh >/dev/null
[ -n "${PILOTHOUSE_BIN:-}" ] || cargo build --quiet --bin pilothouse
cd ui
node dev/licenses.mjs --check
node dev/size.mjs
exec timeout 300 node --test --test-concurrency=1 --test-reporter=./test/report.mjs ${1:+--test-name-pattern="$1"} test/*.spec.mjs
