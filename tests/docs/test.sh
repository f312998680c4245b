#!/bin/sh
# The commands, outputs, settings and links of the documentation, tried as they stand there. Ends with the counts.
# Usage: tests/docs/test.sh [PAGE...]     (README.md docs/api.md ...; without one: all)
# PILOTHOUSE_BIN=FILE: the program to try, target/debug/pilothouse without it. `fake-agent` and `fake-model` are
# looked for beside it, or named by FAKE_AGENT and FAKE_MODEL; Claude Code by PILOTHOUSE_TEST_CLAUDE, or in
# .tools. What needs one that is not there is skipped. How blocks are marked stands in tests/docs/pages.py.
set -eu
cd "$(dirname "$0")/../.."
command -v python3 >/dev/null || { echo "- the documentation: there is no python3"; echo "0 passed, 0 failed, 1 skipped"; exit 0; }
PYTHONDONTWRITEBYTECODE=1 exec timeout 600 python3 tests/docs/run.py "$@"
