"""Planted bugs that an adversary made and that nothing saw: doubts that change nothing, words ahead of the disk, prohibitions that shrink, and
what is taken for whole when a part of it is there."""

from __future__ import annotations

from msgspec import structs

from harness.planted.bug import PlantedBug
from killswitch.core import intent, keysets, leases, sink
from killswitch.core.certificates import ResumeCertificate
from killswitch.core.drift import PPM, ROUNDING, Sight
from killswitch.core.events import Send
from killswitch.core.intent import KnownCertificate, KnownOrder, Severity, View
from killswitch.core.keychanges import KeyChange
from killswitch.core.keys import Keyset
from killswitch.core.messages import NO_TOKEN, Challenge, FenceAck, LeaseRequest, Order, OrderBody, Query, Token, UnknownProhibition
from killswitch.core.outlet import record, send
from killswitch.core.replica import dispatch, grants, orders, rollouts
from killswitch.core.replica import state as replica_state
from killswitch.core.replica.state import Replica, greatest_token
from killswitch.core.scopes import Scope
from killswitch.core.sidecar import floors, permits, starts
from killswitch.core.sidecar import step as sidecar_step
from killswitch.core.sidecar.state import Floor, Sidecar
from killswitch.core.sink import Sink

_changed = keysets.changed
_declare = orders.declare
_lacking = grants.lacking
_learn_certificate = replica_state.learn_certificate
_learn_certificate_here = sidecar_step.learn_certificate
_lease = grants.lease
_on_fence_ack = dispatch.on_fence_ack
_on_query = sink.on_query
_open_token = starts.open_token


def by_a_clock_in_doubt(state: Replica, known: KnownCertificate) -> int | None:
    """The draft heard this replica, so it can tell."""
    own = [each for each in known.body.ends if each.replica == state.node]
    return None if known.body.ends and not own else next((each.clock_ns for each in own if each.boot == state.boot), 0)


def tell_at_once(state: Replica) -> None:
    """A rollout decides nothing at a peer before it is durable there, so the news may as well go now."""
    for peer in state.others:
        send(state, peer, rollouts.news(state))


def the_latest_word(state: Sidecar, reason: str, severity: Severity, origin: str, why: str, now_ns: int) -> None:
    """What was said last of a thing is what holds."""
    before = state.floors.held.get(reason)
    severity = intent.join(intent.ISOLATE, severity)
    state.floors.held[reason] = Floor(severity, origin, now_ns)
    if before is None or before.severity != severity:
        floors.settle(state)
        floors.show(state, reason)
        permits.abort_forbidden(state, now_ns)
        record(state, "SECURITY", {"what": f"prohibition {reason}", "sender": origin, "why": why}, now_ns)


def waits_go_on(state: Replica, now_ns: int) -> None:
    """The doubt is on record, and nothing is declared while it lasts."""


def unread_is_isolated(state: Sidecar, message: UnknownProhibition, sender: str, now_ns: int) -> None:
    """Whatever it may have said, nothing leaves any more."""
    floors.demand(state, f"unread, of {sender}", intent.ISOLATE, sender, message.why, now_ns)


def only_too_far(earlier: Sight, later: Sight, drift_ppm: int) -> bool:
    """Whoever ran further than the longest time allows broke the promise."""
    ran, longest = later.reading - earlier.reading, later.high - earlier.low
    return ran * (PPM - drift_ppm) > longest * (PPM + drift_ppm) + ROUNDING


def accepted_before_sync(state: Replica, certificate: ResumeCertificate, sender: str, now_ns: int) -> int:
    """It is on its way to the disk, and nobody takes it back."""
    return min(_learn_certificate(state, certificate, sender, now_ns), 1)


def told_before_sync(state: Sink, message: Query, sender: str) -> None:
    """Whoever asks wants to know how things stand, and that is how they stand."""
    began = len(state.effects)
    _on_query(state, message, sender)
    state.effects[began:] = [structs.replace(effect, after_lsn=0) if isinstance(effect, Send) else effect for effect in state.effects[began:]]


def asking_takes_nothing_back(state: Sink, message: Query, sender: str) -> None:
    """A question changes nothing."""
    challenges = dict(state.challenges)
    _on_query(state, message, sender)
    state.challenges = challenges


