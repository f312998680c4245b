#!/usr/bin/env python3
import json, os, sys
from pathlib import Path

def say(type, **fields):
    print(json.dumps({"type": type, **fields}), flush=True)

message, kept = sys.stdin.read().strip(), Path(f".asked-{os.environ['A2A_TASK_ID']}")
if kept.exists():  # this message is the answer; what to paint was said before
    say("text", text=f"{kept.read_text()}, painted {message}.")
    kept.unlink()
else:
    kept.write_text(message)
    say("ask", text="Which colour?", options=["red", "green", "blue"])
