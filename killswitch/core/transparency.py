"""Heads of logs that others keep: what a chain of hashes alone cannot show, somebody else's memory does (protocol 5, S16).

Owns what a signed tree head says and how it is written, when a witness cosigns one, and what proves that a writer keeps two logs. Pure:
must not know what records mean, how heads travel, or what becomes of a writer that is caught (``replica``, ``sidecar``).

A writer signs heads of the *durable* part of its log, so that no crash can take back what a head has said. A witness cosigns a head
after a proof that it only adds to the last one that it cosigned of that writer, and remembers both durably; so a log that was cut,
rewritten or doubled below a cosigned size cannot be shown to that witness again.

A head is written as a note: three lines, an empty one, then one line for each signature.

    ksp/1/sidecar/acme/1
    17 12
    kQ7Q...=

    — sidecar/acme/1 Jd0...=
    — replica/2 aB3...=

The lines are: the origin; the size, and that of the head before; the root in base64. What is signed and cosigned is the text above the
empty line, each in a signing domain of its own (protocol 3.2).
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct, structs

from killswitch.core.heads import Cosignature, ForkProof, HeadNotice, Sth
from killswitch.core import codec, keys, merkle
from killswitch.core.keys import Signer

PREFIX: Final = "ksp/1/"
SIGNATURE_MARK: Final = "— "
SIZE_MAX: Final = 1 << 63
ORIGIN_MAX: Final = 256
COSIGNATURES_MAX: Final = 64
NOTE_MAX: Final = 1 << 15


# -- heads -------------------------------------------------------------------------------------------------------------------------------


def note(head: Sth) -> str:
    """What is signed: the head as text. One head has one note, and a note is of one head."""
    return f"{PREFIX}{head.origin}\n{head.size} {head.previous}\n{b64encode(head.root).decode()}\n"


def sign_head(signer: Signer, origin: str, size: int, root: bytes, previous: int) -> Sth:
    """Raises `KeyError` if this node does not hold ``origin``'s key: a local mistake."""
    head = Sth(origin, size, root, previous)
    return structs.replace(head, signature=signer.sign(origin, keys.STH, note(head).encode()))


def believes_head(signer: Signer, head: Sth) -> bool:
    """Whether ``head`` is well formed and its origin signed it. Total."""
    return _is_plain(head) and signer.verify(head.origin, keys.STH, note(head).encode(), head.signature)


def cosign(signer: Signer, witness: str, head: Sth) -> Cosignature:
    return Cosignature(head, witness, signer.sign(witness, keys.COSIGN, note(head).encode()))


def believes_cosignature(signer: Signer, cosignature: Cosignature) -> bool:
    """Whether the origin signed the head and the witness cosigned it. Total. Who may be a witness is another question."""
    head = cosignature.head
    return believes_head(signer, head) and signer.verify(cosignature.witness, keys.COSIGN, note(head).encode(), cosignature.signature)


def _is_plain(head: Sth) -> bool:
    """Whether the head can be written as a note that reads back as the same head."""
    well_sized = 0 <= head.previous <= head.size < SIZE_MAX and len(head.root) == merkle.HASH_SIZE
    return well_sized and 0 < len(head.origin) <= ORIGIN_MAX and head.origin.isprintable() and " " not in head.origin


# -- notes -------------------------------------------------------------------------------------------------------------------------------


def write_note(head: Sth, cosignatures: Iterable[Cosignature] = ()) -> str:
    """The whole note: the head, the origin's signature, then those of the witnesses by name."""
    signers = [(head.origin, head.signature), *sorted((each.witness, each.signature) for each in cosignatures)]
    return note(head) + "\n" + "".join(f"{SIGNATURE_MARK}{name} {b64encode(signature).decode()}\n" for name, signature in signers)


