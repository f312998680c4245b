"""Goes through the pages: runs their blocks, checks their settings and links, and counts."""

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pages
import shims

TOP = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("PILOTHOUSE_BIN") or TOP / "target/debug/pilothouse").resolve()
PATIENCE = 60
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
# An ask as the printed command names it.
SHORT = re.compile(r"pilothouse answer [2-9a-hj-km-np-tv-z]{6}\b")
# What differs from run to run in what is shown: ids, times, dates.
VARIES = [
    (UUID, "ID"),
    (SHORT, "pilothouse answer ID"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "DATE"),
    (re.compile(r"\b\d+\.\d s\b"), "SECONDS"),
    (re.compile(r"\b\d+ bytes\b"), "BYTES"),
    (re.compile(r"\(in [^)]*\)"), "(in TIME)"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:PORT"),
]
# Variables of which the page says that they are from earlier answers: each paragraph gets new ones.
FRESH = ("$TASK", "$CONFIG", "$ASK")
# Agents that pages speak to: one that asks a question, and one that asks for a permission.
DEMO = {"agent": "demo"}


def beside(name, variable):
    named = os.environ.get(variable)
    file = Path(named) if named else BIN.with_name(name)
    return file.resolve() if file.exists() else None


FAKE_AGENT = beside("fake-agent", "FAKE_AGENT")
FAKE_MODEL = beside("fake-model", "FAKE_MODEL")


def program(name):
    """A real agent, where the tests have installed it."""
    folder = Path(os.environ.get("PILOTHOUSE_TEST_AGENTS") or TOP / ".tools")
    file = {
        "claude": Path(os.environ.get("PILOTHOUSE_TEST_CLAUDE") or max(TOP.glob(".tools/claude-*/node_modules/.bin/claude"), default="claude")),
        "codex": folder / "agents-codex/node_modules/.bin/codex-acp",
    }.get(name)
    return file if file and file.exists() else None


class Report:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.lines = []

    def say(self, line):
        self.lines.append(line)

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        for line in other.lines:
            print(line, flush=True)

    def skip(self, name, reason):
        self.skipped += 1
        self.say(f"- {name}: {reason}")

    def check(self, name, problem):
        if problem:
            self.failed += 1
            self.say(f"✗ {name}\n" + "\n".join("    " + line for line in str(problem).rstrip().splitlines()))
        else:
            self.passed += 1
            self.say(f"✓ {name}")


def free_port(taken=set()):
    """A port for a server that starts later, below the range from which the kernel gives connections theirs: a port of
    that range could be taken before the server listens."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(first // 2, first)
        with socket.socket() as one:
            if port in taken or one.connect_ex(("127.0.0.1", port)) == 0:
                continue
        taken.add(port)
        return port


class Model:
    """The scripted model, for as long as a page needs it."""

    def __init__(self):
        self.child = subprocess.Popen([FAKE_MODEL, "--max-seconds", "300"], stdout=subprocess.PIPE, text=True)
        self.url = self.child.stdout.readline().split()[-1]

    def close(self):
        self.child.kill()
        self.child.wait()
        self.child.stdout.close()


class Place:
    """Where the blocks of one page are run: a folder, a HOME, a port, programs before the real ones."""

    def __init__(self, page, folder):
        self.page, self.root = page, Path(folder)
        self.cwd = self.root / "cwd"
        home = TOP / Path(page).parent
        if page.startswith("examples/"):
            shutil.copytree(home, self.cwd)
        else:
            self.cwd.mkdir()
        for name in ("home", "bin", "server", "out", "tmp"):
            (self.root / name).mkdir()
        shims.write(self.root / "bin")
        self.port, self.model = free_port(), None
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.root / "home"),
            "TMPDIR": str(self.root / "tmp"),
            "LANG": "C.UTF-8",
            "TOP": str(TOP),
            "OUT": str(self.root / "out"),
            "URL": self.url,
            "API_TOKEN": "the-token-of-this-page",
            "TOKEN": "the-token-of-this-page",
            "AGENT": "demo",
            "SERVER_FILES": str(self.root / "server"),
            "STOP_SERVER": str(self.root / "bin/stop-server"),
            "REAL_PILOTHOUSE": str(BIN),
            "REAL_CURL": shutil.which("curl") or "/nonexistent/curl",
            "REAL_GIT": shutil.which("git") or "/nonexistent/git",
            "REAL_MAKE": shutil.which("make") or "/nonexistent/make",
            "PILOTHOUSE_SERVER_PORT": str(self.port),
            "PILOTHOUSE_STATE_DIR": str(self.root / "state"),
            # The pages' own files lie in the working folder.
            "PILOTHOUSE_TRUST_FOLDER": "1",
        }
        if not shutil.which("bwrap"):
            # Whether there is a wall here is not the matter of these pages.
            self.env["PILOTHOUSE_ISOLATION_BACKEND"] = "none"

    def with_agent(self, name):
        self.model = Model()
        self.env["PATH"] = f"{self.root / 'bin'}:{program(name).parent}:{os.environ['PATH']}"
        self.env.update(ANTHROPIC_BASE_URL=self.model.url, OPENAI_BASE_URL=f"{self.model.url}/v1")
        self.env.update(ANTHROPIC_API_KEY="sk-ant-dummy", OPENAI_API_KEY="sk-dummy")

    def run(self, script, **more):
        """(exit code, what was said)."""
        script = script.replace("127.0.0.1:2222", f"127.0.0.1:{self.port}")
        with tempfile.TemporaryFile() as said:
            child = subprocess.Popen(
                ["bash", "-e", "-o", "pipefail", "-c", script],
                cwd=self.cwd,
                env={**self.env, **more.pop("env", {})},
                stdin=more.pop("stdin", subprocess.DEVNULL),
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = child.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                code = "none after a minute"
            said.seek(0)
            return code, said.read().decode("utf-8", "replace")

    def serving(self):
        return (self.root / "server/pid").exists()

    def serve(self, config):
        """A server for a page that presupposes one."""
        file = self.root / "server/pilothouse.yaml"
        file.write_text(json.dumps(config), encoding="utf-8")
        code, said = self.run(f"pilothouse serve --config {file}")
        if code:
            raise RuntimeError(f"the server did not start: {said}")

    def call(self, path, body=None):
        head = ["-H", f"Authorization: Bearer {self.env['TOKEN']}", "-H", "Content-Type: application/json"]
        body = ["-d", json.dumps(body)] if body is not None else []
        done = subprocess.run(
            [self.env["REAL_CURL"], "-s", "--max-time", "20", self.url + path, *head, *body],
            capture_output=True,
            text=True,
        )
        return json.loads(done.stdout)

    def fresh(self):
        """A task that waits for an answer, with a webhook and its ask."""
        parts = [{"text": "ask"}]
        sent = self.call("/message:send", {"message": {"messageId": f"m{time.time_ns()}", "role": "ROLE_USER", "parts": parts}})
        task = sent["task"]["id"]
        config = self.call(f"/tasks/{task}/pushNotificationConfigs", {"url": "https://hooks.example.com/a2a"})
        asks = self.call("/api/v1/asks")
        ask = next(one for one in asks.get("asks", asks) if one["taskId"] == task)
        return {"TASK": task, "CONFIG": config["id"], "ASK": ask["askId"]}

    def close(self):
        self.run("stop-server")
        if self.model:
            self.model.close()


def comparable(line):
    for pattern, word in VARIES:
        line = pattern.sub(word, line)
    return line.rstrip()


def needs_server(text):
    return bool(re.search(r"127\.0\.0\.1:2222|\$\{?URL|\bpilothouse (send|tasks|sessions|approve|deny|answer|healthcheck)\b", text))


def server_for(page, text):
    # Only a question is answered by `answer`, only a permission is approved.
    if page == "docs/asks.md" and "pilothouse answer" not in text.splitlines()[0]:
        asks = {"driver": "acp", "program": str(FAKE_AGENT), "args": ["--acp", "asks"]}
        return {"agent": "asks", "agents": {"asks": asks}}
    return {**DEMO, "agents": {"demo": {"serve": True}}}


def console(place, text):
    """What `$ ` stands before is run, and what it says is compared with the lines below it."""
    known, commands = {}, []
    for line in text.splitlines():
        if line.startswith("$ "):
            commands.append((line[2:], []))
        elif commands:
            commands[-1][1].append(line)
        else:
            return f"it begins with {line!r}, not with a command"
    for command, shown in commands:
        more = {}
        if re.search(r"\bTASK\b", command):
            place.serve(server_for(place.page, command))
            command, more = re.sub(r"\bTASK\b", "$TASK", command), {"env": place.fresh()}
        for old, new in known.items():
            command = command.replace(old, new)
        code, said = place.run(command, **more)
        # 4: the task waits for an answer, which is what the page shows.
        if code not in (0, 4):
            return f"$ {command}\nexit {code}\n{said}"
        lines = said.rstrip("\n").splitlines()
        if shown and [comparable(line) for line in lines] != [comparable(line) for line in shown]:
            return f"$ {command}\nsays:\n{said}\nthe page shows:\n" + "\n".join(shown)
        for ids in (UUID, SHORT):
            known.update(zip(ids.findall("\n".join(shown)), ids.findall(said)))
    return ""


def script(place, text):
    if text.startswith("#!"):
        return agent(place, text)
    parts = re.split(r"\n\s*\n", text) if any(name in text for name in FRESH) else [text]
    for part in parts:
        more = {"env": place.fresh()} if any(name in part for name in FRESH) else {}
        code, said = place.run(part, **more)
        if code:
            return f"exit {code}\n{part}\n{said}"
    return ""


def agent(place, text):
    """A program of event lines that asks: it is served, asked, and answered."""
    file = place.cwd / "agent-of-the-page"
    file.write_text(text, encoding="utf-8")
    file.chmod(0o755)
    mine = {"driver": "command", "program": str(file), "input": "stdin", "format": "events"}
    place.serve({"agent": "mine", "agents": {"mine": mine}})
    code, asked = place.run("pilothouse send hello")
    answer = re.search(r"pilothouse answer \S+", asked)
    if code != 4 or not answer:
        return f"exit {code}: {asked}"
    code, said = place.run(f"{answer[0]} de")
    place.run("stop-server")
    return "" if code == 0 and "Guten Tag" in said else f"exit {code}: {said}"


def run_by(block, name):
    """Whether the other script really runs this block: it, or what it calls, names page and block."""
    file = TOP / name
    if not file.exists():
        return f"there is no {name}"
    folder = {"tools/test-vm.sh": "tests/vm", "tools/test-chart.sh": "tests/chart", "tools/test-images.sh": "tests/images", "tests/examples/test.sh": "tests/examples"}
    texts = [file.read_text(encoding="utf-8")]
    for one in sorted((TOP / folder.get(name, "tests/none")).glob("*.*")):
        if one.suffix in (".sh", ".py"):
            texts.append(one.read_text(encoding="utf-8"))
    text = "\n".join(texts)
    short = block.page.removeprefix("docs/").removeprefix("examples/").removesuffix("/README.md").removesuffix(".md")
    # By its own name, or because the script runs all of the page's unmarked blocks.
    if any(f"{short}{between}{block.name}" in text for between in " /") or f'"{block.page}"' in text:
        return ""
    return f"{name} names neither `{short} {block.name}` nor the page"


def page(name):
    report = Report()
    text = (TOP / name).read_text(encoding="utf-8")
    found, whole = pages.blocks(name, text)
    with tempfile.TemporaryDirectory(prefix="ph-docs-") as folder:
        place = Place(name, folder)
        try:
            for block in found:
                one(report, place, block, whole)
        finally:
            place.close()
    report.check(f"{name}: its links lead somewhere", lost(name, text))
    return report


def one(report, place, block, whole):
    title = block.title()
    if block.kind == "yaml":
        if block.mark.startswith("yaml of "):
            report.skip(title, block.mark)
        else:
            report.check(title, settings(place, block.text))
        return
    if block.kind not in ("sh", "console"):
        return
    reason = re.match(r"not run(?: as it stands)?: (.+)", block.mark)
    other = re.match(r"run by (\S+)", block.mark)
    needs = re.fullmatch(r"needs (claude|codex)", block.mark)
    if reason:
        report.skip(title, reason[1])
    elif other or (whole and block.mark in ("", "cluster")):
        script_name = other[1] if other else whole
        report.check(f"{title} (run by {script_name})", run_by(block, script_name))
    elif needs and not (program(needs[1]) and FAKE_MODEL):
        report.skip(title, f"needs {needs[1]} in .tools, and fake-model")
    elif "jq " in block.text and not shutil.which("jq"):
        report.skip(title, "needs jq")
    elif block.page == "docs/asks.md" and not FAKE_AGENT:
        report.skip(title, "needs fake-agent")
    elif block.mark and not needs:
        report.check(title, f"an unknown mark: {block.mark}")
    else:
        if needs and not place.model:
            place.with_agent(needs[1])
        if needs_server(block.text) and not starts(block.text) and not place.serving():
            place.serve(server_for(block.page, block.text))
        report.check(title, console(place, block.text) if block.kind == "console" else script(place, block.text))


def starts(text):
    return bool(re.search(r"(?m)^(?:\w+=\S+ )*(?:make run|pilothouse( serve\b.*| -.*)?)\s*(#.*)?$", text))


def settings(place, text):
    file = place.root / "checked.yaml"
    file.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [BIN, "config", "check", file], cwd=place.cwd, env={"HOME": place.env["HOME"], "PATH": place.env["PATH"]},
        capture_output=True, text=True,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def lost(name, text):
    missing = []
    for to in pages.links(text):
        file, _, anchor = to.partition("#")
        target = (TOP / name).parent / file if file else TOP / name
        if not target.exists():
            missing.append(f"{to}: there is no such file")
        elif anchor and target.suffix == ".md" and anchor not in pages.anchors(target.read_text(encoding="utf-8")):
            missing.append(f"{to}: there is no such heading")
    return "\n".join(missing)


def main(names):
    if not BIN.exists():
        sys.exit(f"there is no {BIN}; build it, or name it by PILOTHOUSE_BIN")
    if not names:
        globs = ("README.md", "SECURITY.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "docs/*.md", "examples/*.md", "examples/*/README.md")
        names = [str(file.relative_to(TOP)) for glob in globs for file in sorted(TOP.glob(glob))]
    report, began = Report(), time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        for one_page in pool.map(page, names):
            report.add(one_page)
    print(f"in {time.monotonic() - began:.0f} s")
    print(f"{report.passed} passed, {report.failed} failed, {report.skipped} skipped")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
