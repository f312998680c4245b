#!/bin/sh
# Installs the frameworks, pinned, each in an environment of its own below `.tools/clients` of the checkout; quick
# where that was done before.
set -eu
tools=$(cd "$(dirname "$0")/../.." && pwd)/.tools/clients
mkdir -p "$tools"

# install NAME REQUIREMENT...
install() {
    name=$1; shift
    [ "$(cat "$tools/$name.done" 2>/dev/null)" != "$*" ] || return 0
    rm -rf "${tools:?}/$name"
    python3 -m venv "$tools/$name"
    "$tools/$name/bin/pip" install --disable-pip-version-check --no-cache-dir --quiet "$@"
    echo "$*" >"$tools/$name.done"
}

install adk2 'google-adk[a2a]==2.13.0'
install adk1 'google-adk[a2a]==1.39.1'
install maf 'agent-framework-a2a==1.0.0b261022'
install strands 'strands-agents[a2a]==1.62.0'
install crewai 'crewai[a2a]==1.15.30'
install sdk022 'a2a-sdk[http-server,grpc]==0.3.22'
install sdk0216 'a2a-sdk==0.2.16'

# The browser is the one of the system.
command -v chromium >/dev/null && exit 0
[ "$(id -u)" -eq 0 ] || { echo "chromium is missing; install it" >&2; exit 1; }
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
