#!/bin/sh
# Builds the page of the dashboard into ui/dist, where it is older than its sources. Usage: tools/ui.sh
set -eu
cd "$(dirname "$0")/../ui"
page=dist/index.html
if [ -e "$page" ] && [ -z "$(find . -path ./node_modules -prune -o -path ./dist -prune -o -newer "$page" -type f -print -quit)" ]; then
    exit 0
fi
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
    npm ci --no-audit --no-fund --silent
fi
npm run build --silent
