#!/usr/bin/env python3
"""Writes the bill of materials of the binary (CycloneDX 1.5, JSON): the crates that Cargo.lock names and that the
release is made of, with their checksums, licences and who needs whom. What runs while it is built and is not in it
(macros, build scripts) has the scope "excluded"; what tests alone need is left out.

Usage: tools/sbom.py TARGET        (like x86_64-unknown-linux-gnu; to standard output)

SOURCE_DATE_EPOCH gives the time that stands in it; the same sources make the same bill.
"""
import datetime
import json
import os
import re
import subprocess
import sys
import uuid

ROOT = "pilothouse"


def metadata(target):
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def checksums(lock):
    """(name, version) -> SHA-256 of the crate's archive."""
    found = {}
    for block in lock.split("[[package]]")[1:]:
        fields = dict(re.findall(r'^(name|version|checksum) = "([^"]*)"$', block, re.M))
        if "checksum" in fields:
            found[fields["name"], fields["version"]] = fields["checksum"]
    return found


def component(package, checksum, kind):
    name, version = package["name"], package["version"]
    purl = f"pkg:cargo/{name}@{version}"
    out = {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl}
    if package.get("description"):
        out["description"] = " ".join(package["description"].split())
    if package.get("license"):
        # Some crates still write "A/B" for "A OR B".
        out["licenses"] = [{"expression": re.sub(r"\s*/\s*", " OR ", package["license"])}]
    if checksum:
        out["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if (package.get("repository") or "").startswith("https://"):
        out["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return out


def bill(target):
    data = metadata(target)
    packages = {package["id"]: package for package in data["packages"]}
    nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
    sums = checksums(open("Cargo.lock", encoding="utf-8").read())

    def needs(identity, kinds=(None, "build")):
        return [dep["pkg"] for dep in nodes[identity]["deps"] if any(kind["kind"] in kinds for kind in dep["dep_kinds"])]

    def is_macro(identity):
        return any("proc-macro" in target["kind"] for target in packages[identity]["targets"])

    def reached(begin, follow):
        seen, queue = {begin}, [begin]
        while queue:
            for needed in follow(queue.pop()):
                if needed not in seen:
                    seen.add(needed)
                    queue.append(needed)
        return seen

    root = next(i for i, p in packages.items() if p["name"] == ROOT)
    seen = reached(root, needs)
    inside = reached(root, lambda i: [n for n in needs(i, (None,)) if not is_macro(n)])
    made = {}
    for i in seen:
        checksum = sums.get((packages[i]["name"], packages[i]["version"]))
        made[i] = component(packages[i], checksum, "application" if i == root else "library")
        made[i]["scope"] = "required" if i in inside else "excluded"
    ref = {i: made[i]["bom-ref"] for i in seen}
    components = sorted((made[i] for i in seen if i != root), key=lambda c: c["bom-ref"])
    dependencies = sorted(({"ref": ref[i], "dependsOn": sorted(ref[n] for n in needs(i))} for i in seen), key=lambda d: d["ref"])
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    time = datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    made[root].pop("scope")
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([target, components]))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": time,
            "component": made[root],
            "properties": [{"name": "pilothouse:target", "value": target}],
        },
        "components": components,
        "dependencies": dependencies,
    }


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    json.dump(bill(sys.argv[1]), sys.stdout, indent=1)
    print()