def admitted_when_it_was_asked_for(state: Sidecar, challenge: Challenge, now_ns: int) -> None:
    """It was let in, and this is only the sink's part of it."""
    permit = state.permits.get(challenge.key)
    if permit is not None and not permit.sent and challenge.sink == permit.sink:
        permit.nonce = challenge.nonce
        permits.send_apply(state, permit, now_ns)


def one_fence_is_a_fence(state: Replica, ack: FenceAck, sender: str, now_ns: int) -> bool:
    """The agent is shut out."""
    waiting = dict(state.fences)
    return _on_fence_ack(state, ack, sender, now_ns) or (ack.sink, ack.agent) in waiting.keys() - state.fences.keys()


def fences_take_their_time(state: Sidecar, token: Token, now_ns: int) -> None:
    """They have been asked for, and will come."""
    _open_token(state, token, now_ns)
    state.fences_missing = ()


def all_that_fits_is_all(
    state: Replica, agent: str, asker_view: str, view: View, now_ns: int
) -> tuple[tuple[Order, ...], tuple[ResumeCertificate, ...], bool]:  # fmt: skip
    """The rest comes with the next heartbeat."""
    news, certificates, _ = _lacking(state, agent, asker_view, view, now_ns)
    return news, certificates, True


def lifted_before_sync(state: Sidecar, certificate: ResumeCertificate, now_ns: int) -> None:
    """It verifies, so it holds."""
    _learn_certificate_here(state, certificate, now_ns)
    known = intent.content_id(certificate.raw)
    if known in state.intent.certificates:
        intent.put_in_force(state.intent, known)


def granted_before_sync(state: Replica, request: LeaseRequest, view: View, now_ns: int) -> tuple[int, str]:
    """The sidecar has its quorum of promises, or it would not ask."""
    state.promises_durable[request.agent] = state.promised.get(request.agent, NO_TOKEN)
    return _lease(state, request, view, now_ns)


def granted_in_doubt(state: Replica, request: LeaseRequest, view: View, now_ns: int) -> tuple[int, str]:
    """A lease is measured on the sidecar's clock, so what does this one matter."""
    suspected, state.clock.suspected = state.clock.suspected, False
    try:
        return _lease(state, request, view, now_ns)
    finally:
        state.clock.suspected = suspected


def the_latest_keyset_says_it_all(keyset: Keyset, change: KeyChange, head: str) -> Keyset:
    """A change names what it revokes."""
    return structs.replace(_changed(keyset, change, head), revoked=frozenset(change.revokes))


def the_later_end(state: Sidecar) -> int | None:
    """Whoever asked for more time is given it."""
    uncovered = intent.view(state.intent, state.identity).uncovered
    return max((state.deadlines[known.id] for known in uncovered if known.id in state.deadlines), default=None)


def half_the_grace(state: Replica, known: KnownOrder) -> int:
    """Better too early than too late."""
    return state.seen.get(known.id, state.booted_ns) + leases.time_to_stop_ns(known, state.parameters) // 2


def presumed_whatever_was_ordered(state: Replica, order: str, agent: str, now_ns: int) -> None:
    """Nothing of it can act any more, so it has stopped."""
    before = len(state.declared)
    _declare(state, order, agent, now_ns)
    if len(state.declared) > before:
        orders.tell_agent(state, order, agent, greatest_token(state, agent), "PRESUMED_STOPPED")


def whatever_holds_for_the_tenant(tenant: str, outer: Scope, body: OrderBody) -> bool:
    """An order for everybody is one for this tenant, too."""
    if body.scope.kind == "global":
        return outer.kind in ("global", "tenant")
    return body.tenant == tenant and outer.kind != "global" and (outer.kind == "tenant" or body.scope == outer)


