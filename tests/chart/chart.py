"""The chart, rendered by helm: documents, or the words with which it was refused."""

import copy
import os
import re
import subprocess
from pathlib import Path

import yaml

TOP = Path(__file__).resolve().parents[2]
CHART = TOP / "deploy/helm/pilothouse"
TOOLS = TOP / ".tools/chart"
NAMESPACE = "agents"


class Refused(Exception):
    """Helm did not render; the text says why."""


def run(command, **options):
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=300, **options
    )


def helm():
    return os.environ.get("HELM") or str(TOOLS / "venv/bin/helm")


def render_text(*flags, release="pilothouse", namespace=NAMESPACE):
    done = run([helm(), "template", release, CHART, "-n", namespace, *flags])
    if done.returncode != 0:
        raise Refused(done.stderr)
    return done.stdout


def render(*flags, **where):
    return documents(render_text(*flags, **where))


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def one(docs, kind, name=None):
    """The only document of a kind; None when there is none."""
    found = [doc for doc in docs if doc["kind"] == kind and name in (None, doc["metadata"]["name"])]
    if len(found) > 1:
        raise AssertionError(f"{len(found)} documents of kind {kind}")
    return found[0] if found else None


def config_of(docs):
    """pilothouse.yaml, as the server will read it."""
    config = next(d for d in docs if d["kind"] == "ConfigMap" and "pilothouse.yaml" in d["data"])
    return yaml.safe_load(config["data"]["pilothouse.yaml"])


def pod_of(doc):
    """The pod of a document that makes one: (metadata, spec); None for others."""
    if doc["kind"] == "Pod":
        return doc["metadata"], doc["spec"]
    template = (doc.get("spec") or {}).get("template")
    if template and "spec" in template:
        return template.get("metadata") or {}, template["spec"]
    return None


def at(value, path):
    """The value at a path like `spec.ports[0].name` or `env[HOME].value`; None where there is none."""
    for key in re.findall(r"[^.\[\]]+", path):
        if isinstance(value, list):
            numbered = key.isdigit() and int(key) < len(value)
            value = value[int(key)] if numbered else next((v for v in value if v.get("name") == key), None)
        elif isinstance(value, dict):
            value = value.get(key)
        else:
            return None
    return value


def changed(doc, change):
    """A copy of a document with a change made to it."""
    other = copy.deepcopy(doc)
    change(other)
    return other
