#!/bin/sh
# The examples, each in a copy of its folder, as far as that goes without a network, a key and a cluster: their
# settings, session scripts, proxies, and turns of the real Claude Code with a scripted model. Ends with the counts.
# Usage: tests/examples/test.sh [EXAMPLE...]     (team ark ...; without one: all)
# PILOTHOUSE_BIN, FAKE_MODEL, PILOTHOUSE_TEST_CLAUDE: as for tests/docs/test.sh. HELM=file: the helm of .tools/chart
# without it. Looked for on PATH: nginx, caddy, openssl, playwright-mcp. What needs one that is not there is skipped.
set -eu
cd "$(dirname "$0")/../.."
command -v python3 >/dev/null || { echo "- the examples: there is no python3"; echo "0 passed, 0 failed, 1 skipped"; exit 0; }
PYTHONDONTWRITEBYTECODE=1 exec timeout 600 python3 tests/examples/run.py "$@"
