"""All checks of what is delivered for Kubernetes. Called by tools/test-chart.sh."""

import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import jsonschema
import yaml

import ark
import chart
import docs as manual
import kustomize
import pod
import podsecurity
from chart import TOP, TOOLS, run
from cluster import Cluster
from matrix import Case
from report import Report

# The oldest version that Chart.yaml allows, one in between, the newest that the validator knows.
VERSIONS = ("1.26", "1.33", "1.37")
ALL_ON = TOP / "tests/chart/values/forerunner.yaml"


def binary():
    """A built server, for checks of the configuration; the newest of what there is."""
    named = os.environ.get("PILOTHOUSE")
    found = [Path(named)] if named else [TOP / f"target/{kind}/pilothouse" for kind in ("release", "debug")]
    return max((path for path in found if path.exists()), key=lambda path: path.stat().st_mtime, default=None)


def the_chart(report):
    report.section("chart")
    for flags in ((), ("--strict",)):
        done = run([chart.helm(), "lint", chart.CHART, *flags])
        report.check(" ".join(("helm lint", *flags)), done.returncode and done.stdout + done.stderr)
    with tempfile.TemporaryDirectory() as folder:
        done = run([chart.helm(), "package", chart.CHART, "-d", folder])
        report.check("helm package", done.returncode and done.stderr)
    described = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())
    cargo = re.search(r'^version = "(.+)"', (TOP / "Cargo.toml").read_text(), re.M)[1]
    overlay = yaml.safe_load((kustomize.FOLDER / "example/kustomization.yaml").read_text())
    space = yaml.safe_load((TOP / "deploy/devspace/devspace.yaml").read_text())
    versions = {
        "Chart.yaml version": described["version"],
        "Chart.yaml appVersion": described["appVersion"],
        "kustomize example": overlay["images"][0]["newTag"],
        "devspace.yaml": space["vars"]["AGENT_IMAGE"]["default"].rpartition(":")[2],
        "devspace Dockerfile": re.search(
            r"AGENT_IMAGE=\S+:(\S+)", (TOP / "deploy/devspace/Dockerfile").read_text()
        )[1],
    }
    report.check(
        "every version is Cargo.toml's",
        [f"{k} is {v}, not {cargo}" for k, v in versions.items() if v != cargo],
    )
    schema = json.loads((chart.CHART / "values.schema.json").read_text())
    values = yaml.safe_load((chart.CHART / "values.yaml").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    report.check(
        "the schema names each value",
        [k for k in values if k not in schema["properties"]]
        + [f"{k} is not in values.yaml" for k in schema["properties"] if k not in values and k != "global"],
    )
    made = [chart.one(chart.render(), "Secret")["data"]["token"] for _ in range(2)]
    report.check(
        "a token is made at random where none is given", made[0] == made[1] and "twice the same token"
    )
    notes(report)


def notes(report):
    """NOTES.txt, which `helm template` leaves out: rendered as a template of its own."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "pilothouse"
        shutil.copytree(chart.CHART, copy)
        text = (copy / "templates/NOTES.txt").read_text()
        body = '{{- define "notes" }}' + text + '{{ end -}}\nnotes: {{ include "notes" . | quote }}\n'
        (copy / "templates/notes.yaml").write_text(body)
        said = {}
        for name, flags in {
            "default": (),
            "ingress": ("-f", TOP / "tests/chart/values/ingress.yaml", "--set", "apiKey=k"),
            "open": ("--set", "config.auth.required=false,config.auth.insecure=true"),
        }.items():
            command = [
                chart.helm(),
                "template",
                "pilothouse",
                copy,
                "-n",
                "agents",
                "-s",
                "templates/notes.yaml",
            ]
            done = run([*command, *flags])
            said[name] = (
                yaml.safe_load(done.stdout)["notes"] if done.returncode == 0 else "FAILED " + done.stderr
            )
    wanted = [
        ("default", "kubectl get secret -n agents pilothouse-token -o jsonpath='{.data.token}' | base64 -d"),
        ("default", 'curl -s http://127.0.0.1:2222/ -H "Authorization: Bearer $TOKEN"'),
        ("default", "NOTE: no key was given for Claude Code"),
        ("ingress", "https://agents.example.com/"),
        ("open", "WARNING: no token is asked for"),
    ]
    problems = [
        f"{name}: `{text}` is missing in {said[name]}" for name, text in wanted if text not in said[name]
    ]
    problems += ["ingress: says that no key was given"] if "no key was given" in said["ingress"] else []
    report.check("the notes have the token's command and the curl line", problems)


def the_matrix(report):
    """Every file of values; gives {name: documents} of those that render."""
    report.section("values")
    rendered = {}
    for path in sorted((TOP / "tests/chart/values").glob("*.yaml")):
        case = Case(path)
        problems, documents = case.problems()
        report.check(f"{case.name}: {case.expect}", problems)
        if documents is not None:
            rendered[case.name] = documents
    return rendered


def the_configuration(report, rendered):
    report.section("configuration")
    server = binary()
    name = "pilothouse.yaml of every rendered case is what the server takes"
    if server is None:
        report.skip(name, "no built server (make run, or PILOTHOUSE=/path/to/pilothouse)")
        return
    problems = {}
    with tempfile.TemporaryDirectory() as folder:
        for case, documents in rendered.items():
            file = Path(folder) / "pilothouse.yaml"
            file.write_text(chart.one(documents, "ConfigMap")["data"]["pilothouse.yaml"])
            done = run([server, "config", "check", file], cwd=folder)
            if done.returncode != 0:
                words = (done.stdout + done.stderr).strip().splitlines()[0]
                problems.setdefault(words, []).append(case)
        report.check(name, [f"{words}: {', '.join(cases)}" for words, cases in problems.items()])
        file.write_text("server: {hots: 0.0.0.0}\n")
        done = run([server, "config", "check", file], cwd=folder)
        report.check("a misspelt key is noticed by that check", done.returncode == 0 and "it was taken")


def validated(file, version):
    """The validator's exit code and words; without a pipe, which would hide the code."""
    tool = TOOLS / "venv/bin/kubernetes-validate"
    done = run([tool, "--strict", "--quiet", "-k", version, file])
    return done.returncode, done.stdout + done.stderr


def the_schemas(report, rendered):
    report.section("schemas of Kubernetes")
    known = {name: [d for d in documents if d["kind"] != "A2AServer"] for name, documents in rendered.items()}
    with tempfile.TemporaryDirectory() as folder:
        for version in VERSIONS:
            problems, count = [], 0
            for name, documents in known.items():
                file = Path(folder) / f"{name}.yaml"
                file.write_text(yaml.safe_dump_all(documents))
                code, words = validated(file, version)
                count += len(documents)
                if code != 0:
                    problems.append(f"{name}: {words}")
            report.check(f"{count} objects of {len(known)} cases fit Kubernetes {version}", problems)
        deployment = chart.one(rendered["default"], "Deployment")
        for what, change in {
            "an unknown field": lambda d: d["spec"].update(replicaz=1),
            "a wrong type": lambda d: d["spec"].update(replicas="one"),
            "an unknown field of a container": lambda d: d["spec"]["template"]["spec"]["containers"][
                0
            ].update(prots=[]),
        }.items():
            file = Path(folder) / "wrong.yaml"
            file.write_text(yaml.safe_dump(chart.changed(deployment, change)))
            code, _ = validated(file, VERSIONS[1])
            report.check(f"{what} is noticed", code == 0 and "it was taken")


def references(documents):
    """Secrets, ConfigMaps, claims and accounts that a pod names and the release does not make."""
    made = {(d["kind"], d["metadata"]["name"]) for d in documents}
    missing = set()
    for document in documents:
        found = chart.pod_of(document)
        if found is None:
            continue
        spec = found[1]
        for container in podsecurity.containers(spec):
            mounts = {m["name"] for m in container.get("volumeMounts") or []}
            missing |= {("volume", m) for m in mounts - {v["name"] for v in spec.get("volumes") or []}}
            for variable in container.get("env") or []:
                reference = ((variable.get("valueFrom") or {}).get("secretKeyRef") or {}).get("name")
                missing |= {("Secret", reference)} - made if reference else set()
        for volume in spec.get("volumes") or []:
            if "configMap" in volume:
                missing |= {("ConfigMap", volume["configMap"]["name"])} - made
            if "persistentVolumeClaim" in volume:
                missing |= {("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])} - made
        account = spec.get("serviceAccountName", "default")
        missing |= {("ServiceAccount", account)} - made - {("ServiceAccount", "default")}
    return missing


# What the operator makes, and names in the values.
FOREIGN = {
    "secrets-of-your-own": {("Secret", n) for n in ("agents-token", "callers", "anthropic", "github")},
    "claude": {("ConfigMap", "mcp")},
    "forerunner": {("Secret", "anthropic"), ("ConfigMap", "ark-mcp-config")},
    "volumes-of-your-own": {("PersistentVolumeClaim", "my-state")},
    "ingress-behind-another": {("Secret", "t")},
    "everything": {("Secret", "gh")},
}


def the_objects(report, rendered):
    report.section("objects")
    problems = []
    for name, documents in rendered.items():
        names = [(d["kind"], d["metadata"]["name"]) for d in documents]
        problems += [f"{name}: {n} is there twice" for n in {n for n in names if names.count(n) > 1}]
        problems += [f"{name}: {n[1]} is too long a name" for n in names if len(n[1]) > 63]
        for kind, reference in references(documents) - FOREIGN.get(name, set()):
            problems.append(f"{name}: {kind} {reference} is named and not made")
        deployment = chart.one(documents, "Deployment")
        labels = deployment["spec"]["template"]["metadata"]["labels"].items()
        for kind, path in (("Service", "spec.selector"), ("NetworkPolicy", "spec.podSelector.matchLabels")):
            selecting = chart.one(documents, kind)
            if selecting and not chart.at(selecting, path).items() <= labels:
                problems.append(f"{name}: {kind} does not select the pod")
        for selected in (d for d in documents if d["kind"] == "Pod"):
            if (
                chart.at(chart.one(documents, "Service"), "spec.selector").items()
                <= selected["metadata"]["labels"].items()
            ):
                problems.append(f"{name}: the service leads to the pod of `helm test`")
        variables = [v["name"] for v in deployment["spec"]["template"]["spec"]["containers"][0]["env"]]
        problems += [f"{name}: {v} is set twice" for v in {v for v in variables if variables.count(v) > 1}]
    report.check("each name once, every reference leads somewhere, selectors select", problems)
    long = chart.render(release="r" * 53, namespace="n" * 63)
    report.check(
        "the longest release name fits",
        [d["metadata"]["name"] for d in long if len(d["metadata"]["name"]) > 63],
    )
    secrets = [
        f"{name}: {d['kind']} {d['metadata']['name']}"
        for name, documents in rendered.items()
        for d in documents
        if d["kind"] != "Secret" and ("sk-example" in json.dumps(d) or "my-token" in json.dumps(d))
    ]
    report.check("no secret outside of a Secret", secrets)


def the_pod_security(report, rendered):
    report.section("Pod Security: restricted")
    rules = {**podsecurity.RESTRICTED, **podsecurity.OURS}
    for rule in rules:
        broken = [
            f"{name}: {document['kind']}: {where}"
            for name, documents in rendered.items()
            for document in documents
            for where in podsecurity.violations(document, {rule: rules[rule]}).values()
        ]
        report.check(f"{rule}: kept in {len(rendered)} cases", broken)
    deployment = chart.one(rendered["default"], "Deployment")
    unnoticed = []
    for rule, how, change in podsecurity.MUTATIONS:
        if rule not in podsecurity.violations(chart.changed(deployment, change), rules):
            unnoticed.append(f"{rule}: {how}")
    report.check(
        f"{len(podsecurity.MUTATIONS)} ways to break a rule are noticed, each by that rule", unnoticed
    )
    untried = set(rules) - {rule for rule, _, _ in podsecurity.MUTATIONS}
    report.check("every rule is broken by one of them", sorted(untried))


def the_a2aserver(report, rendered):
    report.section("Ark")
    servers = {
        name: (server, documents)
        for name, documents in rendered.items()
        if (server := chart.one(documents, "A2AServer"))
    }
    problems = [
        f"{name}: {p}"
        for name, (server, documents) in servers.items()
        for p in ark.problems(server, documents)
    ]
    report.check(f"{len(servers)} A2AServers are what Ark takes, as far as we know it", problems)
    server, documents = servers["ark-auto"]
    header = chart.at(server, "spec.headers[Authorization].value.valueFrom.secretKeyRef")
    secret = chart.one(documents, "Secret", header["name"])
    token, line = (secret["data"][key] for key in ("token", header["key"]))
    report.check(
        "the header's Secret has the whole header", bearer(token) != line and f"{line} does not fit {token}"
    )
    unnoticed = []
    for what, change in {
        "a misspelt field": lambda d: d["spec"].update(timeOut="1h"),
        "no timeout": lambda d: d["spec"].pop("timeout"),
        "Ark's default of five minutes": lambda d: d["spec"].update(timeout="5m"),
        "a port that the service does not have": lambda d: d["spec"]["address"]["valueFrom"][
            "serviceRef"
        ].update(port="web"),
        "a service that is not there": lambda d: d["spec"]["address"]["valueFrom"]["serviceRef"].update(
            name="x"
        ),
        "a resolution that is none": lambda d: d["spec"].update(endpointResolution="card"),
    }.items():
        if not ark.problems(chart.changed(server, change), documents):
            unnoticed.append(what)
    report.check("six mistakes in it are noticed", unnoticed)
    name = "Ark's own schema takes it"
    if os.environ.get("ARK_CRD"):
        problems = [p for s, _ in servers.values() for p in ark.crd_problems(s, os.environ["ARK_CRD"])]
        report.check(name, problems)
    else:
        report.skip(name, "its CustomResourceDefinition is not part of this repository (ARK_CRD=FILE)")


def bearer(token):
    import base64

    return base64.b64encode(b"Bearer " + base64.b64decode(token)).decode()


def the_kustomization(report):
    report.section("Kustomize")
    for path, text in kustomize.make().items():
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        report.check(
            f"{path.relative_to(TOP)} is what the chart makes",
            old != text and "run `tools/test-chart.sh kustomize`",
        )
    tool = shutil.which("kubectl") or shutil.which("kustomize")
    if tool is None:
        report.skip("kustomize build", "neither kubectl nor kustomize is installed")
        return
    build = [tool, "kustomize"] if tool.endswith("kubectl") else [tool, "build"]
    done = run([*build, kustomize.FOLDER / "base"])
    if not report.check("the base builds", done.returncode and done.stderr):
        return
    built = {(d["kind"], d["metadata"]["name"]): d for d in chart.documents(done.stdout)}
    wanted = {
        (d["kind"], d["metadata"]["name"]): d for d in kustomize.documents() if d["kind"] != "A2AServer"
    }
    problems = [f"{key} differs" for key in wanted if built.get(key) != wanted[key]]
    problems += [
        f"{key} is not of the chart" for key in built.keys() - wanted.keys() if key[0] != "Namespace"
    ]
    report.check("the built base is the rendered chart, object by object", problems)
    rules = {**podsecurity.RESTRICTED, **podsecurity.OURS}
    report.check(
        "the base keeps Pod Security",
        [str(v) for d in built.values() if (v := podsecurity.violations(d, rules))],
    )
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "kustomize"
        shutil.copytree(kustomize.FOLDER, copy, ignore=shutil.ignore_patterns("*.env"))
        (copy / "example/token.env").write_text("token=my-token\nauthorization=Bearer my-token\n")
        (copy / "example/api-key.env").write_text("api-key=sk-example\n")
        done = run([*build, copy / "example"])
        if not report.check("the example builds", done.returncode and done.stderr):
            return
        documents = chart.documents(done.stdout)
        problems = ark.problems(chart.one(documents, "A2AServer"), documents)
        problems += [f"{key} is named and not made" for key in references(documents)]
        image = chart.at(chart.one(documents, "Deployment"), "spec.template.spec.containers[0].image")
        if not image.startswith("registry.example.com/pilothouse-agent:"):
            problems.append(f"the image is {image}")
        report.check("the example has its secrets, its image and Ark", problems)
        file = Path(folder) / "all.yaml"
        file.write_text(yaml.safe_dump_all([d for d in documents if d["kind"] != "A2AServer"]))
        code, words = validated(file, VERSIONS[1])
        report.check(f"{len(documents) - 1} objects of it fit Kubernetes {VERSIONS[1]}", code and words)


def the_devspace(report):
    report.section("DevSpace")
    folder = TOP / "deploy/devspace"
    space = yaml.safe_load((folder / "devspace.yaml").read_text())
    dev, helm = space["dev"]["pilothouse"], space["deployments"]["pilothouse"]["helm"]
    top = (folder / dev["sync"][0]["path"].split(":")[0]).resolve()
    problems = [
        f"{path} is not there"
        for path in (
            folder / space["images"]["dev"]["dockerfile"],
            folder / helm["chart"]["name"] / "Chart.yaml",
            top / "tools/dev.sh",
            *(folder / file for file in helm["valuesFiles"]),
        )
        if not path.exists()
    ]
    if ".env" not in dev["sync"][0]["excludePaths"]:
        problems.append(".env would be copied into the cluster")
    report.check("its paths lead somewhere, and .env stays at home", problems)
    filled = {
        "${runtime.images.dev.image}": "pilothouse-dev",
        "${runtime.images.dev.tag}": "abc",
        "${ANTHROPIC_API_KEY}": "",
    }
    values = json.loads(json.dumps(helm["values"]))
    text = yaml.safe_dump(values)
    for name, value in filled.items():
        text = text.replace(name, value or '""')
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        flags = [flag for name in helm["valuesFiles"] for flag in ("-f", folder / name)]
        documents = chart.render(*flags, "-f", file.name)
        deployment = chart.one(documents, "Deployment")
        container = chart.at(deployment, f"spec.template.spec.containers[{dev['container']}]")
        problems = (
            []
            if container and container["image"] == "pilothouse-dev:abc"
            else [f"the container is {container}"]
        )
        broken = podsecurity.violations(deployment, podsecurity.RESTRICTED)
        report.check(
            "its values render, with its image and its container, under the restricted rules",
            problems + [str(broken)] * bool(broken),
        )
        plain = Path(file.name + ".out")
        plain.write_text(yaml.safe_dump_all(documents))
        code, words = validated(plain, VERSIONS[1])
        plain.unlink()
        report.check(f"they fit Kubernetes {VERSIONS[1]}", code and words)
    name = "DevSpace's own schema takes devspace.yaml"
    if os.environ.get("DEVSPACE_SCHEMA"):
        schema = json.loads(Path(os.environ["DEVSPACE_SCHEMA"]).read_text())
        validator = jsonschema.Draft202012Validator(schema)
        report.check(name, [f"{e.json_path}: {e.message}" for e in validator.iter_errors(space)])
        wrong = json.loads(json.dumps(space))
        wrong["dev"]["pilothouse"]["sync"][0]["disableDownload"] = 3
        report.check(
            "a wrong type in it is noticed", not list(validator.iter_errors(wrong)) and "it was taken"
        )
    else:
        report.skip(name, "the schema is not part of this repository (DEVSPACE_SCHEMA=FILE)")
    report.skip("devspace dev", "needs a cluster and DevSpace")


def the_release(report):
    """Install, upgrade and remove with the real helm, against a stand-in of a cluster's API."""
    report.section("install, upgrade, remove")
    with tempfile.TemporaryDirectory() as folder:
        for ark_there in (False, True):
            with Cluster(folder, ark=ark_there) as cluster:
                release(report, cluster, "with Ark" if ark_there else "without Ark", ark_there)


def release(report, cluster, where, ark_there):
    def helm(*words):
        environment = os.environ | {
            "KUBECONFIG": str(cluster.kubeconfig),
            "HOME": str(cluster.kubeconfig.parent),
        }
        done = run([chart.helm(), *words, "-n", "agents"], env=environment)
        return done.returncode and done.stdout + done.stderr

    def token():
        return (cluster.get("Secret", "pilothouse-token") or {}).get("data")

    if not report.check(
        f"{where}: helm install", helm("install", "pilothouse", chart.CHART, "--create-namespace")
    ):
        return
    made = token()
    report.check(
        f"{where}: the A2AServer is there as Ark is", bool(cluster.names("A2AServer")) != ark_there and "no"
    )
    before = cluster.get("Deployment", "pilothouse")
    flags = ("--reset-then-reuse-values", "--set", "config.processes.max=3")
    report.check(f"{where}: helm upgrade", helm("upgrade", "pilothouse", chart.CHART, *flags))
    report.check("the token is kept", (made is None or token() != made) and f"{made} became {token()}")
    config = cluster.get("ConfigMap", "pilothouse-config")["data"]["pilothouse.yaml"]
    report.check("the configuration is new", yaml.safe_load(config)["processes"]["max"] != 3 and config)
    annotations = [
        chart.at(d, "spec.template.metadata.annotations")
        for d in (before, cluster.get("Deployment", "pilothouse"))
    ]
    report.check("and makes a new pod", annotations[0] == annotations[1] and str(annotations))
    flags = ("--reset-then-reuse-values", "--set", "auth.existingSecret=mine")
    report.check(
        "an upgrade to a Secret of your own",
        helm("upgrade", "pilothouse", chart.CHART, *flags) or (token() and "the old one stays"),
    )
    report.check("helm uninstall", helm("uninstall", "pilothouse"))
    kept = ["pilothouse-state", "pilothouse-workspace"]
    report.check(
        "the claims stay",
        cluster.names("PersistentVolumeClaim") != kept and str(cluster.names("PersistentVolumeClaim")),
    )
    others = [
        n
        for kind in ("Deployment", "Secret", "Service", "ConfigMap", "NetworkPolicy", "A2AServer")
        for n in cluster.names(kind)
    ]
    report.check("nothing else does", others)
    report.check("the same release again takes them over", helm("install", "pilothouse", chart.CHART))


def main():
    report = Report()
    the_chart(report)
    rendered = the_matrix(report)
    the_configuration(report, rendered)
    the_schemas(report, rendered)
    the_objects(report, rendered)
    the_pod_security(report, rendered)
    the_a2aserver(report, rendered)
    the_kustomization(report)
    the_devspace(report)
    the_release(report)
    manual.check(report)
    pod.check(report)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
