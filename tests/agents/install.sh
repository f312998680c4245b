#!/bin/sh
# Installs real coding agents, pinned, into `.tools/agents-*` of the checkout; says nothing and is
# quick where that was done before. Prints the folder that holds them.
# Usage: tests/agents/install.sh [AGENT...]    (gemini codex: those that the tests need)
set -eu
tools=$(cd "$(dirname "$0")/../.." && pwd)/.tools
mkdir -p "$tools"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

fail() { echo "agents: $*" >&2; exit 1; }

# quiet COMMAND...: its output only when it fails.
quiet() { "$@" >"$log" 2>&1 || { cat "$log" >&2; fail "'$*' failed"; }; }

# packages AGENT: what npm installs for it. What an agent runs is pinned too where it is a package of
# its own. An older Node would get older agents without a version.
packages() {
    case $1 in
        gemini) echo @google/gemini-cli@0.61.0 ;;
        codex) echo @agentclientprotocol/codex-acp@2.6.0 @openai/codex@0.166.0 ;;
        opencode) echo opencode-ai@1.18.33 ;;
        qwen) echo @qwen-code/qwen-code@0.24.4 ;;
        copilot) echo @github/copilot@1.0.102 ;;
        claude-acp) echo @agentclientprotocol/claude-agent-acp@0.100.0 ;;
        node) echo node@22.23.3 ;;
        *) fail "no agent '$1'; there are: gemini codex opencode qwen copilot claude-acp" ;;
    esac
}

# install NAME: where it is not there in exactly these versions.
install() {
    pinned=$(packages "$1")
    folder=$tools/agents-$1
    [ "$(cat "$folder/stamp" 2>/dev/null)" != "$pinned" ] || return 0
    command -v npm >/dev/null || fail "npm is missing; install Node.js, or run 'make test-fast'"
    rm -rf "${folder:?}"
    mkdir -p "$folder"
    # shellcheck disable=SC2086 # several packages
    quiet npm install --no-audit --no-fund --loglevel=error --prefix "$folder" $pinned
    printf '%s\n' "$pinned" >"$folder/stamp"
}

# The agents run with Node 20 or newer; where the machine has an older one, one of npm stands beside them.
major=$(node --version 2>/dev/null | sed 's/^v//; s/\..*//')
[ "${major:-0}" -ge 20 ] || install node

[ $# -gt 0 ] || set -- gemini codex
for agent; do
    install "$agent"
done
echo "$tools"
