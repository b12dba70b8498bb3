"""Bodies of messages under the keys of those whom they concern: one circle of readers, one key (protocol 3.2).

Owns the envelope, the files of keys, and the choice of a key for a peer. Must not know connections, nor what a body says.

    payload of a SEALED frame    stamp, key id, nonce, length of the header | header | AES-256-GCM-SIV(body), tag
                                 `------------ in the clear, authenticated ----------'

Nonces are 96 random bits of the system. No counter is kept, because none would survive what happens to nodes: they crash, and hosts boot from copies
of a disk. With GCM-SIV a nonce that did come twice would show that two bodies are equal, and give nothing else away.

A key has an id, the start of its hash, so that two can count while one takes the other's place. A file that has changed is read again within
`LOOK_S`; one that cannot be read leaves what is in hand in force, as with certificates: a slip in a file must not stop the stops.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from msgspec import Struct, structs

from killswitch.core import codec, unreadable
from killswitch.live.frames import STAMP
from killswitch.live.spiffe import SYSTEM

KEY_SIZE: Final = 32
ID_SIZE: Final = 8
NONCE_SIZE: Final = 12
KEYS_MAX: Final = 2  # of a circle: the one that seals, and the one that comes or goes
FILE_LIMIT: Final = 1 << 20  # some thousands of circles
LOOK_S: Final = 1.0
REMEDY: Final = "`killswitch pki` writes that of a node anew, from the one beside the certificate authority"
ENVELOPE: Final = struct.Struct(f">{STAMP.size}s{ID_SIZE}s{NONCE_SIZE}sH")
PEOPLE: Final = f"{SYSTEM}/operator"  # the circle of replicas and of a client that acts for people; no tenant can be called so


class Why(StrEnum):
    """Why a body was not taken in."""

    PLAIN = "plain"
    FORM = "form"
    KEY = "key"
    SEAL = "seal"


SAID: Final = {Why.PLAIN: "not sealed", Why.FORM: "no envelope", Why.KEY: "no such key here", Why.SEAL: "its seal is broken"}


class Unopened(Exception):
    """A body that was not taken in, and why; ``words``: what else there is to say."""

    def __init__(self, why: Why, words: str = "") -> None:
        super().__init__(f"body: {SAID[why]}{words and '; '}{words}")
        self.why = why


class Unsealable(Exception):
    """There is no key for that peer: nobody of its circle is to be spoken to from here."""


class Sealing(Struct, frozen=True):
    """What a process is told: where its keys lie, and whether plain bodies are refused. ``required`` false is for the days of an upgrade."""

    file: str
    required: bool = True


class Ring(Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of one circle, the oldest first; the one at ``seals`` is used, every one is accepted."""

    keys: tuple[bytes, ...]
    seals: int = 0

    def __post_init__(self) -> None:
        if not 1 <= len(self.keys) <= KEYS_MAX or any(len(key) != KEY_SIZE for key in self.keys) or len(set(self.keys)) < len(self.keys):
            raise ValueError(f"a circle has one or {KEYS_MAX} different keys of {KEY_SIZE} bytes (got lengths {[len(key) for key in self.keys]})")
        if not 0 <= self.seals < len(self.keys):
            raise ValueError(f"seals: no key has that place (got {self.seals} of {len(self.keys)})")


# -- Circles ---------------------------------------------------------------------------------------------------------------------------


def circle_of(node: str) -> str:
    """Whose bodies ``node`` may read: a tenant's, or those of the cell's own part. Replicas are in every circle; this is what they share."""
    kind, *rest = node.split("/")
    if kind == "replica":
        return SYSTEM
    return PEOPLE if kind == "operator" else rest[0] if rest else ""


def circle_between(own: str, peer: str) -> str:
    """The circle that bodies between two nodes belong to; "" if there is none that both are in."""
    ours, theirs = circle_of(own), circle_of(peer)
    if theirs in (ours, SYSTEM):
        return ours
    return theirs if ours == SYSTEM else ""


# -- Keys ------------------------------------------------------------------------------------------------------------------------------


def new_ring() -> Ring:
    return Ring((os.urandom(KEY_SIZE),))


def turned(ring: Ring) -> tuple[Ring, str]:
    """The next step of putting a fresh key in the place of the old one, and what it means. Between two steps every node has to have its file: so
    nobody ever seals with a key that somebody lacks."""
    if len(ring.keys) == 1:
        return Ring((*ring.keys, os.urandom(KEY_SIZE))), "a new key is accepted, the old one still seals"
    if ring.seals == 0:
        return structs.replace(ring, seals=1), "the new key seals, the old one is still accepted"
    return Ring(ring.keys[1:]), "the old key is gone"


