"""What a sidecar enforces without having read or verified it: prohibitions in a form or under a key that it does not know (V3, D7).

Owns the floors: least severities that hold beside the signed orders, each for a reason, and what ends each. Must not know how orders are learned.

    reason                      severity                            ends
    an unreadable prohibition   its header's, and ISOLATE           its sender answered a later request in full: what it demands is read by now
    an order that nobody who      ISOLATE                             a certificate in force lists it
    read it outlived
    an order under a key that   its body's, and ISOLATE             the keyset that knows the key is here, or its sender answered in full
    no keyset here knows                                            without it
"""

from __future__ import annotations

from killswitch.core import audit, codec, intent, trust
from killswitch.core.intent import Severity
from killswitch.core.messages import Order, UnknownProhibition
from killswitch.core.outlet import observe, record
from killswitch.core.sidecar import permits
from killswitch.core.sidecar.state import Floor, Sidecar

WITHHELD_MAX = 64


def demand(state: Sidecar, reason: str, severity: Severity, origin: str, why: str, now_ns: int) -> None:
    """From this step on at least ``severity``, and at least ISOLATE."""
    before = state.floors.held.get(reason)
    severity = intent.join(intent.ISOLATE, intent.join(severity, before.severity if before else intent.RUN))
    state.floors.held[reason] = Floor(severity, origin, now_ns)
    if before is None or before.severity != severity:
        settle(state)
        show(state, reason)
        permits.abort_forbidden(state, now_ns)
        record(state, "SECURITY", {"what": f"prohibition {reason}", "sender": origin, "why": why}, now_ns)


def settle(state: Sidecar) -> None:
    """The floors as one severity: looked at with every effect, so kept."""
    state.floors.severity = intent.RUN
    for floor in state.floors.held.values():
        state.floors.severity = intent.join(state.floors.severity, floor.severity)


def show(state: Sidecar, reason: str) -> None:
    """What holds for one reason, and for all of them."""
    held, together = state.floors.held[reason].severity, state.floors.severity
    whole = (together.gate.name, together.life.name)
    observe(state, "floor-held", agent=state.config.agent, reason=reason, gate=held.gate.name, life=held.life.name, all=whole)


def on_unknown(state: Sidecar, message: UnknownProhibition, sender: str, now_ns: int) -> None:
    """A prohibition in a form newer than this code."""
    severity = Severity(codec.clamp_gate(message.gate), codec.clamp_life(message.life))
    demand(state, f"unread, of {sender}", severity, sender, message.why, now_ns)


def withhold(state: Sidecar, order: Order, sender: str, now_ns: int) -> None:
    """An order that did not verify. From a replica, under a key that this keyset has never heard of, it is the word of a later keyset, for replicas
    hand on only what they believe: its body is obeyed until that keyset is here. Anything else that does not verify means nothing."""
    if sender not in state.config.replicas or not trust.is_stranger(state.trust, order.signer):
        return
    known = intent.read_order(order)
    if known is not None and not intent.matches(known.body.tenant, known.body.scope, state.identity):
        return
    reason = intent.content_id(order.raw) if len(state.floors.withheld) < WITHHELD_MAX else "beyond counting"
    state.floors.withheld.setdefault(reason, (order, sender))
    demand(state, reason, known.severity if known else intent.ISOLATE, sender, "under a key of no keyset here", now_ns)


def quarantine(state: Sidecar, order: str, now_ns: int) -> None:
    """Nobody knows what it demands, nor of whom: this agent stands by until approvers lift it by its id, as they would any other."""
    if not is_released(state, order):
        demand(state, order, intent.ISOLATE, "", "nobody outlived reading it", now_ns)


def view_told(state: Sidecar) -> str:
    """The digest of what is in force here, read or not, as replicas are told it. One that has an order lifted which is in quarantine here has another
    view, so that each of its answers brings certificates, until one of them has ended the quarantine.
    """
    view = intent.view(state.intent, state.identity)
    unread = [reason for reason, floor in state.floors.held.items() if not floor.origin and reason in state.attempts.open]
    return audit.digest_of(sorted({*unread, *(known.id for known in view.uncovered)})) if unread else view.digest


def is_released(state: Sidecar, order: str) -> bool:
    """Whether a certificate in force lists an order that could not be read, and may speak for this agent."""
    listing = (state.intent.certificates[certificate].body for certificate in state.intent.in_force)
    return any(order in body.covers and (body.scope.kind == "global" or body.tenant == state.identity.tenant) for body in listing)


def release(state: Sidecar) -> None:
    """A certificate has come into force."""
    for reason in [reason for reason, floor in state.floors.held.items() if not floor.origin and is_released(state, reason)]:
        drop(state, reason)


def heard_in_full(state: Sidecar, sender: str, sent_ns: int) -> None:
    """A replica answered a request of ``sent_ns`` with all that it demands, and all of that is known here, whatever it said before."""
    over = [reason for reason, floor in state.floors.held.items() if floor.origin == sender and floor.since_ns <= sent_ns]
    for reason in over:
        drop(state, reason)


def drop(state: Sidecar, reason: str) -> None:
    state.floors.withheld.pop(reason, None)
    if state.floors.held.pop(reason, None) is not None:
        settle(state)
        observe(state, "floor-dropped", agent=state.config.agent, reason=reason)


def hand_back(state: Sidecar) -> list[tuple[Order, str]]:
    """A later keyset is here: what was withheld is to be verified anew, in the same step."""
    held = list(state.floors.withheld.values())
    for reason in list(state.floors.withheld):
        drop(state, reason)
    return held
