"""Runs each example in a copy of its folder. The places, reports and blocks are those of tests/docs."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "docs"))

import pages
import run as docs

TOP = docs.TOP
CLAUDE = docs.program("claude")
HELM = os.environ.get("HELM") or shutil.which("helm") or TOP / ".tools/chart/venv/bin/helm"


class Example(docs.Place):
    """A copy of an example's folder, its blocks by their names, and changes to its files."""

    def __init__(self, name, folder):
        super().__init__(f"examples/{name}/README.md", folder)
        text = (TOP / self.page).read_text(encoding="utf-8")
        self.blocks = {block.name: block.text for block in pages.blocks(self.page, text)[0]}

    def change(self, file, *pairs):
        path = self.cwd / file
        text = path.read_text(encoding="utf-8")
        for old, new in pairs:
            if old not in text:
                raise ValueError(f"{self.page}: {file} has no {old!r}")
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")

    def granting(self, *paths):
        """What lies elsewhere than on the machines of the example's readers."""
        paths = [str(path) for path in paths]
        with (self.cwd / "pilothouse.yaml").open("a", encoding="utf-8") as file:
            file.write(f"\nisolation: {json.dumps({'read': paths})}\n")


def modules(program):
    """The folder `node_modules` that a program was installed in."""
    return next(part for part in Path(program).absolute().parents if part.name == "node_modules")


def done(result, *words):
    """What is wrong with (code, output): nothing where the code is 0 and the words are in it."""
    code, said = result
    missing = [word for word in words if not re.search(word, said)]
    return f"exit {code}, without {missing}\n{said[-3000:]}" if code or missing else ""


def folders(report):
    names = sorted(file.parent.name for file in TOP.glob("examples/*/README.md"))
    index = (TOP / "examples/README.md").read_text(encoding="utf-8")
    lost = [name for name in names if f"({name}/README.md)" not in index]
    report.check("each example stands in the list", lost and f"not there: {lost}")
    for file in sorted(TOP.glob("examples/*/pilothouse.yaml")):
        checked = subprocess.run([docs.BIN, "config", "check", file.name], cwd=file.parent, capture_output=True, text=True)
        report.check(f"{file.parent.name}: the server takes its configuration", checked.returncode and checked.stdout + checked.stderr)
    for file in sorted(TOP.glob("examples/*/*.sh")):
        checked = subprocess.run(["sh", "-n", file], capture_output=True, text=True)
        report.check(f"{file.parent.name}: {file.name} is a shell script", checked.returncode and checked.stderr)


def triage(report, place):
    if not (CLAUDE and docs.FAKE_MODEL and shutil.which("git")):
        return report.skip("issue-triage: a turn", "needs Claude Code in .tools, fake-model and git")
    upstream, issues = place.root / "upstream", place.root / "issues.json"
    issues.write_text('[{"number": 7, "title": "the door squeaks"}]', encoding="utf-8")
    made = place.run(
        f"PATH=${{PATH#*:}}; git init -q {upstream} && cd {upstream} && echo door >door.txt && git add . && "
        "git -c user.name=x -c user.email=x@example.com commit -qm door"
    )
    report.check("issue-triage: a repository to clone", done(made))
    # A repository and an answer on this disk stand in for GitHub.
    place.change(
        "init-session.sh",
        # It belongs to who runs this test; the agents of a server that is root are other users.
        ("git clone", f"git config --global safe.directory {upstream}/.git && git clone"),
        ("https://github.com/$REPO.git", f"file://{upstream}"),
        ("https://api.github.com/repos/$REPO/issues?state=open&per_page=50", f"file://{issues}"),
    )
    place.granting(upstream, issues, modules(CLAUDE))
    place.with_agent("claude")
    served = place.run(place.blocks["issue-triage-1"])  # issue-triage issue-triage-1
    report.check("issue-triage: the server starts as its page says", done(served))
    if served[0]:
        return
    said = place.run("pilothouse send -c monday 'read issues.json'")
    report.check("issue-triage: the issues lie in the workspace before the first turn", done(said, "the door squeaks"))
    said = place.run("pilothouse send -c monday 'read repository/door.txt'")
    report.check("issue-triage: and so does the code", done(said, "door"))
    said = place.run("pilothouse send -c monday 'bash: curl -sS -m 5 http://api.github.com/'")
    report.check("issue-triage: what is not allowed is denied, and nobody is asked", done(said, "denied|policy"))
    skill = list((place.root / "state/sessions").glob("*/.claude/skills/triage/SKILL.md"))
    report.check("issue-triage: the skill is in the session's HOME", "" if skill else "it is not")
    card = place.run("$REAL_CURL -s $URL/.well-known/agent-card.json")
    report.check("issue-triage: and on the card", done(card, "suggests one for a first contribution"))


