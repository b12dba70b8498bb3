"""A million frames that are malformed or forged, through decoding and verification: nothing raises, and nothing that nobody signed is believed.

``python -m benchmarks.hostile [FRAMES]``. Owns the mutations; every frame follows from its number, so that any can be made again alone.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from random import Random
from time import perf_counter

import msgspec

from killswitch.core import codec, intent, keys, trust
from killswitch.core.certificates import Approval, ResumeBody, ResumeCertificate
from killswitch.core.keys import KeyedHash, default_keyset
from killswitch.core.messages import Gossip, IntentReply, LeaseReply, Message, Order, OrderBody, OrderPush, StartReply, Token, UnknownProhibition
from killswitch.core.scopes import Scope
from killswitch.core.trust import Trust

SENDER, RECEIVER, TENANT = "replica/1", "sidecar/acme/1", "acme"
RING = KeyedHash(b"the true ring")
FALSE_RING = KeyedHash(b"a ring that nobody trusts")
TRUST = Trust(RING, default_keyset([SENDER, "replica/2"], [RECEIVER]), 2)


def true_messages() -> tuple[Message, ...]:
    """One of each that carries orders or certificates, all of it well signed."""
    order = trust.sign_order(TRUST, SENDER, OrderBody(TENANT, Scope("tenant", TENANT), 2, 2, 0, "alice", "true", "because"))
    raw = codec.pack(ResumeBody(TENANT, Scope("tenant", TENANT), (intent.content_id(order.raw),), 1, "all clear", "alice", "true"))
    approved = (trust.sign_approval(TRUST, who, raw) for who in ("bob", "carol"))
    certificate = ResumeCertificate(raw, (trust.sign_asked(TRUST, "alice", raw), *approved))
    token = Token(1, 1, "i")
    return (
        OrderPush((order,), (certificate,)),
        Gossip("digest", orders=(order,), certificates=(certificate,)),
        IntentReply("n", (order,), (certificate,)),
        LeaseReply("acme/1", "n", token, SENDER, 5, "", "view", token, 7, True, (order,), (certificate,)),
        StartReply("acme/1", token, SENDER, True, True, "", token, "view", True, (order,), (certificate,)),
    )


TRUE = true_messages()
TRUE_FRAMES = tuple(codec.encode(message, SENDER, RECEIVER, TENANT) for message in TRUE)
TRUE_IDS = frozenset(intent.content_id(each.raw) for each in (TRUE[0].orders[0], TRUE[0].certificates[0]))  # type: ignore[union-attr]  # a push


def frames(count: int, seed: int = 0) -> Iterator[bytes]:
    """``count`` frames, none of them as its sender wrote it."""
    for number in range(count):
        dice = Random(f"{seed}/{number}")
        yield (forged if dice.random() < 0.4 else malformed)(dice)


def malformed(dice: Random) -> bytes:
    """A true frame cut, spliced, stretched, nested or with bytes changed; or no frame at all."""
    frame = bytearray(dice.choice(TRUE_FRAMES))
    kind = dice.randrange(8)
    if kind == 0:
        return bytes(frame[: dice.randrange(len(frame))])
    if kind == 1:
        return bytes(frame) + dice.randbytes(1 + dice.randrange(64))
    if kind == 2:
        return dice.randbytes(dice.randrange(256))
    if kind == 3:
        place = dice.randrange(len(frame))
        return bytes(frame[:place]) + b"\x91" * dice.randrange(1, 2000) + bytes(frame[place:])
    if kind == 4:
        other = dice.choice(TRUE_FRAMES)
        return bytes(frame[: dice.randrange(len(frame))]) + other[dice.randrange(len(other)) :]
    if kind == 5:
        end = codec.scan(bytes(frame))
        return bytes(frame[:end]) + dice.choice((b"\xc0", b"\xcb" + bytes(8), b"\xdf\xff\xff\xff\xff", b"\x81\xa1a\xc1", b"\xdd\xff\xff\xff\xff\x00"))
    for _ in range(dice.randrange(1, 12)):
        frame[dice.randrange(len(frame))] = dice.randrange(256)
    return bytes(frame)


def forged(dice: Random) -> bytes:
    """A frame in perfect form with content that nobody entitled signed, or not as what it says it is."""
    body = OrderBody(
        TENANT, Scope(dice.choice(("tenant", "agent", "global", "")), TENANT), dice.randrange(4), dice.randrange(4), 0, "mallory", "f", ""
    )
    raw = codec.pack(body)
    signer = dice.choice((SENDER, "replica/2", "replica/9", "alice", "bob", RECEIVER, "", "é" * 5))
    ring = RING if signer not in (SENDER, "replica/2") else FALSE_RING
    domain = dice.choice(keys.DOMAINS)
    if ring is FALSE_RING and domain != keys.ORDER and dice.random() < 0.5:
        ring = RING  # really that replica's signature, of something else
    order = Order(raw, signer, ring.sign(signer, domain, raw) if dice.random() < 0.9 else dice.randbytes(dice.randrange(40)))
    requester = dice.choice(("mallory", "bob"))
    lifted = codec.pack(ResumeBody(TENANT, Scope("tenant", TENANT), tuple(TRUE_IDS), 1, "forged", requester, "f"))
    approver = dice.choice(("bob", "carol"))
    approvals = [Approval(requester, RING.sign(requester, keys.RESUME_ASKED, lifted))]
    approvals += [Approval(approver, RING.sign(approver, keys.RESUME, lifted))] * dice.randrange(1, 4)  # one of them, however often
    approvals += [Approval(who, FALSE_RING.sign(who, keys.RESUME, lifted)) for who in ("carol", "dave", "alice")[: dice.randrange(4)]]
    message = dice.choice(TRUE)
    changed = msgspec.structs.replace(message, orders=(order,), certificates=(ResumeCertificate(lifted, tuple(approvals)),))
    return codec.encode(changed, SENDER, RECEIVER, TENANT)


def judged(frame: bytes) -> str:
    """What becomes of a frame: refused, enforced by its floor, or read, with nothing believed in it that is not true. Raises `AssertionError`."""
    answer = codec.decode(frame)
    if isinstance(answer, codec.Refusal):
        return "refused"
    message = answer.message
    if isinstance(message, UnknownProhibition):
        return "enforced by its floor"
    for order in getattr(message, "orders", ()):
        known = trust.read_order(TRUST, order)
        assert known is None or known.id in TRUE_IDS, f"believed an order that nobody gave: {frame.hex()}"
    for certificate in getattr(message, "certificates", ()):
        read = trust.read_certificate(TRUST, certificate)
        assert read is None or read.id in TRUE_IDS, f"believed a certificate that nobody approved: {frame.hex()}"
    return "read, and nothing false believed"


def main(count: int) -> None:
    """Print how many frames met which fate, and how fast."""
    start = perf_counter()
    fates = Counter(judged(frame) for frame in frames(count))
    seconds = perf_counter() - start
    print(f"{count:,} frames in {seconds:.1f} s, {count / seconds:,.0f} a second")
    for fate, times in fates.most_common():
        print(f"{times:>10,}  {fate}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile", description="Frames that somebody made up, and what becomes of them.")
    parser.add_argument("count", nargs="?", type=int, default=1_000_000, help="how many frames (default: %(default)s)")
    main(parser.parse_args().count)
