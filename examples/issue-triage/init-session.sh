#!/bin/sh
# Runs once in the workspace of a new session, in the same sandbox, with the hosts of `egress.setup`.
set -eu
: "${REPO:?set REPO to OWNER/NAME before you start the server}"
git clone --quiet --depth 50 "https://github.com/$REPO.git" repository
curl -fsS --retry 2 -o issues.json "https://api.github.com/repos/$REPO/issues?state=open&per_page=50"
