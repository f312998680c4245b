#!/usr/bin/env python3
"""Makes docs/first-minute.svg: a newcomer's first minute at a terminal, really run, as an animated picture.

Usage: tools/recording.py [PROGRAM]     (target/debug/pilothouse without it)

The server and each command run on a terminal of their own with an empty HOME. What they print is played back with
fixed pauses, so that two runs give the same picture but for ids, times and the token, which are replaced.
"""

import html
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
COLUMNS, ROWS = 100, 30
PATIENCE = 60
REPLACED = [
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{4}([0-9a-f]{8})"), r"01a1faa5-942f-729a-b5ec-eb4981f0c480"),
    (re.compile(r"TOKEN=\w+"), "TOKEN=5f0c…"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:2222"),
]


class Terminal:
    """A command on a terminal; its lines as they stand at the end."""

    def __init__(self, words, home):
        env = {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": str(COLUMNS)}
        self.pid, self.file = pty.fork()
        if self.pid == 0:
            os.chdir(home)
            os.execve(words[0], words, env)
        subprocess.run(["stty", "cols", str(COLUMNS), "rows", str(ROWS)], stdin=self.file, check=True)
        self.text = ""

    def read(self, until=None):
        deadline = time.monotonic() + PATIENCE
        while until is None or until not in self.text:
            if not select.select([self.file], [], [], max(0, deadline - time.monotonic()))[0]:
                raise SystemExit(f"no `{until}` within {PATIENCE} s in: {self.text}")
            try:
                piece = os.read(self.file, 65536)
            except OSError:
                piece = b""
            if not piece:
                break
            self.text += piece.decode(errors="replace")
        return self

    def press(self, keys):
        os.write(self.file, keys.encode())

    def end(self):
        os.waitpid(self.pid, 0)
        os.close(self.file)

    def lines(self):
        """What is left on the lines: a carriage return with an erase begins the line anew."""
        lines = []
        for line in self.text.replace("\r\n", "\n").split("\n"):
            line = line.split("\x1b[K")[-1] if "\x1b[K" in line else line
            line = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).split("\r")[-1].rstrip()
            for pattern, text in REPLACED:
                line = pattern.sub(text, line)
            lines.append(line)
        while lines and not lines[-1]:
            lines.pop()
        return lines


def wrapped(line, mark):
    """A line as a terminal of this width shows it."""
    rest = line
    first = True
    while first or rest:
        yield mark if first else "out", rest[:COLUMNS]
        rest, first = rest[COLUMNS:], False


def drawn(steps):
    """The picture: each line appears at its time and stays; the text moves up where it does not fit."""
    size, high, top = 14, 19, 40
    shown, at = [], 0.6
    for command, lines in steps:
        for part in wrapped("$ " + command, "in"):
            shown.append((at, *part))
        at += 0.9
        for line in lines:
            for part in wrapped(line, "out"):
                shown.append((at, *part))
            at += 0.25
        at += 1.2
    end = at + 4
    wide, tall = COLUMNS * 8.43 + 32, top + ROWS * high + 16
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:.0f} {tall}" font-family="ui-monospace,Menlo,Consolas,monospace" font-size="{size}">',
        "<title>make run, pilothouse send, and an answer to a question of the agent</title>",
        f'<rect width="100%" height="100%" rx="8" fill="#1b1f27"/><circle cx="20" cy="19" r="6" fill="#ef6a5e"/><circle cx="40" cy="19" r="6" fill="#f5bf4f"/><circle cx="60" cy="19" r="6" fill="#62c554"/>',
        f'<clipPath id="screen"><rect x="0" y="{top - 8}" width="{wide:.0f}" height="{tall - top}"/></clipPath>',
        '<g clip-path="url(#screen)"><g fill="#d6dbe5" xml:space="preserve">',
    ]
    for number, (_, _, _) in enumerate(shown[ROWS:]):
        begin = shown[ROWS + number][0]
        up = -(number + 1) * high
        out.append(f'<animateTransform attributeName="transform" type="translate" to="0 {up}" begin="{begin:.2f}s" dur="0.01s" fill="freeze"/>')
    for row, (begin, mark, text) in enumerate(shown):
        colour = ' fill="#8ec07c" font-weight="bold"' if mark == "in" else ""
        y = top + (row + 1) * high - 6
        out.append(
            f'<text x="16" y="{y}"{colour} visibility="hidden">{html.escape(text)}<set attributeName="visibility" to="visible" begin="{begin:.2f}s" fill="freeze"/></text>'
        )
    out.append("</g></g></svg>")
    return "\n".join(out) + "\n", end


def main():
    program = str(Path(sys.argv[1] if len(sys.argv) > 1 else TOP / "target/debug/pilothouse").resolve())
    with tempfile.TemporaryDirectory(prefix="recording-") as home:
        server = Terminal([program, "serve", "--port", "0"], home).read("try: ").read("hello")
        started = server.lines()
        steps = [("make run", [line.replace(home, "~").replace(program, "target/release/pilothouse") for line in started])]
        try:
            hello = Terminal([program, "send", "hello"], home).read()
            hello.end()
            steps.append(('pilothouse send "hello"', hello.lines()))
            ask = Terminal([program, "send", "ask"], home).read("leaves it waiting): ")
            ask.press("green\n")
            ask.read().end()
            steps.append(('pilothouse send "ask"', ask.lines()))
        finally:
            os.kill(server.pid, signal.SIGTERM)
            server.read().end()
        picture, _ = drawn(steps)
    target = TOP / "docs/first-minute.svg"
    target.write_text(picture, encoding="utf-8")
    print(f"{target.relative_to(TOP)}: {len(picture)} bytes")


if __name__ == "__main__":
    main()
