#!/bin/sh
# Runs the example `screenshots` with the real browser: Playwright MCP, pinned, and Debian's Chromium, both in the sandbox
# of a session, with Claude Code on the scripted model. Fails where something of that is missing.
# Usage: tools/test-browser.sh
set -eu
cd "$(dirname "$0")/.."
VERSION=0.0.83
folder=$PWD/.tools/playwright-mcp-$VERSION
if [ ! -x "$folder/node_modules/.bin/playwright-mcp" ]; then
    command -v npm >/dev/null || { echo "npm is missing; install Node.js" >&2; exit 1; }
    mkdir -p "$folder"
    # The browser is Debian's.
    PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm install --no-audit --no-fund --loglevel=error --prefix "$folder" "@playwright/mcp@$VERSION" >&2
fi
PATH=$folder/node_modules/.bin:$PATH
export PATH
PILOTHOUSE_TEST_CLAUDE=${PILOTHOUSE_TEST_CLAUDE:-$(tools/claude.sh)}
export PILOTHOUSE_TEST_CLAUDE
"${CARGO:-cargo}" build --workspace --bins --quiet
said=$(tests/examples/test.sh screenshots) || { echo "$said"; exit 1; }
echo "$said"
case $said in *" 0 skipped"*) ;; *) echo "what was skipped is missing on this machine" >&2; exit 1 ;; esac
