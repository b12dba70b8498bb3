"""Planted bugs of nodes that restarted or lost their disk: what they forget, what they have to be taught, and how they read orders that may have
killed them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import structs

from harness.planted.bug import PlantedBug
from killswitch.core import attempts, boot, intent
from killswitch.core.events import Boot, Record, Signal, SignalKind
from killswitch.core.lessons import Lesson, LessonRequest, Promised
from killswitch.core.messages import Order, Token
from killswitch.core.outlet import parts, record, send
from killswitch.core.replica import joining
from killswitch.core.replica.state import Replica
from killswitch.core.sidecar import recover, starts
from killswitch.core.sidecar import step as sidecar_step
from killswitch.core.sidecar.state import Sidecar

_fold_all = boot.fold_all
_on_lesson = joining.on_lesson
_extend_lease = starts.extend_lease
_fold_reaped = recover._fold_reaped
_on_boot = sidecar_step.on_boot


def read_at_once(state: attempts.Reader, order: Order, sender: str, now_ns: int) -> bool:
    """A mark costs a write and a wait."""
    return False


def grant_at_once(state: Replica, *, cut: bool) -> None:
    """It has the keys of a replica, so it is one."""


def careful_for_good(state: Sidecar, until_ns: int, nonce: str, now_ns: int) -> None:
    """It died once: better to mark every order before it is read."""
    cautious = state.attempts.cautious
    _extend_lease(state, until_ns, nonce, now_ns)
    state.attempts.cautious = cautious


def its_own_promises_are_enough(state: Replica, agent: str, token: Token, now_ns: int) -> None:
    """What a peer has promised is the peer's to keep."""


def begin_when_cut(state: Replica, *, cut: bool) -> None:
    """A log that is whole has nothing missing."""
    state.joining = bool(state.peers) and (cut or (state.config.joins and not state.lessons.joined))


def marked_whoever_signed(state: attempts.Reader, order: Order, sender: str, now_ns: int) -> bool:
    """Whether it is to be believed is looked at when it is read."""
    if not state.attempts.cautious and not state.attempts.open:
        return False
    identity = intent.content_id(order.raw)
    if attempts.is_quarantined(state, identity) or identity in state.attempts.waiting:
        return True
    if not state.attempts.cautious:
        return False
    state.attempts.waiting[identity] = (order, sender)
    state.attempts.open[identity] = state.attempts.open.get(identity, 0) + 1
    state.awaiting[record(state, attempts.ATTEMPT, {"order": identity}, now_ns)] = ("attempt", identity)
    return True


def in_doubt_no_more(state: Sidecar, entry: Record, body: dict[str, Any], now_ns: int) -> None:
    """That was before the restart."""
    _fold_reaped(state, entry, {**body, "in_doubt": ()}, now_ns)


def never_too_late_to_learn(state: Replica) -> bool:
    """What is said while the record of the lessons is on its way to the disk is learned, too."""
    return state.joining


def teach_before_sync(state: Replica, nonce: str, sender: str) -> None:
    """Whoever forgot is in a hurry."""
    promised = (Promised(agent, *parts(token)) for agent, token in sorted(state.promised.items()))
    send(state, sender, Lesson(nonce, tuple(promised)))


def taught_is_taught(state: Replica) -> bool:
    """Policies come with gossip, to this replica as to any other."""
    wanted = len(state.config.replicas) - min(state.config.kill_quorum, state.config.quorum) + 1
    return len(state.lessons.teachers) >= min(wanted, len(state.peers))


def taught_is_not_promised(state: Replica, agent: str, token: Token) -> None:
    """It goes by what it promises itself from now on."""


def whichever_start_asked(state: Replica, lesson: Lesson, sender: str, now_ns: int) -> None:
    """A promise is a promise, whenever it was told."""
    _on_lesson(state, structs.replace(lesson, nonce=joining.nonce(state)), sender, now_ns)


def passed_over(state: Any, records: Iterable[Record], fold: boot.Fold[Any], now_ns: int) -> int:
    """What nobody understands has nothing to say."""
    _fold_all(state, records, fold, now_ns)
    return 0


