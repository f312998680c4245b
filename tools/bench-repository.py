#!/usr/bin/env python3
"""What a session costs in a large repository, beside what git itself takes for the same, in one run.

Makes a repository of many small files in a scratch folder, times `git worktree add` and `git status` there, then
starts a server whose sessions are clones of it and whose agent is the shell. Each figure is the median of its runs.
Usage: tools/bench-repository.py [--server PROGRAM] [--files N] [--bytes N] [--runs N] [--scratch FOLDER]
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

TOKEN = "bench-token-of-this-run-only-0123456789"


def git(folder, *args):
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    who = ["-c", "user.name=bench", "-c", "user.email=bench@example.com"]
    subprocess.run(["git", *who, *args], cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)


def timed(work):
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def make(folder, files, size):
    """Random bytes, as text, so that packing them is work as it is for source."""
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for number in range(files):
        place = folder / f"d{number // 500:03}"
        if number % 500 == 0:
            place.mkdir()
        (place / f"f{number:05}.txt").write_text(os.urandom(size // 2).hex())
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "all of it")


class Server:
    def __init__(self, program, scratch, shop):
        self.state = scratch / "state"
        agent = {"driver": "command", "program": "/bin/sh", "args": ["-c"], "format": "text"}
        config = {
            "server": {"port": 0},
            "state_dir": str(self.state),
            "workspace": {
                "path": str(scratch / "work"),
                "mode": "repository",
                "repository": {"url": str(shop)},
            },
            "auth": {"token": TOKEN},
            "agent": "plain",
            "agents": {"plain": {**agent, "patch": "off"}, "patched": {**agent, "patch": "auto"}},
            "timeouts": {"results": "10m"},
            "log": {"console": False},
        }
        path = scratch / "pilothouse.yaml"
        path.write_text(json.dumps(config))
        self.errors = (scratch / "stderr").open("w+")
        self.process = subprocess.Popen(
            [program, "serve", "--config", str(path)], cwd=scratch, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=self.errors,
        )
        self.base = self.address()

    def address(self):
        """Where it listens, as the state folder says it."""
        until = time.monotonic() + 60
        while time.monotonic() < until and self.process.poll() is None:
            text = pathlib.Path(self.errors.name).read_text()
            for word in text.replace("\n", " ").split(" "):
                if word.startswith("http://127.0.0.1:"):
                    return word.rstrip("/.,")
            time.sleep(0.05)
        sys.exit(f"the server did not start:\n{pathlib.Path(self.errors.name).read_text()}")

    def send(self, agent, context, text):
        message = {"messageId": os.urandom(8).hex(), "role": "ROLE_USER", "contextId": context, "parts": [{"text": text}]}
        request = urllib.request.Request(
            f"{self.base}/agents/{agent}/message:send",
            json.dumps({"message": message}).encode(),
            {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
        )
        task = json.load(urllib.request.urlopen(request, timeout=1800))["task"]
        if task["status"]["state"] != "TASK_STATE_COMPLETED":
            sys.exit(f"a turn failed: {json.dumps(task['status'])}")
        return task

    def stop(self):
        self.process.terminate()
        self.process.wait(60)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--server", default="target/release/pilothouse")
    args.add_argument("--files", type=int, default=50_000)
    args.add_argument("--bytes", type=int, default=4096)
    args.add_argument("--runs", type=int, default=3)
    args.add_argument("--scratch")
    args = args.parse_args()
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="bench-repository-", dir=args.scratch))
    program = str(pathlib.Path(args.server).resolve())
    rows = []

    def row(name, seconds, to=None):
        beside = f"{seconds / to:.2f} times" if to else ""
        rows.append((name, f"{seconds:.2f} s", beside))
        print(f"| {name} | {seconds:.2f} s | {beside} |", flush=True)

    try:
        shop = scratch / "shop"
        took = timed(lambda: make(shop, args.files, args.bytes))
        print(f"{args.files} files of {args.bytes} bytes, made in {took:.0f} s", file=sys.stderr)
        print("| figure | seconds | beside git |\n|---|---|---|")
        worktrees = [timed(lambda: git(shop, "worktree", "add", "-q", str(scratch / f"tree{n}"), "-b", f"b{n}")) for n in range(args.runs)]
        worktree = statistics.median(worktrees)
        row("`git worktree add`", worktree)
        tree = scratch / "tree0"
        (tree / "changed").write_text("x")
        status = statistics.median(timed(lambda: git(tree, "status", "--porcelain")) for _ in range(args.runs))
        row("`git status`", status)
        server = Server(program, scratch, shop)
        try:
            row("first session, with the fetch into the mirror", timed(lambda: server.send("plain", "c0", "true")))
            turn = statistics.median(timed(lambda: server.send("plain", "c0", "true")) for _ in range(args.runs))
            row("a further turn of it, for comparison", turn)
            second = statistics.median(timed(lambda: server.send("plain", f"c{n}", "true")) for n in range(1, args.runs + 1))
            row("a second session, less a further turn", second - turn, worktree)
            server.send("patched", "p", "true")
            changing = "echo $$ > changed"
            row("its first patch", timed(lambda: server.send("patched", "p", changing)))
            plain = statistics.median(timed(lambda: server.send("plain", "c0", changing)) for _ in range(args.runs))
            patched = statistics.median(timed(lambda: server.send("patched", "p", changing)) for _ in range(args.runs))
            row("the patch at a turn's end", patched - plain, status)
        finally:
            server.stop()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
