"""A stand-in for a cluster's API on loopback: it keeps objects, and that is all.

With it helm and kubectl really install, find again (`lookup`), upgrade and remove. Nothing is scheduled or
admitted, no name resolves, and patches of lists replace them: what a cluster makes of the objects stays
unverified. Kinds are those that the chart renders.
"""

import base64
import copy
import json
import re
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import protobuf
import yaml

CORE = {
    "namespaces": "Namespace",
    "secrets": "Secret",
    "configmaps": "ConfigMap",
    "services": "Service",
    "pods": "Pod",
    "serviceaccounts": "ServiceAccount",
    "persistentvolumeclaims": "PersistentVolumeClaim",
}
SHORT = {
    "persistentvolumeclaims": ["pvc"],
    "deployments": ["deploy"],
    "services": ["svc"],
    "namespaces": ["ns"],
}
GROUPS = {
    "v1": CORE,
    "apps/v1": {"deployments": "Deployment"},
    "networking.k8s.io/v1": {"networkpolicies": "NetworkPolicy", "ingresses": "Ingress"},
}
ARK = {"ark.mckinsey.com/v1prealpha1": {"a2aservers": "A2AServer"}}
PATH = re.compile(
    r"^/(?:api|apis)/(?P<group>v1|[^/]+/[^/]+)(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<kind>[a-z0-9]+)(?:/(?P<name>[^/]+))?$"
)


class Cluster:
    """Runs while it is a context; `kubeconfig` names it to helm and kubectl."""

    def __init__(self, folder, ark=False):
        self.groups = GROUPS | (ARK if ark else {})
        self.objects, self.version, self.lock = {}, 0, threading.Lock()
        handler = type("Bound", (Handler,), {"cluster": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.kubeconfig = Path(folder) / "kubeconfig"
        named = lambda key, value: [{"name": "stand-in", key: value}]
        self.kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "stand-in",
                    "clusters": named("cluster", {"server": f"http://127.0.0.1:{self.server.server_port}"}),
                    "users": named("user", {"token": "x"}),
                    "contexts": named(
                        "context", {"cluster": "stand-in", "user": "stand-in", "namespace": "default"}
                    ),
                }
            )
        )

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def all(self, kind):
        with self.lock:
            return [copy.deepcopy(o) for (_, k, _, _), o in self.objects.items() if k == kind]

    def names(self, kind):
        """Names of all objects of a kind, without helm's own records."""
        return sorted(
            o["metadata"]["name"] for o in self.all(kind) if "helm.release" not in o["metadata"]["name"]
        )

    def get(self, kind, name):
        return next((o for o in self.all(kind) if o["metadata"]["name"] == name), None)

    def store(self, key, value):
        self.version += 1
        metadata = value.setdefault("metadata", {})
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        metadata["resourceVersion"] = str(self.version)
        for name, text in (value.pop("stringData", None) or {}).items():
            value.setdefault("data", {})[name] = base64.b64encode(text.encode()).decode()
        self.objects[key] = value
        return value


def merged(old, patch):
    """A merge patch, applied; words of the strategic kind are left out."""
    if not isinstance(patch, dict):
        return patch
    new = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            new.pop(key, None)
        else:
            new[key] = merged(new.get(key), value)
    return new


