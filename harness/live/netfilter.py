"""The kernel's packet filter, spoken to in its own words (nfnetlink), so that neither `nft` nor `iptables` has to be installed.

Owns the messages: a table whose rules hand the packets of TCP ports to queue 0, and the queue's settings, packets and verdicts. Must not know why,
nor in which network namespace it is spoken to: `harness.live.guard` does.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from itertools import count

from msgspec import Struct

ANSWER_S = 2.5
NETLINK_NETFILTER = 12
RECEIVED_MAX = 1 << 16
REQUEST, ACK, CREATE, APPEND = 1, 4, 0x400, 0x800
ERROR, BATCH_BEGIN, BATCH_END = 2, 0x10, 0x11
TABLES, QUEUES = 10 << 8, 3 << 8  # NFNL_SUBSYS_NFTABLES, NFNL_SUBSYS_QUEUE
NEW_TABLE, DELETE_TABLE, NEW_CHAIN, NEW_RULE = TABLES | 0, TABLES | 2, TABLES | 3, TABLES | 6
PACKET, VERDICT, CONFIG = QUEUES | 0, QUEUES | 1, QUEUES | 2
IPV4 = 2
LOCAL_OUT = 3
BYPASS = 1  # packets pass if nobody reads the queue
DROP, ACCEPT = 0, 1
COPY_PACKET = 2
COPIED_BYTES = 128  # of each packet: its headers are all that is looked at
QUEUE_MAX = 1 << 15
HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
FAMILY = struct.Struct("=BBH")  # of addresses, version, and what the message is about
SOURCE_AT, TARGET_AT = 0, 2  # where the two ports stand in a TCP header


class Match(Struct, frozen=True, order=True):
    """Packets to a port, or (``answers``) from it."""

    port: int
    answers: bool


class Queued(Struct, frozen=True):
    """A packet that waits for its verdict, under ``number``; from one TCP port to another."""

    number: int
    source: int
    target: int


def _attribute(kind: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack("=HH", len(body) + 4, kind) + body + bytes(-len(body) % 4)


def _nest(kind: int, *parts: bytes) -> bytes:
    return _attribute(kind | 0x8000, *parts)


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack(">I", value))


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _message(kind: int, flags: int, family: int, about: int, sequence: int, *attributes: bytes) -> bytes:
    body = FAMILY.pack(family, 0, socket.htons(about)) + b"".join(attributes)
    return HEADER.pack(HEADER.size + len(body), kind, flags, sequence, 0) + body


def messages(received: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Kind, sequence number and body of each message in ``received``."""
    at = 0
    while at + HEADER.size <= len(received):
        length, kind, _, sequence, _ = HEADER.unpack_from(received, at)
        yield kind, sequence, received[at + HEADER.size : at + length]
        at += max(HEADER.size, (length + 3) & ~3)


def _open() -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    netlink.settimeout(ANSWER_S)
    return netlink


def _ask(netlink: socket.socket, request: bytes, asked: int) -> None:
    """Send, and wait until so many messages have been acknowledged. Raises `OSError` with the first that the kernel refused."""
    netlink.send(request)
    refused = 0
    while asked > 0:
        for kind, _, body in messages(netlink.recv(RECEIVED_MAX)):
            if kind == ERROR:
                asked -= 1
                refused = refused or -struct.unpack_from("=i", body)[0]
    if refused:
        raise OSError(refused, os.strerror(refused))


# -- Rules ---------------------------------------------------------------------------------------------------------------------------


def _expression(name: str, *attributes: bytes) -> bytes:
    return _nest(1, _text(1, name), _nest(2, *attributes))


def _rule(table: str, match: Match, last: bytes, sequence: int) -> bytes:
    """Load the port, compare it, and then do what ``last`` says."""
    port = _expression("payload", _number(1, 1), _number(2, 2), _number(3, SOURCE_AT if match.answers else TARGET_AT), _number(4, 2))
    compared = _expression("cmp", _number(1, 1), _number(2, 0), _nest(3, _attribute(1, struct.pack(">H", match.port))))
    return _message(NEW_RULE, REQUEST | ACK | CREATE | APPEND, IPV4, 0, sequence, _text(1, table), _text(2, "out"), _nest(4, port, compared, last))


