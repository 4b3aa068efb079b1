"""A name server that knows one name, for scripts/check-image: ADDRESS NAME ANSWER."""

import socket
import struct
import sys


def question(query):
    """The name that is asked for, its type, and where the question ends."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode("ascii", "replace"))
        at += 1 + query[at]
    return ".".join(labels).lower(), struct.unpack_from("!H", query, at + 1)[0], at + 5


def answer(query, known, address):
    """The address for an A question, nothing for other types, no such name for other names."""
    name, kind, end = question(query)
    found = name == known
    count = int(found and kind == 1)
    flags = 0x8580 | (0 if found else 3)
    head = query[:2] + struct.pack("!HHHHH", flags, 1, count, 0, 0)
    record = struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(address)
    return head + query[12:end] + (record if count else b"")


def main(listen, known, address):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((listen, 53))
    print(f"answers on {listen}", flush=True)
    while True:
        query, client = server.recvfrom(4096)
        server.sendto(answer(query, known, address), client)


main(*sys.argv[1:])