def read(raw):
    return protobuf.read(raw) if raw.startswith(protobuf.MAGIC) else json.loads(raw)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster = None

    def log_message(self, *_):
        pass

    def answer(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status, reason):
        self.answer(
            {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "code": status,
                "reason": reason,
                "message": f"{reason}: {self.path}",
            },
            status,
        )

    def described(self, path):
        """What discovery asks for; None for other paths."""
        groups = self.cluster.groups
        if path == "/version":
            return {"major": "1", "minor": "33", "gitVersion": "v1.33.0"}
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            listed = []
            for group in (g for g in groups if "/" in g):
                version = {"groupVersion": group, "version": group.split("/")[1]}
                listed.append(
                    {"name": group.split("/")[0], "versions": [version], "preferredVersion": version}
                )
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
        if path == "/openapi/v3":
            prefix = lambda group: "apis/" + group if "/" in group else "api/" + group
            return {"paths": {prefix(g): {"serverRelativeURL": f"/openapi/v3/{prefix(g)}"} for g in groups}}
        if path.startswith("/openapi/v3/"):
            return self.schema(path.split("/", 4)[4])
        group = re.sub(r"^/apis?/", "", path)
        if group in groups:
            return {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": group,
                "resources": [
                    {
                        "name": plural,
                        "singularName": kind.lower(),
                        "namespaced": plural != "namespaces",
                        "kind": kind,
                        "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
                        "shortNames": SHORT.get(plural, []),
                    }
                    for plural, kind in groups[group].items()
                ],
            }
        return None

    def schema(self, group):
        """Says no more than that the server itself checks fields; the validator of the test does that."""
        name, _, version = group.rpartition("/")
        paths = {
            f"/x/{plural}": {
                "patch": {
                    "parameters": [{"name": "fieldValidation", "in": "query"}],
                    "x-kubernetes-group-version-kind": {"group": name, "version": version, "kind": kind},
                    "responses": {},
                }
            }
            for plural, kind in self.cluster.groups[group].items()
        }
        return {"openapi": "3.0.0", "info": {"title": "stand-in", "version": "1"}, "paths": paths}

    def handle_one(self, method):
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        if method == "GET" and (known := self.described(url.path)) is not None:
            return self.answer(known)
        found = PATH.match(url.path)
        if url.path.startswith("/api/v1/namespaces") and url.path.count("/") <= 4:
            name = url.path.split("/")[4] if url.path.count("/") == 4 else None
            group, namespace, plural = "v1", None, "namespaces"
        elif found and found["kind"] in self.cluster.groups.get(found["group"], {}):
            group, namespace, plural, name = found["group"], found["namespace"], found["kind"], found["name"]
        else:
            return self.refuse(404, "NotFound")
        kind = self.cluster.groups[group][plural]
        key = (group, kind, namespace, name)
        with self.cluster.lock:
            return getattr(self, method.lower())(key, query, raw)

    def get(self, key, query, _):
        group, kind, namespace, name = key
        objects = self.cluster.objects
        if name:
            return self.answer(objects[key]) if key in objects else self.refuse(404, "NotFound")
        wanted = [part.partition("=") for part in query.get("labelSelector", "").split(",") if part]
        field = query.get("fieldSelector", "").partition("metadata.name=")[2]
        items = [
            o
            for (g, k, n, m), o in objects.items()
            if (g, k) == (group, kind)
            and namespace in (None, n)
            and field in ("", m)
            and all((o["metadata"].get("labels") or {}).get(a) == b.lstrip("=") for a, _, b in wanted)
        ]
        version = str(self.cluster.version)
        return self.answer(
            {
                "kind": kind + "List",
                "apiVersion": group,
                "metadata": {"resourceVersion": version},
                "items": items,
            }
        )

    def post(self, key, _, raw):
        value = read(raw)
        group, kind, namespace, _ = key
        key = (group, kind, namespace, value["metadata"]["name"])
        if key in self.cluster.objects:
            return self.refuse(409, "AlreadyExists")
        if namespace:
            value["metadata"]["namespace"] = namespace
        return self.answer(self.cluster.store(key, value), 201)

    def put(self, key, _, raw):
        return self.answer(self.cluster.store(key, read(raw)))

    def patch(self, key, _, raw):
        if key not in self.cluster.objects:
            return self.refuse(404, "NotFound")
        return self.answer(self.cluster.store(key, merged(self.cluster.objects[key], json.loads(raw))))

    def delete(self, key, *_):
        if self.cluster.objects.pop(key, None) is None:
            return self.refuse(404, "NotFound")
        return self.answer({"kind": "Status", "apiVersion": "v1", "status": "Success"})

    def do_GET(self):
        self.handle_one("GET")

    def do_POST(self):
        self.handle_one("POST")

    def do_PUT(self):
        self.handle_one("PUT")

    def do_PATCH(self):
        self.handle_one("PATCH")

    def do_DELETE(self):
        self.handle_one("DELETE")