def screenshots(report, place):
    browser = shutil.which("playwright-mcp")
    if not (CLAUDE and docs.FAKE_MODEL and browser and Path("/usr/lib/chromium/chromium").exists()):
        return report.skip("screenshots: a picture", "needs Claude Code in .tools, fake-model, playwright-mcp, Debian's chromium")
    place.with_agent("claude")
    place.env["PATH"] += f":{place.cwd}"
    # The model of the tests takes tools that it was told of alone; Claude Code tells of these on demand.
    place.change("pilothouse.yaml", ("    setup:\n", '    env: {set: {ENABLE_TOOL_SEARCH: "false"}}\n    setup:\n'))
    place.granting(modules(CLAUDE), modules(browser), place.cwd / "browser.mjs")
    served = place.run(place.blocks["screenshots-2"])  # screenshots screenshots-2
    report.check("screenshots: the server starts as its page says", done(served))
    if served[0]:
        return
    page = 'tool mcp__browser__browser_navigate {"url": "%s"}'
    shot = page % "data:text/html,<h1>hello</h1>" + '\ntool mcp__browser__browser_take_screenshot {"filename": "page.png"}'
    said = place.run(f"pilothouse send -c b --out pictures '{shot}'")
    report.check("screenshots: in the sandbox Chromium takes a picture", done(said))
    files = list((place.cwd / "pictures").rglob("page.png"))
    whole = len(files) == 1 and files[0].read_bytes()[:4] == b"\x89PNG"
    report.check("screenshots: it is an artifact of the task", "" if whole else f"found: {files}\n{said[1]}")
    said = place.run(f"pilothouse send -c b '{page % 'http://elsewhere.example.net/'}'")
    report.check("screenshots: the browser goes by the proxy", done(said))
    log = (place.root / "server/log").read_text(encoding="utf-8")
    refused = re.search(r"egress elsewhere\.example\.net:80.*not-allowed", log)
    report.check("screenshots: which refuses what is not in the list", "" if refused else log[-2000:])


def team(report, place):
    if not shutil.which("openssl"):
        return report.skip("team: the proxies", "needs openssl")
    port = docs.free_port()
    place.change("pilothouse.yaml", ("driver: claude", "driver: demo"))
    place.change("nginx.conf", ("8443", str(port)), ("127.0.0.1:2222", f"127.0.0.1:{place.port}"))
    place.change("Caddyfile", ("127.0.0.1:2222", f"127.0.0.1:{place.port}"))
    del place.env["API_TOKEN"]
    block = {name: text.replace("8443", str(port)) for name, text in place.blocks.items()}
    # `port: 2222` of the file loses against the variable of this place.
    report.check("team: the server starts as its page says", done(place.run(block["a-teams-server-1"])))  # team a-teams-server-1
    report.check("team: a certificate is made", done(place.run(block["a-teams-server-2"])))  # team a-teams-server-2
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx:
        place.env["PATH"] += ":/usr/sbin"
        report.check("team: nginx starts", done(place.run(block["a-teams-server-3"])))  # team a-teams-server-3
        try:
            through(report, place, "nginx", port, block["a-teams-server-4"])  # team a-teams-server-4
        finally:
            pid = place.cwd / "nginx.pid"
            if pid.exists():
                os.kill(int(pid.read_text()), 15)
    else:
        report.skip("team: nginx", "it is not installed")
    if not shutil.which("caddy"):
        return report.skip("team: Caddy", "it is not installed")
    # A certificate of its own, no ports below 1024, no door for administrators.
    port = docs.free_port()
    place.change("Caddyfile", ("agents.example.com {", f"{{\n\tadmin off\n\thttp_port {docs.free_port()}\n\tskip_install_trust\n}}\nagents.example.com:{port} {{\n\ttls agents.crt agents.key"))
    log = open(place.root / "caddy.log", "w", encoding="utf-8")
    caddy = subprocess.Popen(["caddy", "run", "--config", "Caddyfile"], cwd=place.cwd, env=place.env, stdout=log, stderr=log)
    try:
        for _ in range(50):
            if place.run(f"exec 3<>/dev/tcp/127.0.0.1/{port}")[0] == 0:
                break
            time.sleep(0.1)
        through(report, place, "Caddy", port, place.blocks["a-teams-server-4"].replace("8443", str(port)))
    finally:
        caddy.terminate()
        caddy.wait()
        log.close()


