#!/bin/sh
# Installs the Claude Code that is tested with into a folder that git ignores, and prints where it is.
# Usage: tools/claude.sh          the pinned version
#        tools/claude.sh newest   the newest one of the registry
# Each version has a folder of its own.
set -u
cd "$(dirname "$0")/.." || exit 1
VERSION=2.1.332 # a plain install gives an older one on Node 20
if [ "${1:-}" = newest ]; then
    VERSION=$(npm view @anthropic-ai/claude-code version) || exit 1
fi
folder=.tools/claude-$VERSION
claude=$PWD/$folder/node_modules/.bin/claude
is_there() { [ "$("$claude" --version 2>/dev/null | cut -d' ' -f1)" = "$VERSION" ]; }
if ! is_there; then
    command -v npm >/dev/null || { echo "npm is missing; install Node.js" >&2; exit 1; }
    mkdir -p "$folder"
    npm install --no-audit --no-fund --loglevel=error --prefix "$folder" "@anthropic-ai/claude-code@$VERSION" >&2 || exit 1
    is_there || { echo "the installed Claude Code is not $VERSION" >&2; exit 1; }
fi
echo "$claude"
