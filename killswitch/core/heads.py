"""What writers and witnesses of logs say to each other, as data: signed heads, cosignatures, proofs of forks (protocol 3.4, 5).

Owns these messages, apart from the rest only for their number. Must not know how a head is signed or judged (``transparency``).
"""

from __future__ import annotations

from msgspec import Struct


class Sth(Struct, frozen=True, tag=True):
    """A signed tree head: the log of ``origin`` has ``size`` records, over which the Merkle root is ``root``.

    ``previous`` is the size of the head that the same process signed before, 0 for its first. The signature is over the head's note
    (`transparency.note`), so that a person can check it with no more than that text.
    """

    origin: str
    size: int
    root: bytes
    previous: int
    signature: bytes = b""


class Cosignature(Struct, frozen=True, tag=True):
    """``witness`` saw a proof that this head only adds to the last one of its origin that it cosigned."""

    head: Sth
    witness: str
    signature: bytes


class HeadNotice(Struct, frozen=True, tag=True):
    """A writer shows a witness its head, with the consistency proof from size ``since``, the last that it knows the witness to have cosigned.

    Signed as a whole: a proof that fails would otherwise say nothing about who made it.
    """

    head: Sth
    since: int
    path: tuple[bytes, ...]
    signature: bytes = b""


class Cosigned(Struct, frozen=True, tag=True):
    """What a witness cosigned lately: an answer to the writers of these heads, and for other witnesses something to compare."""

    cosignatures: tuple[Cosignature, ...]


class ForkProof(Struct, frozen=True, tag=True):
    """Two heads that no one log can have, both signed by the writer of it: two roots for one size, or a later head whose own signed
    consistency proof (``path``, ``signature``) fails. Anybody can check it (`transparency.proves_fork`)."""

    first: Sth
    second: Sth
    path: tuple[bytes, ...] = ()
    signature: bytes = b""
