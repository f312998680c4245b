"""Kubernetes' binary form of Secrets and Namespaces, which helm and kubectl send: read into the usual one."""

import base64

MAGIC = b"k8s\x00"
TEXT, BYTES, TEXTS, BYTES_MAP = "text", "bytes", "texts", "bytes map"
METADATA = {1: ("name", TEXT), 3: ("namespace", TEXT), 11: ("labels", TEXTS), 12: ("annotations", TEXTS)}
KINDS = {
    "Namespace": {1: ("metadata", METADATA)},
    "Secret": {
        1: ("metadata", METADATA),
        2: ("data", BYTES_MAP),
        3: ("type", TEXT),
        4: ("stringData", TEXTS),
    },
}
UNKNOWN = {1: ("typeMeta", {1: ("apiVersion", TEXT), 2: ("kind", TEXT)}), 2: ("raw", BYTES)}


def number(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def fields(data):
    at = 0
    while at < len(data):
        tag, at = number(data, at)
        if tag & 7 == 0:
            _, at = number(data, at)
        elif tag & 7 == 2:
            length, at = number(data, at)
            yield tag >> 3, data[at : at + length]
            at += length
        else:
            raise ValueError(f"wire type {tag & 7}")


def message(data, known):
    found = {}
    for field, value in fields(data):
        name, kind = known.get(field, (None, None))
        if name is None:
            continue
        if isinstance(kind, dict):
            found[name] = message(value, kind)
        elif kind in (TEXTS, BYTES_MAP):
            entry = dict(fields(value))
            text = base64.b64encode(entry.get(2, b"")) if kind == BYTES_MAP else entry.get(2, b"")
            found.setdefault(name, {})[entry[1].decode()] = text.decode()
        else:
            found[name] = value if kind == BYTES else value.decode()
    return found


def read(data):
    """The object of a request's body."""
    envelope = message(data[len(MAGIC) :], UNKNOWN)
    return envelope["typeMeta"] | message(envelope["raw"], KINDS[envelope["typeMeta"]["kind"]])