def read_rings(file: Path) -> dict[str, Ring]:
    """{circle: its keys}. Raises `OSError`, or `ValueError` naming the file."""
    with file.open("rb") as opened:
        content = opened.read(FILE_LIMIT + 1)
    if len(content) > FILE_LIMIT:
        raise ValueError(f"{file}: larger than {FILE_LIMIT} bytes; {REMEDY}")
    try:
        return msgspec.json.decode(content, type=dict[str, Ring])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{file}: {unreadable.why(content, error)}; {REMEDY}") from error


def key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"ksp/1/sealing-key\0" + key).digest()[:ID_SIZE]


class _Circle:
    """One circle's keys, ready for use."""

    def __init__(self, ring: Ring) -> None:
        self.seals = key_id(ring.keys[ring.seals])
        self.ciphers = {key_id(key): AESGCMSIV(key) for key in ring.keys}


# -- Sealing ---------------------------------------------------------------------------------------------------------------------------


class Seals:
    """What ``node`` seals and opens with. ``clock_s``: says when to look at the file again."""

    def __init__(self, sealing: Sealing, node: str, clock_s: Callable[[], float] = time.monotonic) -> None:
        """Raises `OSError` if there are no keys that can be used, naming the file and what makes some."""
        self.required = sealing.required
        self._node = node
        self._file = Path(sealing.file)
        self._clock_s = clock_s
        try:
            self._stamp = self._look()
            self._circles = self._load()
        except FileNotFoundError as error:
            raise OSError(f"{self._file}: no keys to seal bodies with; `killswitch pki` makes some, in cells that were made without, too") from error
        except ValueError as error:
            raise OSError(str(error)) from error
        self._looked_s = clock_s()

    def seal(self, peer: str, payload: bytes) -> bytes:
        """The payload of a SEALED frame to ``peer`` for that of a MESSAGE. Raises `Unsealable`.

        What does not begin with a header is all body: it is for the reader to refuse.
        """
        circle = self._circle(peer)
        if circle is None:
            raise Unsealable(f"no key for {peer}: nothing is said to it from {self._node}")
        end = codec.scan(payload[STAMP.size : STAMP.size + codec.HEADER_LIMIT])
        length = 0 if isinstance(end, codec.Malformed) else int(end)
        body = STAMP.size + length
        nonce = os.urandom(NONCE_SIZE)
        clear = ENVELOPE.pack(payload[: STAMP.size], circle.seals, nonce, length) + payload[STAMP.size : body]
        return clear + circle.ciphers[circle.seals].encrypt(nonce, payload[body:], clear)

    def open(self, peer: str, sealed: bytes) -> bytes:
        """The payload of the MESSAGE that ``peer`` has sealed for this node. Raises `Unopened`."""
        if len(sealed) < ENVELOPE.size:
            raise Unopened(Why.FORM, f"it takes {ENVELOPE.size} bytes (got {len(sealed)})")
        stamp, key, nonce, length = ENVELOPE.unpack_from(sealed)
        body = ENVELOPE.size + length
        circle = self._circle(peer)
        cipher = circle.ciphers.get(key) if circle is not None else None
        if cipher is None:
            raise Unopened(Why.KEY, f"{peer} and {self._node} do not share {key.hex()}")
        clear = sealed[:body]
        try:
            content: bytes = clear[ENVELOPE.size :] + cipher.decrypt(nonce, sealed[body:], clear)
        except InvalidTag:
            raise Unopened(Why.SEAL) from None
        return bytes(stamp) + content

    def _circle(self, peer: str) -> _Circle | None:
        now_s = self._clock_s()
        if now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            self._read_again()
        return self._circles.get(circle_between(self._node, peer))

    def _read_again(self) -> None:
        try:
            stamp = self._look()
            if stamp != self._stamp:
                self._circles = self._load()
                self._stamp = stamp
        except (OSError, ValueError):  # gone, or caught half-way: go on with what is in hand, and look again
            pass

    def _look(self) -> tuple[int, int]:
        found = self._file.stat()
        return found.st_mtime_ns, found.st_ino

    def _load(self) -> dict[str, _Circle]:
        return {circle: _Circle(ring) for circle, ring in read_rings(self._file).items()}
