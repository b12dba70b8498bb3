"""Orders that kill whoever reads them: how a node that was restarted reads what it does not know yet (protocol 3.7). Shared by replicas and sidecars.

Owns the marks of attempts and what becomes of a body that nobody outlived. Must not know what reading an order means.

A node in the midst of its work reads an order at once: a stop waits for no disk. If that kills its process, as a fault below all exceptions would,
the order comes again to the next one. So for a while after a restart, when no agent runs anyway, a node puts on record that it is about to read
an order it does not know, waits until that is durable, and reads it then. A body that was attempted `ATTEMPTS_MAX` times, with no record of how any
of them ended, is not read again.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from killswitch.core import intent, keys
from killswitch.core.audit import Chain
from killswitch.core.events import Effect
from killswitch.core.messages import Order
from killswitch.core.outlet import observe, record
from killswitch.core.trust import Trust

ATTEMPT: Final = "ATTEMPT"
ATTEMPT_OVER: Final = "ATTEMPT_OVER"
ATTEMPTS_MAX = 2  # one could be any other crash of that very moment


class Attempts:
    """``open``: {order: attempts whose end is not on record}; ``waiting``: {order: (itself, who sent it)} until the mark is durable.
    ``cautious``: whether this is the time after a restart."""

    __slots__ = ("cautious", "open", "waiting")

    def __init__(self) -> None:
        self.cautious = False
        self.open: dict[str, int] = {}
        self.waiting: dict[str, tuple[Order, str]] = {}


class Reader(Protocol):
    """A state that reads orders and keeps a log."""

    trust: Trust
    chain: Chain
    effects: list[Effect]
    awaiting: dict[int, tuple[str, object]]
    attempts: Attempts


def puts_off(state: Reader, order: Order, sender: str, now_ns: int) -> bool:
    """Whether an order that is not known here must not be read in this step: it is quarantined, or its mark has to be durable first.

    Nobody but a holder of an order key gets this far, so that nobody else can fill a log with marks.
    """
    attempts = state.attempts
    if not attempts.cautious and not attempts.open:
        return False
    identity = intent.content_id(order.raw)
    if is_quarantined(state, identity) or identity in attempts.waiting:
        return True
    if not attempts.cautious or not state.trust.signer.verify(order.signer, keys.ORDER, order.raw, order.signature):
        return False
    attempts.waiting[identity] = (order, sender)
    attempts.open[identity] = attempts.open.get(identity, 0) + 1
    state.awaiting[record(state, ATTEMPT, {"order": identity}, now_ns)] = ("attempt", identity)
    return True


def is_quarantined(state: Reader, identity: str) -> bool:
    return state.attempts.open.get(identity, 0) >= ATTEMPTS_MAX and identity not in state.attempts.waiting


def outlived(state: Reader, identity: str, now_ns: int, *, on_record: bool) -> None:
    """The body was read, and the process is still here. ``on_record``: a record says so already."""
    if state.attempts.open.pop(identity, 0) and not on_record:
        record(state, ATTEMPT_OVER, {"order": identity}, now_ns)


def fold(state: Reader, kind: str, body: dict[str, Any]) -> None:
    """``body`` names the order of an attempt, or of its end."""
    identity = body["order"]
    if kind == ATTEMPT:
        state.attempts.open[identity] = state.attempts.open.get(identity, 0) + 1
    else:
        state.attempts.open.pop(identity, None)


def quarantine(state: Reader, now_ns: int) -> list[str]:
    """At boot, after the fold: the orders that are not read again, said and put on record each time."""
    found = [identity for identity in sorted(state.attempts.open) if is_quarantined(state, identity)]
    for identity in found:
        record(state, "QUARANTINE", {"order": identity, "attempts": state.attempts.open[identity]}, now_ns)
        observe(state, "order-quarantined", order=identity)
    return found


def digest_words(state: Reader) -> list[str]:
    return [f"{identity}x{count}" for identity, count in sorted(state.attempts.open.items())]
