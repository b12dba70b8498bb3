"""How every role begins: what survived is believed as far as it verifies, folded record by record, and what was cut off is put on record.

Owns the shape of a boot that is the same for all who keep a log. Must not know what any record means: each role brings its own fold.

A record that verifies was written by this node, but perhaps by another version of it: a body that the fold cannot read is passed over and
counted in the first record of the new life, never raised about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from killswitch.core import audit
from killswitch.core.audit import Chain, Recovery
from killswitch.core.events import Boot, Effect, Record
from killswitch.core.outlet import record


class Writer(Protocol):
    """A state that is folded from a log."""

    effects: list[Effect]
    chain: Chain
    booted: bool


State = TypeVar("State", bound=Writer)
Fold = Callable[[State, Record, dict[str, Any], int], None]


def recover(state: Writer, event: Boot) -> Recovery:
    """The chain goes on from the last record that verifies."""
    recovery = audit.recover(event.records, event.boot)
    state.chain = recovery.chain
    state.booted = True
    return recovery


def fold_all(state: State, records: Iterable[Record], fold: Fold[State], now_ns: int) -> int:
    """Fold each record, in order; how many had a body that this version does not know."""
    foreign = 0
    for entry in records:
        try:
            fold(state, entry, audit.content(entry), now_ns)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            foreign += 1
    return foreign


def is_cut(event: Boot, recovery: Recovery) -> bool:
    """Whether there was more than could be believed: the driver cut off what it could not read, the core what does not verify."""
    return event.truncated > 0 or recovery.problem is not None


def note(state: Writer, event: Boot, recovery: Recovery, now_ns: int, foreign: int = 0, **more: object) -> None:
    """The first record of this life: BOOT, or RECOVERED with the lsn from which the log was cut, and why. Never in silence (S16, B34)."""
    body: dict[str, object] = {"instance": event.instance, "records": len(recovery.records), **more}
    if foreign:
        body["foreign"] = foreign
    if is_cut(event, recovery):
        why = recovery.problem.why if recovery.problem else "unreadable"
        body |= {"truncated_from": len(recovery.records) + 1, "why": why}
    record(state, "RECOVERED" if is_cut(event, recovery) else "BOOT", body, now_ns)
