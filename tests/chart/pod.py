"""The rendered Deployment, really run by `podman kube play`, and turns through it.

It shows that image, configuration, secrets, volumes, identity and security context of the chart fit together.
Podman is no cluster: there is no kubelet (probes, fsGroup), no service, no NetworkPolicy, no admission.

The pod has a network of its own with nothing but loopback. Podman works in a folder of its own, so that no
other container of the machine is touched.
"""

import base64
import copy
import json
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path

import yaml

import chart
from chart import TOP, run
from podman import Podman, Trouble, archive

VALUES = TOP / "tests/chart/pod.yaml"
CLAUDE_VALUES = TOP / "tests/chart/pod-claude.yaml"
MODEL_PORT = 7777
# What podman 4.3 cannot do without a network, or does otherwise than a kubelet; all else is as rendered.
CHANGES = (
    "container ports left out (the pod has no network but loopback)",
    "probes left out (podman runs them by systemd timers and curl); this test asks the same addresses itself",
    "annotations and the pod of `helm test` left out",
    "the service's name, written into /etc/hosts, leads to the pod itself",
)


def default_images():
    """What `make test-images` and `make docker-build` leave, in this order."""
    version = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())["appVersion"]
    return ["pilothouse-agent:test", f"pilothouse-agent:{version}"]


def check(report):
    report.section("pod")
    name = "the rendered Deployment runs under podman"
    images = [os.environ["IMAGE"]] if os.environ.get("IMAGE") else default_images()
    if not shutil.which("podman"):
        report.skip(name, "podman is not installed (Debian: apt-get install podman runc catatonit)")
        return
    if os.geteuid() != 0:
        report.skip(name, "needs root, to look into the pod's network and processes")
        return
    podman = Podman()
    try:
        found = ((image, archive(image, podman.folder)) for image in images)
        image, file = next(((i, f) for i, f in found if f), (None, None))
        if file is None:
            tried = " nor ".join(images)
            report.skip(name, f"no image {tried} (make docker-build, or IMAGE=name or IMAGE=file.tar)")
            return
        loaded = podman("load", "-i", file).stdout
        if file.parent == podman.folder:
            file.unlink()
        loaded = re.findall(r"Loaded image:? *(\S+)", loaded)[-1]
        once = ("run", "--rm", "--pull", "never", "--network", "none", loaded, "--version")
        if podman(*once, check=False).returncode != 0:
            podman.accept_this_machine()
        version = podman(*once).stdout.strip()
        print(f"      image {image}: {version}")
        for change in CHANGES:
            print(f"      {change}")
        pod = Pod(podman, loaded, "charttest", VALUES)
        pod.check(report)
        pod.remove()
        check_claude(report, podman, loaded)
    except Trouble as trouble:
        report.check(name, str(trouble))
    finally:
        podman.remove()