# A kernel is built with the one, or with the other, or with neither.
_TO_QUEUE = (
    _expression("queue", *(_attribute(kind, struct.pack(">H", value)) for kind, value in ((1, 0), (2, 1), (3, BYPASS)))),
    _expression("target", _text(1, "NFQUEUE"), _number(2, 3), _attribute(3, struct.pack("=HHH", 0, 1, BYPASS), bytes(2))),
)


def divert(table: str, matches: Iterable[Match]) -> None:
    """Hand exactly the packets of ``matches`` that this namespace sends to queue 0, at once and whole; none: the table goes. Raises `OSError`."""
    wanted = sorted(set(matches))
    for way in _TO_QUEUE:
        numbers = count(1)
        create, named = REQUEST | ACK | CREATE, _text(1, table)
        parts = [_message(kind, flags, IPV4, 0, next(numbers), named) for kind, flags in ((NEW_TABLE, create), (DELETE_TABLE, REQUEST | ACK))]
        if wanted:
            parts.append(_message(NEW_TABLE, create, IPV4, 0, next(numbers), named))
            hook = _nest(4, _number(1, LOCAL_OUT), _number(2, 0))
            parts.append(_message(NEW_CHAIN, create, IPV4, 0, next(numbers), named, _text(3, "out"), hook, _text(7, "filter")))
            parts += [_rule(table, match, way, next(numbers)) for match in wanted]
        begin, end = (_message(kind, REQUEST, 0, 10, 0) for kind in (BATCH_BEGIN, BATCH_END))
        try:
            with _open() as netlink:
                return _ask(netlink, b"".join((begin, *parts, end)), len(parts))
        except FileNotFoundError:
            continue
    raise OSError(errno.ENOENT, "the kernel has no rule that queues packets: neither nftables' queue nor the target NFQUEUE")


# -- The queue -----------------------------------------------------------------------------------------------------------------------


def open_queue() -> socket.socket:
    """Queue 0 of this namespace; a socket to read packets from. Raises `OSError` if the kernel has none or somebody else reads it."""
    netlink = _open()
    settings = (
        _attribute(1, struct.pack(">BBH", 1, 0, IPV4)),  # bind
        _attribute(2, struct.pack(">IB", COPIED_BYTES, COPY_PACKET)),
        _number(3, QUEUE_MAX),
    )
    try:
        for sequence, setting in enumerate(settings, 1):
            _ask(netlink, _message(CONFIG, REQUEST | ACK, 0, 0, sequence, setting), 1)
    except BaseException:
        netlink.close()
        raise
    netlink.setblocking(False)
    return netlink


def packets(received: bytes) -> Iterator[Queued]:
    """The TCP packets in what was read from a queue; anything else is 0 to 0."""
    for kind, _, body in messages(received):
        if kind != PACKET:
            continue
        number, ports, at = 0, (0, 0), FAMILY.size
        while at + 4 <= len(body):
            length, attribute = struct.unpack_from("=HH", body, at)
            if attribute == 1:
                (number,) = struct.unpack_from(">I", body, at + 4)
            elif attribute == 10:
                ports = _ports(body[at + 4 : at + length])
            at += max(4, (length + 3) & ~3)
        yield Queued(number, *ports)


def _ports(packet: bytes) -> tuple[int, int]:
    start = (packet[0] & 0xF) * 4 if packet else 0
    if len(packet) < start + 4 or packet[9] != socket.IPPROTO_TCP:
        return 0, 0
    source, target = struct.unpack_from(">HH", packet, start)
    return source, target


def verdict(packet: Queued, what: int) -> bytes:
    """What to write to the queue so that ``packet`` goes on its way (`ACCEPT`) or is lost (`DROP`)."""
    return _message(VERDICT, REQUEST, 0, 0, 0, _attribute(2, struct.pack(">II", what, packet.number)))