BUGS = (
    PlantedBug("B142", "a replica that doubts its clock lets certificates in by it", {"replica.resumes:end_here": by_a_clock_in_doubt},
               ("S13",), ("clocks-that-run-away",), "easy"),
    PlantedBug("B143", "a rollout is told to peers before it is durable", {"replica.rollouts:tell_all": tell_at_once},
               ("S11",), ("policy-storm",), "easy"),
    PlantedBug("B144", "of two prohibitions that a sidecar cannot read the latter replaces the former",
               {"sidecar.floors:demand": the_latest_word}, ("S22",), ("control-plane-ahead-of-its-sidecars",), "easy"),
    PlantedBug("B145", "a doubted clock goes on measuring the waits that it began", {"replica.orders:restart_waits": waits_go_on},
               ("S20", "S19"), ("waits-begun-anew-after-a-doubt",), "easy"),
    PlantedBug("B146", "a clock that runs too fast is never suspected", {"drift:beyond": only_too_far}, ("L12",),
               ("clocks-that-run-away",), "easy"),
    PlantedBug("B147", "who handed in a resume is told that it is accepted before that is durable",
               {"replica.resumes:learn_certificate": accepted_before_sync}, ("S11",), ("swarm-storm", "resume-race"), "easy"),
    PlantedBug("B148", "a sink that is asked tells of effects that are not durable", {"sink:on_query": told_before_sync}, ("S11",),
               ("told-before-the-disk",), "medium"),
    PlantedBug("B149", "a sink that is asked about an effect goes on expecting it", {"sink:on_query": asking_takes_nothing_back}, ("S10",),
               ("asked-while-it-is-on-its-way",), "easy"),
    PlantedBug("B150", "what was let in stays let in while its sink is asked for a challenge",
               {"sidecar.permits:on_challenge": admitted_when_it_was_asked_for}, ("S19", "S3", "S1"), ("challenge-outlives-its-lease",), "easy"),
    PlantedBug("B151", "an agent counts as fenced once one of its sinks is", {"replica.dispatch:on_fence_ack": one_fence_is_a_fence}, ("S20",),
               ("fenced-at-every-sink",), "easy"),
    PlantedBug("B152", "an agent is started while its sinks are still to be fenced", {"sidecar.starts:open_token": fences_take_their_time},
               ("S8",), ("fenced-at-every-sink",), "easy"),
    PlantedBug("B153", "a reply that holds a part of the orders is called complete", {"replica.grants:lacking": all_that_fits_is_all},
               ("S19",), ("more-orders-than-a-reply-holds",), "easy"),
    PlantedBug("B154", "a sidecar lifts orders before it holds the certificate durably",
               {"sidecar.step:learn_certificate": lifted_before_sync}, ("S6", "S3"), ("resume-on-a-slow-disk",), "easy"),
    PlantedBug("B155", "a replica grants under a promise that its disk does not hold yet", {"replica.grants:lease": granted_before_sync},
               ("S11",), ("resume-on-a-slow-disk",), "easy"),
    PlantedBug("B156", "a replica that doubts its clock goes on granting", {"replica.grants:lease": granted_in_doubt}, ("S19",),
               ("clocks-that-run-away",), "easy"),
    PlantedBug("B157", "a later change of the keyset forgets what earlier ones revoked", {"keysets:changed": the_latest_keyset_says_it_all},
               ("S13",), ("revoked-with-a-resume-in-flight",), "easy"),
    PlantedBug("B158", "of two soft stops the later end counts", {"sidecar.step:stop_deadline": the_later_end}, ("L3",), ("soft-twice",), "easy"),
    PlantedBug("B159", "replicas escalate when half of the grace is over", {"replica.orders:escalation_due_ns": half_the_grace}, ("L3",),
               ("sidecar-gone-in-a-drain",), "easy"),
    PlantedBug("B160", "an isolated agent is presumed stopped", {"replica.orders:declare": presumed_whatever_was_ordered}, ("S20",),
               ("waits-begun-anew-after-a-doubt",), "easy"),
    PlantedBug("B161", "a tenant's resume lifts orders that hold for everybody", {"intent:includes": whatever_holds_for_the_tenant},
               ("S7", "S6"), ("tenant-resumes-under-a-global-order",), "easy"),
    PlantedBug("B180", "a prohibition that a sidecar cannot read isolates, whatever its header says",
               {"sidecar.floors:on_unknown": unread_is_isolated}, ("S22",), ("control-plane-ahead-of-its-sidecars",), "easy"),
)  # fmt: skip