def check_claude(report, podman, image):
    """A turn of the real Claude Code in the pod, against the scripted model of tests/model."""
    name = "a turn of Claude Code against a scripted model"
    model = os.environ.get("MODEL")
    if not model:
        report.skip(name, "no model was named (MODEL=target/debug/fake-model; cargo build -p fake-model)")
        return
    if podman(
        "run",
        "--rm",
        "--pull",
        "never",
        "--network",
        "none",
        "--entrypoint",
        "claude",
        image,
        "--version",
        check=False,
    ).returncode:
        report.skip(name, "there is no Claude Code in the image")
        return
    pod = Pod(podman, image, "claudetest", CLAUDE_VALUES)
    servers = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "claudetest-mcp"},
        "data": {"mcp-config.json": '{"mcpServers": {}}'},
    }
    pod.play(servers)
    if not report.check("the Deployment with Claude Code runs", pod.ready() is None and pod.logs()):
        return
    # It stops by itself when this test does.
    command = ["nsenter", "-t", str(pod.pid()), "-n", model, "--port", str(MODEL_PORT), "--until-eof"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            server.stdout.readline()
            done = pod.inside("pilothouse", "send", "write note.txt from-the-pod\nsay all-done")
            problems = (
                []
                if done.returncode == 0 and "all-done" in done.stdout
                else [done.stdout + done.stderr + pod.logs()]
            )
            report.check(name, problems)
            root = pod.volume("workspace")
            notes = [file.read_text().strip() for file in root.glob("*/note.txt")]
            report.check(
                "it wrote its file into the session's workspace", notes != ["from-the-pod"] and str(notes)
            )
        finally:
            server.stdin.close()
    pod.remove()


class Pod:
    def __init__(self, podman, image, release, values):
        self.podman, self.image = podman, image
        repository, _, tag = image.rpartition(":")
        flags = ["-f", values]
        if os.environ.get("VALUES"):
            flags += ["-f", os.environ["VALUES"]]
        flags += ["--set", f"image.repository={repository},image.tag={tag},image.pullPolicy=Never"]
        self.documents = chart.render(*flags, release=release)
        self.deployment = chart.one(self.documents, "Deployment")
        self.spec = self.deployment["spec"]["template"]["spec"]
        self.config = chart.config_of(self.documents)
        self.port = self.config["server"]["port"]
        name = self.deployment["metadata"]["name"]
        self.host = f"{name}.{chart.NAMESPACE}.svc.cluster.local"
        data = chart.one(self.documents, "Secret", f"{name}-token")["data"]
        self.authorization = base64.b64decode(data["authorization"]).decode()
        self.file = podman.folder / "play.yaml"
        self.pod = f"{name}-pod-0"
        self.container = f"{self.pod}-pilothouse"

    def remove(self):
        self.podman("pod", "rm", "-f", self.pod)

    def play(self, *config_maps):
        deployment = copy.deepcopy(self.deployment)
        template = deployment["spec"]["template"]
        template["metadata"].pop("annotations", None)
        for container in template["spec"]["containers"]:
            for key in ("ports", "startupProbe", "livenessProbe", "readinessProbe"):
                container.pop(key, None)
        claims = [d for d in self.documents if d["kind"] == "PersistentVolumeClaim"]
        self.file.write_text(yaml.safe_dump_all([*claims, deployment]))
        # One file for each: podman reads no more than the first of several in one.
        maps = []
        for config_map in [d for d in self.documents if d["kind"] == "ConfigMap"] + list(config_maps):
            file = self.podman.folder / f"{config_map['metadata']['name']}.yaml"
            file.write_text(yaml.safe_dump(config_map))
            maps += ["--configmap", file]
        for secret in (d for d in self.documents if d["kind"] == "Secret"):
            # Podman wants the Secret's data alone, as JSON.
            file = self.podman.folder / "secret.json"
            file.write_text(json.dumps(secret["data"]))
            self.podman("secret", "create", secret["metadata"]["name"], file)
            file.unlink()
        self.podman("kube", "play", "--network", "none", *maps, self.file)
        hosts = self.podman("inspect", "-f", "{{.HostsPath}}", self.container).stdout.strip()
        with open(hosts, "a", encoding="utf-8") as file:
            file.write(f"127.0.0.1\t{self.host}\n")

    def pid(self):
        return int(self.podman("inspect", "-f", "{{.State.Pid}}", self.container).stdout)

    def ask(self, path, **asked):
        asked = {"port": self.port, "path": path, **asked}
        command = [
            "nsenter",
            "-t",
            str(self.pid()),
            "-n",
            sys.executable,
            str(Path(__file__).with_name("ask.py")),
        ]
        done = run(command, input=json.dumps(asked))
        return json.loads(done.stdout) if done.stdout else {"status": 0, "body": done.stderr}

    def call(self, path, method, params):
        """A JSON-RPC call of dialect 0.3, with the headers that Ark sends."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        headers = {
            "Host": self.host,
            "Authorization": self.authorization,
            "Content-Type": "application/json; charset=utf-8",
        }
        answer = self.ask(path, method="POST", body=body, headers=headers)
        return json.loads(answer["body"]) if answer["status"] == 200 else {"error": answer}

    def inside(self, *words):
        return self.podman("exec", self.container, *words, check=False, timeout=120)

    def ready(self):
        """Seconds until /ready answers 200; None after a minute."""
        begin = time.monotonic()
        while time.monotonic() - begin < 60:
            state = self.podman("inspect", "-f", "{{.State.Status}}", self.container).stdout.strip()
            if state == "exited":
                return None
            if self.ask("/ready")["status"] == 200:
                return time.monotonic() - begin
            time.sleep(0.2)
        return None

    def logs(self):
        done = self.podman("logs", self.container, check=False)
        return (done.stdout + done.stderr)[-3000:]

    def check(self, report):
        self.play()
        seconds = self.ready()
        if not report.check(
            "the rendered Deployment runs and /ready says 200", seconds is None and self.logs()
        ):
            return
        print(f"      ready after {seconds:.1f} s")
        report.check("/health says 200", self.ask("/health")["status"] != 200 and "it does not")
        report.check("the image's healthcheck", self.health())
        report.check("the command of `helm test`", self.health("--url", f"http://{self.host}:{self.port}"))
        report.check(
            "`pilothouse card` by the service's name: every interface on the card is reached", self.card()
        )
        report.check("identity and security context are in force", self.identity())
        report.check("the server took the chart's configuration", self.taken())
        if (self.config.get("isolation") or {}).get("require"):
            report.check("the isolation that the chart asks for is in force", self.isolation())
        else:
            report.skip(
                "the isolation that the chart asks for is in force", "the values of this run ask for none"
            )
        report.check("names: the service's are accepted as Host, others are not", self.hosts())
        report.check("no token, no answer; a wrong one neither", self.tokens())
        task, problems = self.turn()
        report.check("a turn by `pilothouse send` in the container", problems)
        report.check("a turn as Ark does it: card, message/send, the last text artifact", self.ark())
        report.check("the session script ran in the session's workspace", self.scripted())
        slow = self.start_slow()
        report.check("a stop ends within the grace period, with exit code 0", self.stop())
        self.podman("pod", "start", self.pod)
        report.check("it comes up again", self.ready() is None and self.logs())
        report.check("the turn that ran at the stop has ended and is recorded", self.recorded(slow))
        report.check("the task is still there, and its session goes on", self.kept(task))

    def identity(self):
        pid, problems = self.pid(), []
        status = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if ":\t" in line
        )
        uid = str(self.spec["securityContext"]["runAsUser"])
        for key, value in {
            "Uid": "\t".join([uid] * 4),
            "CapEff": "0" * 16,
            "CapPrm": "0" * 16,
            "CapBnd": "0" * 16,
            "NoNewPrivs": "1",
            "Seccomp": "2",
        }.items():
            if status[key] != value:
                problems.append(f"{key} is {status[key]!r}, not {value!r}")
        mounts = {
            fields[1]: fields[3].split(",")
            for fields in map(str.split, Path(f"/proc/{pid}/mounts").read_text().splitlines())
        }
        writable = {
            "/": False,
            "/etc/pilothouse": False,
            "/tmp": True,
            "/workspace": True,
            "/var/lib/pilothouse": True,
        }
        for place, wanted in writable.items():
            if place not in mounts:
                problems.append(f"nothing is mounted at {place}")
            elif ("rw" in mounts[place]) != wanted:
                problems.append(f"{place} is mounted {mounts[place]}")
        problems += [f"the cluster's token is mounted at {m}" for m in mounts if "serviceaccount" in m]
        memory = int(self.podman("inspect", "-f", "{{.HostConfig.Memory}}", self.container).stdout)
        limit = chart.at(self.spec, "containers[pilothouse].resources.limits.memory")
        if f"{memory // 2**30}Gi" != limit:
            problems.append(f"the memory limit is {memory} bytes, not {limit}")
        if os.readlink(f"/proc/{pid}/cwd") != "/etc/pilothouse":
            problems.append(f"the working directory is {os.readlink(f'/proc/{pid}/cwd')}")
        return problems

    def taken(self):
        body = json.loads(self.ask("/ready")["body"])
        card = json.loads(self.ask("/.well-known/agent-card.json")["body"])
        problems = []
        if body["processes"]["max"] != self.config["processes"]["max"]:
            problems.append(f"/ready says {body['processes']}")
        if body["agent"]["driver"] != self.config["agent"]:
            problems.append(f"/ready says {body['agent']}")
        if card["url"] != self.config["server"]["public_url"]:
            problems.append(f"the card says {card['url']}")
        return problems

    def isolation(self):
        told = json.loads(self.ask("/ready")["body"])["isolation"]
        print(f"      {json.dumps(told)}")
        missing = set(self.config["isolation"]["require"]) - set(told["guarantees"])
        return f"not given: {sorted(missing)}" if missing else ""

    def health(self, *flags):
        done = self.inside("pilothouse", "healthcheck", *flags)
        return done.returncode and done.stdout + done.stderr

    def card(self):
        done = self.inside("pilothouse", "card", f"http://{self.host}:{self.port}/")
        return done.returncode and done.stdout + done.stderr

    def hosts(self):
        name = self.deployment["metadata"]["name"]
        wanted = {
            name: 200,
            f"{name}.{chart.NAMESPACE}": 200,
            f"{name}.{chart.NAMESPACE}.svc": 200,
            self.host: 200,
        }
        wanted |= {"evil.example.com": 403, "localhost": 200, "192.0.2.1": 200}
        found = {h: self.ask("/.well-known/agent-card.json", headers={"Host": h})["status"] for h in wanted}
        return [
            f"{host}: {found[host]}, not {wanted[host]}" for host in wanted if found[host] != wanted[host]
        ]

    def tokens(self):
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"id": "x"}})
        found = []
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            answer = self.ask(
                "/", method="POST", body=body, headers={"Content-Type": "application/json", **headers}
            )
            found += [] if answer["status"] == 401 else [f"{headers}: {answer}"]
        return found

    def turn(self):
        done = self.inside("pilothouse", "send", "--json", "hello from the pod")
        problems = (
            []
            if done.returncode == 0 and "hello from the pod" in done.stdout
            else [done.stdout + done.stderr]
        )
        ids = re.findall(r'"(?:taskId|contextId)": ?"([^"]+)"', done.stdout)
        return ids, problems

    def ark(self):
        problems = []
        host = {"Host": self.host, "Authorization": self.authorization}
        for path in ("/.well-known/agent-card.json", "/.well-known/agent.json"):
            answer = self.ask(path, headers=host)
            card = json.loads(answer["body"]) if answer["status"] == 200 else {}
            if (
                not card.get("url")
                or not card.get("skills")
                or "streaming" not in card.get("capabilities", {})
            ):
                problems.append(f"{path}: {answer}")
        message = {
            "kind": "message",
            "role": "user",
            "messageId": str(uuid.uuid4()),
            "parts": [{"kind": "text", "text": "hello from Ark"}],
        }
        answer = self.call("/", "message/send", {"message": message, "configuration": {"blocking": True}})
        task = answer.get("result") or {}
        if chart.at(task, "status.state") != "completed":
            return [*problems, f"message/send: {answer}"]
        texts = [p["text"] for a in task["artifacts"] for p in a["parts"] if p["kind"] == "text"]
        if not texts or "hello from Ark" not in texts[-1]:
            problems.append(f"the last text artifact is {texts}")
        return problems

    def volume(self, name):
        """Where a claim's files are on this machine."""
        claim = f"{self.deployment['metadata']['name']}-{name}"
        return Path(self.podman("volume", "inspect", "-f", "{{.Mountpoint}}", claim).stdout.strip())

    def scripted(self):
        root = self.volume("workspace")
        files = sorted(root.glob("*/made-by-init-session"))
        if not files:
            return f"no file of it below {[str(p.name) for p in root.iterdir()]}"
        return "" if files[0].read_text().strip() == "shell" else f"it wrote {files[0].read_text()}"

    def start_slow(self):
        """The id of a task that is at work."""
        done = self.inside("pilothouse", "send", "--json", "--no-wait", "--agent", "slow", "take your time")
        found = re.search(r'"(?:taskId|id)": ?"([^"]+)"', done.stdout)
        if not found:
            raise Trouble(f"no task: {done.stdout}{done.stderr}")
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self.state(found[1]) == "working":
                return found[1]
            time.sleep(0.2)
        raise Trouble(f"task {found[1]} is {self.state(found[1])}, not at work\n{self.logs()}")

    def state(self, task):
        """The state of a task of the slow agent."""
        answer = self.call("/agents/slow/", "tasks/get", {"id": task})
        return chart.at(answer, "result.status.state")

    def recorded(self, task):
        state = self.state(task)
        return "" if state in ("failed", "canceled") else f"it is {state}"

    def stop(self):
        grace = self.spec["terminationGracePeriodSeconds"]
        begin = time.monotonic()
        self.podman("pod", "stop", "-t", grace, self.pod)
        seconds = time.monotonic() - begin
        code = self.podman("inspect", "-f", "{{.State.ExitCode}}", self.container).stdout.strip()
        print(f"      stopped after {seconds:.1f} s of {grace}, exit code {code}")
        return (
            ""
            if code == "0" and seconds < grace
            else f"exit code {code} after {seconds:.1f} s\n{self.logs()}"
        )

    def kept(self, ids):
        done = self.inside("pilothouse", "tasks", "list")
        if not ids or not any(i in done.stdout for i in ids):
            return f"{ids} is not in\n{done.stdout}{done.stderr}"
        context = next(
            (i for i in ids if self.inside("pilothouse", "send", "-c", i, "again").stdout.count("turn 2")),
            None,
        )
        return "" if context else "no context went on with its second turn"