def through(report, place, name, port, block):
    said = place.run(block)
    report.check(f"team: through {name} the page's caller is served", done(said, '"reviewer"|hello', "https://agents.example.com/", "TASK_STATE_COMPLETED"))
    at = f"--cacert agents.crt --resolve agents.example.com:{port}:127.0.0.1 https://agents.example.com:{port}"
    said = place.run(f"$REAL_CURL -s -o /dev/null -w '%{{http_code}}' -H 'X-Forwarded-For: 203.0.113.7' -X POST -d '{{}}' -H 'Authorization: Bearer wrong' {at}/message:send")
    report.check(f"team: {name}, a wrong token is refused", done(said, "401"))
    log = (place.root / "server/log").read_text(encoding="utf-8")
    report.check(f"team: {name}, and nobody can write the address that he calls from", "it did" if "203.0.113.7" in log else "")
    said = place.run(f"$REAL_CURL -s -H 'Host: other.example.com' {at}/.well-known/agent-card.json")
    report.check(f"team: {name}, another Host has no card", done(said) or (said[1] if "writer" in said[1] else ""))
    # An empty message is a whole request for the list of tasks; how it went stands in the trailers.
    grpc = (
        ". ./.env; printf '\\0\\0\\0\\0\\0' | $REAL_CURL -s --http2 -D - -o /dev/null -H \"Authorization: Bearer $API_TOKEN\" "
        f"-H 'Content-Type: application/grpc' -H 'TE: trailers' --data-binary @- {at}/lf.a2a.v1.A2AService/ListTasks"
    )
    report.check(f"team: {name}, gRPC is carried", done(place.run(grpc), "HTTP/2 200", "grpc-status: 0"))


def ark(report, place):
    if not Path(HELM).exists():
        return report.skip("ark: the chart with its values", "there is no helm; tools/test-chart.sh installs one")
    (place.root / "bin/helm").unlink()
    os.symlink(HELM, place.root / "bin/helm")
    said = place.run(f"cd {TOP}\n{place.blocks['ark-1']}")  # ark ark-1
    report.check("ark: the chart takes the values", done(said))
    if said[0]:
        return
    text = (place.root / "out/rendered.yaml").read_text(encoding="utf-8")
    documents = {re.search(r"(?m)^kind: (\S+)", one)[1]: one for one in text.split("\n---\n") if "\nkind: " in one}
    server = documents.get("A2AServer", "")
    report.check("ark: there is an A2AServer with a timeout of an hour and the token", "" if "1h" in server and "authorization" in server else server or "none")
    config = re.search(r"(?m)^  pilothouse\.yaml: \|-?\n((?:    .*\n|\n)+)", documents["ConfigMap"])
    file = place.root / "pilothouse.yaml"
    file.write_text(textwrap.dedent(config[1]), encoding="utf-8")
    # The session's script and the mounts are paths of the pod.
    checked = subprocess.run([docs.BIN, "config", "check", file], capture_output=True, text=True)
    report.check("ark: the server takes the configuration that comes out", checked.returncode and checked.stdout + checked.stderr)
    url = json.loads((place.cwd / "mcp-config.json").read_text(encoding="utf-8"))["mcpServers"]["browser"]["url"]
    host = re.match(r"http://([^/]+)/", url)[1]
    values, browser = ((place.cwd / name).read_text(encoding="utf-8") for name in ("values.yaml", "playwright.yaml"))
    found = f'"{host}"' in values and host in browser and f"port: {host.split(':')[1]}" in browser and f"name: {host.split('.')[0]}" in browser
    report.check("ark: the browser's address is one in all files", "" if found else host)
    through_proxy(report, place)
    label = "app.kubernetes.io/name: pilothouse"
    report.check("ark: the browser lets in the pods of the chart", "" if label in documents["Deployment"] and label in browser else label)


