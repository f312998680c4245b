"""Programs that stand before the real ones on PATH while a block is run, so that a page can be followed on its own.

`git` goes nowhere. `pilothouse` as a server is started in the background, on a free port, and returns when it answers. `make run` is
that without the compiling; any other target of make is only looked up. `curl` fails where HTTP or JSON-RPC says
that something is wrong, and leaves a stream that does not end by itself once it has said something.
"""

from pathlib import Path

SERVE = """#!/bin/bash
# A server command: in the background, until the next one or the end of the page.
case ${1:-serve} in
serve | -[^hV]*) ;;
*) exec "$REAL_PILOTHOUSE" "$@" ;;
esac
for word in "$@"; do case $word in -h | --help | -V | --version) exec "$REAL_PILOTHOUSE" "$@" ;; --) break ;; esac; done
"$STOP_SERVER"
# Agents find the machine's own programs.
PATH=${PATH#*:} "$REAL_PILOTHOUSE" "$@" >"$SERVER_FILES/log" 2>&1 </dev/null &
echo $! >"$SERVER_FILES/pid"
for _ in $(seq 300); do
    "$REAL_PILOTHOUSE" healthcheck >/dev/null 2>&1 && exit 0
    kill -0 "$(cat "$SERVER_FILES/pid")" 2>/dev/null || break
    sleep 0.1
done
cat "$SERVER_FILES/log" >&2
exit 1
"""

STOP = """#!/bin/bash
[ -s "$SERVER_FILES/pid" ] || exit 0
pid=$(cat "$SERVER_FILES/pid")
runs() { grep -q '^State:[[:space:]][^ZX]' "/proc/$pid/status" 2>/dev/null; }
kill "$pid" 2>/dev/null
for _ in $(seq 250); do runs || break; sleep 0.1; done
! runs || kill -9 "$pid"
rm -f "$SERVER_FILES/pid"
"""

MAKE = """#!/bin/bash
case ${1:-} in
run) shift; exec pilothouse serve "$@" ;;
*) exec "$REAL_MAKE" -n -C "$TOP" "$@" >/dev/null ;;
esac
"""

CURL = """#!/usr/bin/env python3
import json, os, subprocess, sys
done = subprocess.run([os.environ["REAL_CURL"], "--fail-with-body", "--max-time", "2", *sys.argv[1:]], stdout=subprocess.PIPE)
sys.stdout.buffer.write(done.stdout)
text = done.stdout.decode()
events = [line[5:] for line in text.splitlines() if line.startswith("data:")]
wrong = False
for one in events or [text]:
    try:
        wrong = wrong or "error" in json.loads(one)
    except (ValueError, TypeError):
        pass
# 28: it still listened; that is how a stream of an open task looks.
sys.exit(1 if wrong or (done.returncode and not (done.returncode == 28 and events)) else 0)
"""


# A block that nobody marked must not change the machine of whoever runs the tests.
NEVER = """#!/bin/sh
echo "${0##*/} is not run by tests/docs: mark the block" >&2
exit 97
"""
NEVER_RUN = "sudo su systemctl journalctl apt apt-get dnf docker podman kubectl helm devspace npm pip cargo ssh".split()

# It works in what the page has made, and goes nowhere.
GIT = """#!/bin/sh
for word in "$@"; do
    case $word in *://* | *@*:* | push | pull | submodule)
        echo "git $* is not run by tests/docs: mark the block" >&2
        exit 97 ;;
    esac
done
exec "$REAL_GIT" "$@"
"""


def write(folder: Path):
    for name, text in (*((name, NEVER) for name in NEVER_RUN), ("pilothouse", SERVE), ("stop-server", STOP), ("make", MAKE), ("curl", CURL), ("git", GIT)):
        file = folder / name
        file.write_text(text, encoding="utf-8")
        file.chmod(0o755)
