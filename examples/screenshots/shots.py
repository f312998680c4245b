#!/usr/bin/env python3
"""One turn of Claude Code with a browser; the pictures that it made are artifacts of the answer."""
import base64, json, subprocess, sys
from pathlib import Path


def say(type, **fields):
    print(json.dumps({"type": type, **fields}), flush=True)


def pictures():
    found = [file for kind in ("png", "jpg", "jpeg") for file in Path(".").rglob(f"*.{kind}")]
    return {file: file.stat().st_mtime_ns for file in found if file.is_file() and not file.is_symlink()}


before, begun = pictures(), Path(".begun")
going_on = ["--continue"] if begun.exists() else []
turn = subprocess.run(
    ["claude", "--print", *going_on, "--permission-mode", "acceptEdits", *sys.argv[1:]],
    input=sys.stdin.read(), stdout=subprocess.PIPE, text=True,
)
say("text", text=turn.stdout)
if turn.returncode:
    sys.exit(turn.returncode)
begun.touch()
for file, changed in sorted(pictures().items()):
    if before.get(file) != changed and file.stat().st_size < 2_500_000:  # a line may have 4 MiB (`limits.line`)
        kind = "png" if file.suffix == ".png" else "jpeg"
        data = base64.b64encode(file.read_bytes()).decode()
        say("artifact", name=file.name, filename=file.name, mediaType=f"image/{kind}", raw=data)
