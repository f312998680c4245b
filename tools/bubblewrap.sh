#!/bin/sh
# Installs bubblewrap, which makes the sandbox of agents, where that needs no password.
# Where it is not, the server itself says what to do.
set -u
command -v bwrap >/dev/null && exit 0
command -v apt-get >/dev/null || exit 0
as_root=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null && sudo -n true 2>/dev/null || exit 0
    as_root="sudo -n"
fi
echo "installing bubblewrap, which makes the sandbox of agents" >&2
{ $as_root apt-get update -qq && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends bubblewrap; } >/dev/null 2>&1 ||
    echo "bubblewrap could not be installed" >&2
exit 0
