#!/usr/bin/env python3
"""The frameworks that people use, against the real binary: `run.py [NAME...]` prints a table of what holds.

`install.sh` installs them, each in an environment of its own. The agent is `fake-agent`, which plays its prompt; a
stream is silent for longer than `timeouts.keep_alive`, so that comments come. Fails where a fact of `expected.txt`
does not hold any more.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
HOME = HERE.parent.parent
TOOLS = HOME / ".tools" / "clients"
BUILT = HOME / "target" / "debug"
TOKEN = "token-of-the-clients-5d0c1f8e9b7a4362"
FACTS = ["send", "stream", "ask", "file", "silence", "cancel", "resubscribe"]
# What is looked at beside them, and has no column: a page of an origin that is not allowed is refused.
BESIDE = ["refused"]
# Name, environment, program, further keys of the configuration.
CLIENTS = [
    ("Google ADK 2.13.0", "adk2", "adk.py", {}),
    ("Google ADK 1.39.1", "adk1", "adk.py", {}),
    ("Google ADK 1.39.1, `streams.answers: whole`", "adk1", "adk.py", {"streams": {"answers": "whole"}}),
    ("Microsoft Agent Framework 1.0.0b261022", "maf", "maf.py", {}),
    ("Strands Agents 1.62.0", "strands", "strands_agents.py", {}),
    ("CrewAI 1.15.30", "crewai", "crewai_client.py", {}),
    ("a2a-sdk 0.3.22", "sdk022", "sdk_0_3.py", {}),
    ("a2a-sdk 0.2.16", "sdk0216", "sdk_0_2.py", {}),
    ("a page in Chromium", "browser", "browser.py", {}),
]


class Server:
    """The binary with a store in memory, on a free port."""

    def __init__(self, folder, more):
        config = {
            "server": {"port": 0},
            "state_dir": str(folder / "state"),
            "workspace": {"path": str(folder / "work")},
            "auth": {"token": TOKEN},
            "audit": "off",
            "isolation": {"backend": "none"},
            "timeouts": {"keep_alive": "1s"},
            "agent": "fake",
            "agents": {"fake": {"driver": "command", "program": str(BUILT / "fake-agent"), "args": ["--events"], "format": "events"}},
            **more,
        }
        (folder / "config.yaml").write_text(json.dumps(config))
        self.log = (folder / "log").open("w")
        command = [BUILT / "pilothouse", "serve", "--config", folder / "config.yaml"]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, cwd=folder)
        file = folder / "state" / "server.json"
        until = time.monotonic() + 30
        while not file.exists():
            if self.process.poll() is not None or time.monotonic() > until:
                sys.exit(f"the server did not start:\n{(folder / 'log').read_text()}")
            time.sleep(0.05)
        self.url = json.loads(file.read_text())["url"]

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


def find_port():
    """A port of loopback that nobody has now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def run(environment, program, more):
    """The facts of one client."""
    python, args = TOOLS / environment / "bin" / "python", []
    if environment == "browser":
        port = find_port()
        python, args = sys.executable, [str(port)]
        more = {"server": {"port": 0, "allowed_origins": [f"http://127.0.0.1:{port}"]}}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        server = Server(folder, more)
        try:
            environ = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
            done = subprocess.run(
                [python, HERE / program, server.url, TOKEN, *args], capture_output=True, text=True, timeout=240, env=environ
            )
        finally:
            server.stop()
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"fact"')]
    facts = {line["fact"]: line for line in map(json.loads, lines)}
    if not facts:
        print(done.stderr[-3000:], file=sys.stderr)
    return facts


def main():
    chosen = sys.argv[1:]
    expected = set((HERE / "expected.txt").read_text().splitlines())
    lost = []
    print("| client | " + " | ".join(FACTS) + " |")
    print("|---|" + "---|" * len(FACTS))
    for name, environment, program, more in CLIENTS:
        if chosen and environment not in chosen:
            continue
        facts = run(environment, program, more)
        cells = []
        for fact in FACTS + BESIDE:
            told = facts.get(fact)
            if fact in FACTS:
                cells.append("–" if told is None else "yes" if told["holds"] else "no")
            if told and not told["holds"]:
                print(f"{name}: {fact}: {told['word']}", file=sys.stderr)
            if f"{name}: {fact}" in expected and not (told and told["holds"]):
                lost.append(f"{name}: {fact}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    if lost:
        sys.exit("these held before:\n" + "\n".join(lost))


main()
