"""Planted bugs of load and of scope: shared queues and limits, tries without pauses, records without a share, lists made too early, wildcards."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from harness.planted.bug import PlantedBug
from killswitch.core import audit, intent
from killswitch.core.intent import Intent, KnownCertificate, View
from killswitch.core.messages import Message
from killswitch.core.policy import Request
from killswitch.core.replica import rollouts
from killswitch.core.replica import state as replica_state
from killswitch.core.replica.state import Draft, Replica
from killswitch.core.rollout import Answer
from killswitch.core.traffic import USUAL

_members: WeakKeyDictionary[Replica, dict[str, frozenset[str]]] = WeakKeyDictionary()


def members_at_issue(state: Replica, agent: str) -> View:
    """A group's order concerns those who were there when it came, as far as this replica had heard of them."""
    whole = replica_state.view_of(state, agent)
    lists = _members.setdefault(state, {})
    kept = []
    for known in whole.uncovered:
        listed = lists.setdefault(known.id, frozenset(state.heard_token))
        if known.body.scope.kind == "agent" or agent in listed:
            kept.append(known)
    digest = whole.digest if len(kept) == len(whole.uncovered) else audit.digest_of(each.id for each in kept)
    return View(intent.in_force(kept), tuple(kept), digest)


def one_share_for_all(sender: str) -> str:
    return "everybody"


def one_queue_for_all(message: Message, peer: str) -> tuple[int, str]:
    return USUAL, "everybody"


def no_pause(tries: int, base_ns: int, jitter: str) -> int:
    return base_ns


def covers_everything(known: Intent, certificate: KnownCertificate) -> set[str]:
    """The certificate's list is read as "all of that scope"."""
    body = certificate.body
    within = {order.id for order in known.orders.values() if intent.includes(body.tenant, body.scope, order.body)}
    return within | set(body.covers)


def one_replica_is_enough(state: Replica, draft: Draft) -> bool:
    return True


def nothing_is_missing(state: Replica, known: KnownCertificate) -> tuple[str, ...]:
    return ()


def record_every_refusal(state: Replica, request: str, asked: Request, answer: Answer, sender: str, now_ns: int) -> None:
    rollouts.record_decision(state, request, asked, answer, now_ns)


BUGS = (
    PlantedBug("B20", "a group's order is for those who were there when it came", {"replica.grants:view_of": members_at_issue},
               ("S1", "L1", "L10"), ("late-joiner-under-tenant-order",), "easy"),
    PlantedBug("B27", "all tenants have one share between them", {"traffic:share_of": one_share_for_all}, ("L8",), ("one-tenant-floods",), "easy"),
    PlantedBug("B38", "a kill waits behind telemetry, and nobody pauses between tries",
               {"traffic:lane": one_queue_for_all, "traffic:pause_ns": no_pause}, ("L8",),
               ("one-tenant-floods", "reconnect-storm-under-a-kill"), "medium"),
    PlantedBug("B41", "a resume is drafted from one replica's knowledge, and lifts all that its scope holds",
               {"intent:lifts": covers_everything, "replica.resumes:heard_enough": one_replica_is_enough,
                "replica.resumes:unshown": nothing_is_missing}, ("S7", "S5", "S6", "L10"), ("resume-race", "swarm-storm"), "easy"),
    PlantedBug("B44", "every refusal is put on record", {"replica.rollouts:record_refusal": record_every_refusal},
               ("L8",), ("one-tenant-floods",), "easy"),
)  # fmt: skip
