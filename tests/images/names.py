#!/usr/bin/env python3
"""A name server on 127.0.0.1:53 that knows one name: names.py NAME ADDRESS SECONDS. For a network namespace of a test."""
import socket
import struct
import sys
import time


def answered(query, name, address):
    """The answer to a query of one question; no such name where it asks for another."""
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii", "replace"))
        at += query[at] + 1
    question = query[12 : at + 5]
    (kind,) = struct.unpack("!H", query[at + 1 : at + 3])
    known = ".".join(labels).lower() == name
    records = b""
    if known and kind == 1:
        records = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton(address)
    flags = 0x8580 if known else 0x8583
    return query[:2] + struct.pack("!HHHHH", flags, 1, 1 if records else 0, 0, 0) + question + records


def main():
    name, address, end = sys.argv[1], sys.argv[2], time.monotonic() + float(sys.argv[3])
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    print("ready", flush=True)
    while (left := end - time.monotonic()) > 0:
        server.settimeout(left)
        try:
            query, asker = server.recvfrom(512)
        except TimeoutError:
            break
        server.sendto(answered(query, name, address), asker)


if __name__ == "__main__":
    main()