def read_note(text: str) -> tuple[Sth, tuple[Cosignature, ...]] | None:
    """What `write_note` wrote, or None. Total; reads nothing that it would write otherwise, so that a note has one form."""
    if len(text) > NOTE_MAX or not text.startswith(PREFIX):
        return None
    body, gap, signatures = text.partition("\n\n")
    lines, signed = body.split("\n"), [line.removeprefix(SIGNATURE_MARK).rpartition(" ") for line in signatures.splitlines()]
    if not gap or len(lines) != 3 or not 1 <= len(signed) <= COSIGNATURES_MAX:
        return None
    try:
        size, previous = (int(number) for number in lines[1].split(" "))
        origin, root = lines[0].removeprefix(PREFIX), b64decode(lines[2], validate=True)
        head = Sth(origin, size, root, previous, b64decode(signed[0][2], validate=True))
        cosignatures = tuple(Cosignature(head, name, b64decode(signature, validate=True)) for name, _, signature in signed[1:])
    except ValueError:
        return None
    return (head, cosignatures) if _is_plain(head) and write_note(head, cosignatures) == text else None


# -- notices and forks -------------------------------------------------------------------------------------------------------------------


def sign_notice(signer: Signer, head: Sth, since: int, path: tuple[bytes, ...]) -> HeadNotice:
    """``head`` as shown to a witness that has cosigned size ``since``."""
    return HeadNotice(head, since, path, signer.sign(head.origin, keys.CONSISTENCY, _claim(head, since, path)))


def believes_notice(signer: Signer, notice: HeadNotice) -> bool:
    """Whether the writer itself made this proof. Total."""
    claim = _claim(notice.head, notice.since, notice.path)
    return believes_head(signer, notice.head) and signer.verify(notice.head.origin, keys.CONSISTENCY, claim, notice.signature)


def proves_fork(signer: Signer, proof: ForkProof) -> bool:
    """Whether the heads' writer is caught by its own signatures. Total; holds for nobody who kept one log."""
    first, second = proof.first, proof.second
    if first.origin != second.origin or not (believes_head(signer, first) and believes_head(signer, second)):
        return False
    if first.size == second.size:
        return first.root != second.root
    if first.size > second.size or first.size == 0:
        return False
    if merkle.verify_consistency(first.size, first.root, second.size, second.root, proof.path):
        return False
    return signer.verify(second.origin, keys.CONSISTENCY, _claim(second, first.size, proof.path), proof.signature)


def _claim(head: Sth, since: int, path: Sequence[bytes]) -> bytes:
    """The bytes of "my log of size ``since`` begins the one of ``head``, by this path"."""
    return codec.pack(HeadNotice(structs.replace(head, signature=b""), since, tuple(path)))


# -- witnesses ---------------------------------------------------------------------------------------------------------------------------


class Answer(StrEnum):
    """What a witness makes of a notice."""

    COSIGN = "cosign"
    REPEAT = "repeat"  # nothing new, or a proof from elsewhere than the last cosigned size: say again what was cosigned last
    FORK = "fork"
    IGNORE = "ignore"  # not the writer's own word, so that nothing follows from it


class Judgement(Struct, frozen=True):
    """``proof`` is set for a fork, and only then."""

    answer: Answer
    proof: ForkProof | None = None


def judge(signer: Signer, last: Sth | None, notice: HeadNotice) -> Judgement:
    """What to do with ``notice``, given the last head of its origin that this witness cosigned (None: it never did). Total.

    A first head is taken on trust: there is nothing yet that it could contradict.
    """
    head = notice.head
    if not believes_head(signer, head):
        return Judgement(Answer.IGNORE)
    if last is None:
        return Judgement(Answer.COSIGN)
    if head.size == last.size and head.root != last.root:
        return Judgement(Answer.FORK, ForkProof(last, head))
    if head.size <= last.size or notice.since != last.size:
        return Judgement(Answer.REPEAT)
    if extends(last, notice):
        return Judgement(Answer.COSIGN)
    if not believes_notice(signer, notice):
        return Judgement(Answer.IGNORE)
    return Judgement(Answer.FORK, ForkProof(last, head, notice.path, notice.signature))


def extends(last: Sth, notice: HeadNotice) -> bool:
    """Whether the notice proves that its head only adds to ``last``."""
    head = notice.head
    return merkle.verify_consistency(last.size, last.root, head.size, head.root, notice.path)


def differ(signer: Signer, one: Sth, other: Sth) -> ForkProof | None:
    """The proof that two heads of one size are of two logs; None if they are of one, or if it cannot be told."""
    if one.origin != other.origin or one.size != other.size or one.root == other.root:
        return None
    first, second = sorted((one, other), key=lambda head: head.root)
    proof = ForkProof(first, second)
    return proof if proves_fork(signer, proof) else None