def up_to_what_is_known(state: Any, records: Iterable[Record], fold: boot.Fold[Any], now_ns: int) -> int:
    """What follows a record that nobody understands may rest on it."""
    for entry in records:
        if _fold_all(state, (entry,), fold, now_ns):
            return 1
    return 0


def it_took_its_children_along(state: Sidecar, event: Boot, now_ns: int) -> None:
    """The kernel ends what a sidecar started as that dies."""
    _on_boot(state, event, now_ns)
    state.effects.remove(Signal(SignalKind.REAP_ORPHANS))
    state.reaping = False


def whoever_has_not_answered(state: Replica) -> None:
    """Both answers leave a peer together."""
    if state.joining:
        for peer in state.peers:
            if peer not in state.lessons.told_intent:
                send(state, peer, LessonRequest(joining.nonce(state)))


BUGS = (
    PlantedBug("B37", "an order that kills its reader is read again by each next start", {"attempts:puts_off": read_at_once}, ("S26",),
               ("poisoned-order",), "easy"),
    PlantedBug("B71", "a replica that lost its disk grants at once", {"replica.joining:begin": grant_at_once}, ("S1", "S6"),
               ("replica-lost-its-disk",), "easy"),
    PlantedBug("B139", "a sidecar that restarted reads orders with care for good", {"sidecar.starts:extend_lease": careful_for_good}, ("S3",),
               ("stop-on-a-slow-disk-after-a-restart",), "easy"),
    PlantedBug("B184", "a replica that lost its disk learns what is in force, and no promises",
               {"replica.joining:promise_too": its_own_promises_are_enough}, ("S8",), ("replica-lost-its-disk",), "easy"),
    PlantedBug("B200", "a replica that cut its log forgets with its next restart that it has to be taught", {"replica.joining:begin": begin_when_cut},
               ("S8",), ("restarted-before-it-was-taught",), "easy"),
    PlantedBug("B214", "a node that restarted marks orders that nobody signed", {"attempts:puts_off": marked_whoever_signed}, ("S26",),
               ("forged-after-a-restart",), "easy"),
    PlantedBug("B217", "a sidecar that restarted has forgotten what a stop left in doubt", {"sidecar.recover:_fold_reaped": in_doubt_no_more},
               ("S20",), ("swarm-storm", "clone-storm"), "medium"),
    PlantedBug("B219", "what a replica is taught while its lessons go on record is vouched for, and on no record",
               {"replica.joining:listens": never_too_late_to_learn}, ("S11",), ("taught-while-others-start",), "medium"),
    PlantedBug("B220", "a replica teaches promises before its disk holds them", {"replica.joining:tell_promises": teach_before_sync}, ("S11",),
               ("taught-while-others-start",), "easy"),
    PlantedBug("B273", "a replica that was taught vouches again before it decides by its teachers' policy",
               {"replica.joining:enough": taught_is_taught}, ("S21",), ("taught-under-a-later-policy",), "easy"),
    PlantedBug("B403", "a replica grants nothing to what it was taught that it promised", {"replica.joining:promise_durable": taught_is_not_promised},
               ("L10",), ("taught-what-it-had-promised",), "easy"),
    PlantedBug("B433", "orders of its own log that a node cannot read forbid nothing", {"boot:fold_all": passed_over}, ("S22",),
               ("rolled-back-onto-a-later-log",), "easy"),
    PlantedBug("B434", "a log is believed up to the first record that a node cannot read", {"boot:fold_all": up_to_what_is_known}, ("S4",),
               ("rolled-back-onto-a-later-log",), "easy"),
    PlantedBug("B439", "a replica counts what its peers told an earlier start of it", {"replica.joining:on_lesson": whichever_start_asked}, ("S8",),
               ("taught-by-an-earlier-lesson",), "easy"),
    PlantedBug("B487", "a sidecar does not end what an earlier one left", {"sidecar.step:on_boot": it_took_its_children_along}, ("L2",),
               ("sidecar-crash-mid-drain", "force-delete-left-it-running"), "easy"),
    PlantedBug("B506", "who has told a replica what is in force is not asked for promises again", {"replica.joining:ask": whoever_has_not_answered},
               ("S15",), ("taught-on-a-lossy-link",), "medium"),
)  # fmt: skip
