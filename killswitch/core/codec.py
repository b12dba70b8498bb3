"""How messages become bytes and bytes become messages again, across versions (protocol 3.3).

Owns the frozen header, the limits, the strict scan, the version rules V1-V5 and the canonical packing of signed bodies. Must not know
who may say what (``keys``, ``policy``) or what a message causes. Nothing that reads bytes from outside ever raises: what cannot be
read comes back as a `Refusal`, or, if its header says that it is a prohibition, as an `UnknownProhibition` to be enforced.

A frame is two MessagePack values and nothing after them: the header, whose form never changes, and the body, whose form the header's
version names. So a node can always tell how severe a message of a later version is, even if it cannot tell what it says.

    header  {magic, major, minor, type, tenant, from, to, msg_id, sev_floor: [gate, life], crit: [names]}
    body    one of `killswitch.core.messages`

|rule|what arrives|what becomes of it|
|---|---|---|
|V1|a later minor, unknown fields|read; what is unknown is ignored|
|V2|an unknown major, critical name or type in a permission|refused|
|V3|the same in a prohibition, or a prohibition whose body cannot be read|its floor is enforced, and at least ISOLATE|
|V4|an unknown number for a gate or life|counts as the most severe|
|V5|an earlier version than the peer has spoken before|refused, unless it is a prohibition|
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Final, TypeVar, cast, get_args

import msgspec
from msgspec import UNSET, Struct, structs

from killswitch.core.bundles import RolloutRequest
from killswitch.core.certificates import ResumeDraftRequest
from killswitch.core.messages import Evidence, Gate, Life, Message, Order, OrderBody, OrderPush, OrderRequest, UnknownProhibition

MAGIC: Final = "KSP"
MAJOR: Final = 1
MINOR: Final = 2

# What a minor version added: types, and fields of types that were there before. An earlier version neither says nor understands these; what it
# leaves out is read as the field's default.
TYPES_SINCE: Final[dict[str, int]] = {
    "KeysetNews": 1, "CellStatus": 1, "PolicyNews": 1, "RolloutRequest": 1, "RolloutStatus": 1, "CountersignedRequest": 2,
}  # fmt: skip
FIELDS_SINCE: Final[dict[str, dict[str, int]]] = {
    "LeaseRequest": {"keyset": 1}, "LeaseReply": {"boot": 1}, "Gossip": {"keyset": 1, "clocks": 1}, "IntentReply": {"policy_seq": 1, "read": 2},
    "Query": {"nonce": 1}, "QueryResult": {"nonce": 1}, "StopRequest": {"compensate": 1},
    "EffectRequest": {"payload": 1}, "Apply": {"payload": 1}, "OrderStatus": {"keys": 2}, "CellStatus": {"keys": 2},
}  # fmt: skip

# Every size is bounded before anything is decoded, hashed or verified (protocol 3.7, poison input).
FRAME_LIMIT: Final = 1 << 20
HEADER_LIMIT: Final = 4096
SIGNED_LIMIT: Final = 1 << 18
DEPTH_LIMIT: Final = 16

KNOWN_CRITICAL: Final[frozenset[str]] = frozenset()  # critical names that this version understands: none exist yet
PROHIBITIONS: Final = frozenset({"Order", "OrderPush"})
# An `UnknownProhibition` is made by this module and never spoken: on the wire its name is as unknown as any other.
WIRE_TYPES: Final[dict[str, type[Struct]]] = {kind.__name__: kind for kind in get_args(Message) if kind is not UnknownProhibition}

AnyStruct = TypeVar("AnyStruct", bound=Struct)

_ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic")
_PLAIN_ENCODER: Final = msgspec.msgpack.Encoder()
_READERS: Final = {name: cast("msgspec.msgpack.Decoder[Message]", msgspec.msgpack.Decoder(kind)) for name, kind in WIRE_TYPES.items()}
_UNREADABLE: Final = (msgspec.DecodeError, ValueError, TypeError, OverflowError, RecursionError)


class Header(Struct, frozen=True, rename={"sender": "from"}):
    """The frozen header. ``sender`` (``from`` on the wire) is the peer's own word: only the transport proves who it is."""

    magic: str
    major: int
    minor: int
    type: str
    tenant: str
    sender: str
    to: str
    msg_id: str
    sev_floor: tuple[int, int]
    crit: tuple[str, ...]