def through_proxy(report, place):
    """What the values presuppose: Claude Code reaches an MCP server by HTTP through the proxy, where it is allowed."""
    title, name, browser = "ark: the browser's server is reached through the proxy", socket.gethostname(), shutil.which("playwright-mcp")
    try:
        inner = socket.gethostbyname(name).startswith("127.") and name != "localhost"
    except OSError:
        inner = False
    if not (CLAUDE and docs.FAKE_MODEL and browser and inner and shutil.which("bwrap")):
        return report.skip(title, "needs Claude Code in .tools, fake-model, playwright-mcp, bwrap, and a name of this machine for 127.x")
    port = docs.free_port()
    server = subprocess.Popen(
        [browser, "--headless", "--isolated", "--host", "127.0.0.1", "--port", str(port), "--allowed-hosts", f"{name}:{port}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=place.root / "tmp",
    )
    try:
        for _ in range(100):
            if place.run(f"exec 3<>/dev/tcp/127.0.0.1/{port}")[0] == 0:
                break
            time.sleep(0.1)
        place.change("mcp-config.json", ("playwright.agents.svc.cluster.local:8931", f"{name}:{port}"))
        place.with_agent("claude")
        args = ["--mcp-config", str(place.cwd / "mcp-config.json"), "--allowedTools", "mcp__browser"]
        env = {"set": {"ENABLE_TOOL_SEARCH": "false"}}
        for allow, inside in (([], False), ([f"{name}:{port}"], True)):
            place.serve({
                "agent": "claude", "agents": {"claude": {"args": args, "env": env}},
                "isolation": {"read": [str(modules(CLAUDE))]}, "egress": {"allow": allow, "inner": ["127.0.0.0/8"]},
            })
            # A session in which it was refused does not try again: Claude Code takes a 403 for a missing sign-in.
            place.run(f"pilothouse send -c m{inside} 'hang 3'")
            said = place.run(f"pilothouse send -c m{inside} 'tool mcp__browser__browser_close {{}}'")
            reached = said[0] == 0 and "no tool for" not in said[1]
            report.check(title if inside else f"{title}, and not where it is not allowed", "" if reached == inside else said[1])
    finally:
        server.terminate()
        server.wait()


def main(names):
    if not docs.BIN.exists():
        sys.exit(f"there is no {docs.BIN}; build it, or name it by PILOTHOUSE_BIN")
    report, began = docs.Report(), time.monotonic()
    if not names:
        index = docs.Report()
        folders(index)
        report.add(index)
    for name, test in (("ark", ark), ("issue-triage", triage), ("team", team), ("screenshots", screenshots)):
        if names and name not in names:
            continue
        mine = docs.Report()
        with tempfile.TemporaryDirectory(prefix="ph-examples-") as folder:
            place = Example(name, folder)
            try:
                test(mine, place)
            finally:
                place.close()
        report.add(mine)
    print(f"in {time.monotonic() - began:.0f} s")
    print(f"{report.passed} passed, {report.failed} failed, {report.skipped} skipped")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
