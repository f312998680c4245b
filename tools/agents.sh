#!/bin/sh
# Installs every agent that has a preset, runs each through the real binary with the scripted model,
# and prints a table: what works with which version, and how long it takes (docs/agents.md); then what is different
# with the newest Claude Code.
# Usage: tools/agents.sh
set -eu
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}

echo "== agents: install" >&2
PILOTHOUSE_TEST_AGENTS=$(tests/agents/install.sh codex gemini opencode qwen copilot claude-acp)
export PILOTHOUSE_TEST_AGENTS
echo "== agents: run" >&2
"$cargo" build --quiet -p fake-agent
log=$(mktemp)
trap 'rm -f "$log"' EXIT
code=0
"$cargo" test --quiet -p pilothouse --test it -- acp_real::table:: --nocapture >"$log" 2>&1 || code=$?
grep '^| ' "$log" || true
[ "$code" -eq 0 ] || { grep -v '^| ' "$log" >&2; exit 1; }
echo "== agents: the newest Claude Code" >&2
tools/newest-claude.sh