_HEADER_READER: Final = msgspec.msgpack.Decoder(Header)


class Envelope(Struct, frozen=True):
    """A frame that was understood, or that is a prohibition and was understood to be one."""

    header: Header
    message: Message


class Refusal(Struct, frozen=True):
    """A frame that was not understood and asks for nothing that could be enforced. ``why`` is for the audit trail."""

    why: str


# -- Severity numbers (V4) -----------------------------------------------------------------------------------------------------------


def clamp_gate(number: int) -> Gate:
    """The gate of that number; a number that this version does not know is the most severe one."""
    return Gate(number) if Gate.OPEN <= number <= Gate.CLOSED else Gate.CLOSED


def clamp_life(number: int) -> Life:
    return Life(number) if Life.ALIVE <= number <= Life.KILL else Life.KILL


def severity_floor(message: Message) -> tuple[int, int]:
    """What a receiver that cannot read ``message`` should enforce: the join of the orders in a prohibition, (0, 0) for anything else."""
    orders = (message,) if isinstance(message, Order) else message.orders if isinstance(message, OrderPush) else ()
    gate, life = Gate.OPEN, Life.ALIVE
    for order in orders:
        body = unpack(order.raw, OrderBody)
        if body is None:  # whatever it says, and whatever the others say
            gate = Gate.CLOSED
            continue
        gate, life = max(gate, clamp_gate(body.gate)), max(life, clamp_life(body.life))
    return int(gate), int(life)


# -- Signed bodies -------------------------------------------------------------------------------------------------------------------


def pack(body: Struct) -> bytes:
    """The canonical encoding of ``body``: what is signed and hashed, once, by the node that makes it."""
    return _ENCODER.encode(body)


def unpack(raw: bytes, kind: type[AnyStruct]) -> AnyStruct | None:
    """The body of type ``kind`` that ``raw`` encodes, or None. Total. Unknown fields are ignored here and live on in ``raw``."""
    return cast("AnyStruct | None", _unpacked(raw, kind)) if isinstance(raw, bytes) else None


@lru_cache(maxsize=512)
def _unpacked(raw: bytes, kind: type[Struct]) -> Struct | None:
    # Remembered because the same signed bytes come again with every lease reply and gossip round, and are read at each node.
    if len(raw) > SIGNED_LIMIT or scan(raw) != len(raw):
        return None
    try:
        return msgspec.msgpack.decode(raw, type=kind)
    except _UNREADABLE:
        return None


def unsigned(message: Evidence | OrderRequest | ResumeDraftRequest | RolloutRequest) -> bytes:
    """What the ``signature`` of a message that carries its own is over: the canonical encoding with that field empty."""
    return _ENCODER.encode(structs.replace(message, signature=b""))


# -- Frames --------------------------------------------------------------------------------------------------------------------------


def encode(message: Message, sender: str, to: str, tenant: str, *, major: int = MAJOR, minor: int = MINOR, crit: tuple[str, ...] = ()) -> bytes:
    """The frame of ``message``. ``msg_id`` is a hash of the body, for logs only: nothing is acknowledged or deduplicated by it.

    Raises `ValueError` if the frame would exceed the limits, and `TypeError` for an `UnknownProhibition`: local mistakes.
    """
    name = type(message).__name__
    if name not in WIRE_TYPES:
        raise TypeError(f"{name} is made by the receiver of a frame and cannot be sent")
    body = _ENCODER.encode(message) if minor >= MINOR else _earlier(message, minor)
    msg_id = blake2b(body, digest_size=16).hexdigest()
    header = _ENCODER.encode(Header(MAGIC, major, minor, name, tenant, sender, to, msg_id, severity_floor(message), crit))
    if len(header) > HEADER_LIMIT or len(header) + len(body) > FRAME_LIMIT:
        raise ValueError(f"frame of {len(header)} + {len(body)} bytes is over the limit of {HEADER_LIMIT} for the header or {FRAME_LIMIT} in all")
    return header + body


