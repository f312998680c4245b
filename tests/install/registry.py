#!/usr/bin/env python3
"""Serves the wheels and npm packages of a folder on loopback, as the registries of Python and of npm do; a request for
another package is answered 404. Prints its address and serves until it is ended.

Usage: tests/install/registry.py DIR
"""
import base64
import hashlib
import http.server
import json
import sys
import tarfile
from pathlib import Path

FOLDER = Path(sys.argv[1])


def npm_document(name, address):
    """What a registry of npm says of a package."""
    for packed in sorted(FOLDER.glob("*.tgz")):
        with tarfile.open(packed) as archive:
            if "package/package.json" not in archive.getnames():
                continue
            manifest = json.load(archive.extractfile("package/package.json"))
        if manifest["name"] == name:
            digest = base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode()
            manifest["dist"] = {"tarball": f"{address}/{packed.name}", "integrity": f"sha512-{digest}"}
            version = manifest["version"]
            return json.dumps({"name": name, "dist-tags": {"latest": version}, "versions": {version: manifest}}).encode()
    return None


def python_index(name):
    """What an index of Python lists of a project."""
    wheels = sorted(FOLDER.glob(f"{name}-*.whl"))
    links = [f'<a href="/{wheel.name}#sha256={hashlib.sha256(wheel.read_bytes()).hexdigest()}">{wheel.name}</a>' for wheel in wheels]
    return f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode() if links else None


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        address = f"http://{self.headers['Host']}"
        words = self.path.strip("/").split("/")
        kind, body = "application/octet-stream", None
        match words:
            case ["simple", name]:
                kind, body = "text/html", python_index(name)
            case [name] if name.endswith((".whl", ".tgz")):
                file = FOLDER / Path(name).name
                body = file.read_bytes() if file.is_file() else None
            case [name]:
                kind, body = "application/json", npm_document(name, address)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
