"""What Ark takes as an A2AServer, as far as we use it: written by us from its published contract.

Strict on purpose: a field that is not named here is refused, so that a misspelt one is found. A cluster with
Ark, or ARK_CRD=FILE (its CustomResourceDefinition), says more.
"""

import re

import jsonschema
import yaml

TEXT = {"type": "string", "minLength": 1}
KEY = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "key"],
    "properties": {"name": TEXT, "key": TEXT, "optional": {"type": "boolean"}},
}
SERVICE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {"name": TEXT, "namespace": TEXT, "port": TEXT, "path": TEXT},
}
SPEC = {
    "type": "object",
    "additionalProperties": False,
    "required": ["address", "timeout"],
    "properties": {
        "address": {
            "type": "object",
            "additionalProperties": False,
            "required": ["valueFrom"],
            "properties": {
                "valueFrom": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["serviceRef"],
                    "properties": {"serviceRef": SERVICE},
                }
            },
        },
        "headers": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "value"],
                "properties": {
                    "name": TEXT,
                    "value": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "value": {"type": "string"},
                            "valueFrom": {
                                "type": "object",
                                "additionalProperties": False,
                                "properties": {"secretKeyRef": KEY, "configMapKeyRef": KEY},
                            },
                        },
                    },
                },
            },
        },
        "description": {"type": "string"},
        "pollInterval": TEXT,
        "timeout": TEXT,
        "endpointResolution": {"enum": ["address", "cardPath", "cardUrl"]},
        "allowedEndpointHosts": {"type": "array", "items": TEXT},
    },
}
# Ark makes an Agent of the card's name and objects of ours: names of Kubernetes.
NAME = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")


def problems(server, docs):
    """What is wrong with an A2AServer beside the other documents of the same release."""
    found = []
    if server["apiVersion"] != "ark.mckinsey.com/v1prealpha1":
        found.append(f"apiVersion is {server['apiVersion']}")
    if not NAME.match(server["metadata"]["name"]):
        found.append(f"name {server['metadata']['name']} is no name for Kubernetes")
    for error in jsonschema.Draft7Validator(SPEC).iter_errors(server["spec"]):
        found.append(f"{error.json_path}: {error.message}")
    if found:
        return found
    reference = server["spec"]["address"]["valueFrom"]["serviceRef"]
    services = {d["metadata"]["name"]: d for d in docs if d["kind"] == "Service"}
    if reference["name"] not in services:
        found.append(f"no service {reference['name']}")
    elif reference["port"] not in [p["name"] for p in services[reference["name"]]["spec"]["ports"]]:
        found.append(f"service {reference['name']} has no port {reference['port']}")
    if seconds(server["spec"]["timeout"]) < 3600:
        found.append(f"timeout {server['spec']['timeout']}: coding agents work up to an hour")
    return found


def seconds(text):
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    parts = re.findall(r"([0-9.]+)(ms|s|m|h)", text)
    return sum(float(number) * units[unit] for number, unit in parts)


def crd_problems(server, path):
    """What Ark's own schema says; the file is a CustomResourceDefinition."""
    with open(path, encoding="utf-8") as file:
        crd = yaml.safe_load(file)
    version = next(v for v in crd["spec"]["versions"] if v["name"] == "v1prealpha1")
    schema = closed(version["schema"]["openAPIV3Schema"])
    return [f"{e.json_path}: {e.message}" for e in jsonschema.Draft7Validator(schema).iter_errors(server)]


def closed(schema):
    """The same schema, with fields that it does not name refused, as a strict client does."""
    if isinstance(schema, dict):
        schema = {key: closed(value) for key, value in schema.items()}
        if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
            schema.setdefault("additionalProperties", False)
    elif isinstance(schema, list):
        schema = [closed(part) for part in schema]
    return schema