def _earlier(message: Message, minor: int) -> bytes:
    """The body as an earlier minor version writes it, in the same order of fields. No message holds a map, so nothing else needs sorting."""
    since = FIELDS_SINCE.get(type(message).__name__, {})
    fields = {name: value for name, value in structs.asdict(message).items() if since.get(name, 0) <= minor and value is not UNSET}
    return _PLAIN_ENCODER.encode({"type": type(message).__name__, **fields})


def decode(frame: bytes) -> Envelope | Refusal:
    """What ``frame`` says. Total: any bytes give an `Envelope` or a `Refusal`."""
    end = scan(frame[:HEADER_LIMIT])
    if isinstance(end, Malformed):
        return Refusal(f"header: {end.name.lower().replace('_', ' ')}")
    header = _header(frame[:end])
    if header is None:
        return Refusal("header: not of the frozen form")
    why = version_problem(header)
    if why:
        return unread(header, why)
    if len(frame) > FRAME_LIMIT:
        return unread(header, "body: too large")
    body = frame[end:]
    extent = scan(body)
    if isinstance(extent, Malformed):
        return unread(header, f"body: {extent.name.lower().replace('_', ' ')}")
    if extent != len(body):
        return unread(header, "body: bytes after its end")
    try:
        return Envelope(header, _READERS[header.type].decode(body))
    except _UNREADABLE:
        return unread(header, "body: not of the form of its type")


def version_problem(header: Header) -> str:
    """Why this version cannot read what ``header`` announces; empty if it can. A later minor is no problem (V1)."""
    if header.major != MAJOR:
        return f"unknown major version {header.major}"
    if not KNOWN_CRITICAL.issuperset(header.crit):
        return "unknown critical field"
    return "" if header.type in WIRE_TYPES else "unknown type"


def is_prohibition(header: Header) -> bool:
    """Whether a frame, whatever its body, is there to stop something."""
    return header.type in PROHIBITIONS or any(header.sev_floor)


def unread(header: Header, why: str) -> Envelope | Refusal:
    """What becomes of a frame whose body was not read: prohibitions are enforced by their floor (V3), all else is refused (V2)."""
    if not is_prohibition(header):
        return Refusal(why)
    life = clamp_life(header.sev_floor[1])
    # Joined with ISOLATE, the gate is CLOSED whatever the floor says: a SOFT that cannot be read has a grace that nobody can know.
    return Envelope(header, UnknownProhibition(Gate.CLOSED, life, header.sender, why))


def _header(raw: bytes) -> Header | None:
    try:
        header = _HEADER_READER.decode(raw)
    except _UNREADABLE:
        return None
    return header if header.magic == MAGIC else None


class PeerVersions:
    """The latest version that each authenticated peer has spoken under the keyset in force (V5).

    A peer that turns to an earlier version is somebody replaying its past, so its permissions are refused. A fleet that is really
    rolled back gets a new keyset, and starts afresh.
    """

    __slots__ = ("_latest",)

    def __init__(self) -> None:
        self._latest: dict[str, tuple[int, int]] = {}

    def turn(self) -> None:
        """Forget everything: a later keyset has come into force."""
        self._latest = {}

    def admits(self, peer: str, header: Header) -> bool:
        """Whether a frame may be acted on, and remember its version. ``peer`` is whom the transport authenticated, not ``header.sender``."""
        version = (header.major, header.minor)
        latest = max(version, self._latest.get(peer, version))
        self._latest[peer] = latest
        return version == latest or is_prohibition(header)


# -- The strict scan -----------------------------------------------------------------------------------------------------------------


class Malformed(IntEnum):
    """Why bytes are not one value of the project's MessagePack: integers, strings, bytes, booleans, nil, arrays and maps."""

    TRUNCATED = -1
    FORBIDDEN_TYPE = -2
    KEY_NOT_A_STRING = -3
    DUPLICATE_KEY = -4
    TOO_DEEP = -5


class _Shape(IntEnum):
    PLAIN = 0
    STRING = 1
    ARRAY = 2
    MAP = 3
    FORBIDDEN = 4


def _shapes() -> tuple[tuple[_Shape, int, int], ...]:
    """For each first byte: its shape, the size or count that it holds itself, and how many bytes of size or count follow it."""
    shapes: list[tuple[_Shape, int, int]] = [(_Shape.FORBIDDEN, 0, 0)] * 256  # what is left over: floats, extensions, 0xc1
    for byte in (*range(0x80), *range(0xE0, 0x100), 0xC0, 0xC2, 0xC3):
        shapes[byte] = (_Shape.PLAIN, 0, 0)  # small integers, nil, false, true
    for power in range(4):
        shapes[0xCC + power] = shapes[0xD0 + power] = (_Shape.PLAIN, 1 << power, 0)  # integers of 1, 2, 4, 8 bytes
    for power in range(3):
        shapes[0xC4 + power] = (_Shape.PLAIN, 0, 1 << power)  # bytes
        shapes[0xD9 + power] = (_Shape.STRING, 0, 1 << power)
    for power in range(2):
        shapes[0xDC + power] = (_Shape.ARRAY, 0, 2 << power)
        shapes[0xDE + power] = (_Shape.MAP, 0, 2 << power)
    for count in range(16):
        shapes[0x80 + count] = (_Shape.MAP, count, 0)
        shapes[0x90 + count] = (_Shape.ARRAY, count, 0)
    for count in range(32):
        shapes[0xA0 + count] = (_Shape.STRING, count, 0)
    return tuple(shapes)


_SHAPES: Final = _shapes()


class _Container:
    """An array or map being scanned: values still to come, and for a map the keys so far."""

    __slots__ = ("keys", "left")

    def __init__(self, left: int, keys: set[bytes] | None) -> None:
        self.left = left
        self.keys = keys


def scan(raw: bytes) -> int | Malformed:
    """Where the first value of ``raw`` ends, or what is wrong with it. Total; time and memory linear in ``raw``, no recursion.

    Decoders disagree on duplicate keys and round floats: what two nodes could read differently is not read at all.
    """
    position, size = 0, len(raw)
    enclosing: list[_Container] = []
    while True:
        if position >= size:
            return Malformed.TRUNCATED
        shape, count, width = _SHAPES[raw[position]]
        position += 1
        if width:
            count = int.from_bytes(raw[position : position + width], "big")
            position += width
        if shape is _Shape.FORBIDDEN:
            return Malformed.FORBIDDEN_TYPE
        keys = None
        if enclosing:
            inner = enclosing[-1]
            if inner.keys is not None and inner.left % 2 == 0:
                keys = inner.keys
            inner.left -= 1
        if keys is not None and shape is not _Shape.STRING:
            return Malformed.KEY_NOT_A_STRING
        if shape is _Shape.ARRAY or shape is _Shape.MAP:
            if len(enclosing) == DEPTH_LIMIT:
                return Malformed.TOO_DEEP
            enclosing.append(_Container(2 * count, set()) if shape is _Shape.MAP else _Container(count, None))
        else:
            if keys is not None:
                key = raw[position : position + count]
                if key in keys:
                    return Malformed.DUPLICATE_KEY
                keys.add(key)
            position += count
        if position > size:
            return Malformed.TRUNCATED
        while enclosing and not enclosing[-1].left:
            enclosing.pop()
        if not enclosing:
            return position
