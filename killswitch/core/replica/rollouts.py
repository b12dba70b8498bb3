"""Rollouts at a replica: from a person's request to a policy in force, and back out of force by itself if it stops too much (protocol 3.9).

Owns who may roll out, what is recorded of it, the guard, and how replicas come to know the same policies. Must not know how a policy decides
(``rollout``, ``policy``). A rollout is a permission: durable before it decides anything, and before anybody is told.

    record            when
    POLICY_INSTALLED  a policy is taken in, from a request or from a peer
    POLICY_ROLLOUT    a rollout to SHADOW, CANARY or STABLE is; in force once durable
    POLICY_ROLLBACK   one to ROLLED_BACK is
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import structs

from killswitch.core import codec, federation, keys, policy, rollout, traffic, trust
from killswitch.core.bundles import (
    TEXT_MAX, BundleBody, PolicyBundle, PolicyNews, RolloutBody, RolloutRecord, RolloutRequest, RolloutStatus, Stage,
)  # fmt: skip
from killswitch.core.outlet import observe, record, send
from killswitch.core.replica.state import Replica
from killswitch.core.rollout import Answer, Asker, KnownRollout, Snapshot

GUARD: Final = "guard"  # who asked, when nobody did


# -- deciding ----------------------------------------------------------------------------------------------------------------------------


def decide(state: Replica, request: policy.Request) -> Answer:
    """Rule on a request. The snapshot is read once: nothing that is rolled out meanwhile is mixed into a decision that is under way (S21)."""
    return rollout.decide(state.policies.in_force, request)


def record_decision(
    state: Replica, request: str, asked: policy.Request, answer: Answer, now_ns: int, order: str = "", countersigned: dict[str, object] | None = None
) -> None:
    """What was decided, on what, and under which policies: everything that it takes to decide it again. ``unrecorded``: refusals before it that
    were only counted; ``countersigned``: what several people signed, if more keys than one counted."""
    ruling = answer.ruling
    body: dict[str, object] = {
        "request": request, "tenant": asked.tenant, "order": order, "facts": structs.asdict(asked), "decision": ruling.decision,
        "rollout": state.policies.in_force.record, "ruling": severity(ruling), "stable": severity(answer.stable),
        "candidate": None if answer.candidate is None else severity(answer.candidate), "errors": ruling.errors,
        "unrecorded": state.refusals.missed, "countersigned": countersigned,
    }  # fmt: skip
    state.refusals.missed = 0
    record(state, "DECISION", body, now_ns)


def record_refusal(state: Replica, request: str, asked: policy.Request, answer: Answer, sender: str, now_ns: int) -> None:
    """A refusal is put on record within its sender's share of the log, and where there is room; the others are counted: nobody fills a disk, or the
    last of it, by being refused."""
    if state.disk_full:
        state.refusals.missed += 1
    elif state.refusals.take(traffic.share_of(sender), now_ns):
        record_decision(state, request, asked, answer, now_ns)


def severity(ruling: policy.Ruling) -> tuple[bool, int, int, int, int]:
    """A ruling as records hold it: allowed, gate, life, grace, approvals."""
    return (ruling.allowed, ruling.gate, ruling.life, ruling.grace_ns, ruling.approvals)


# -- a request ---------------------------------------------------------------------------------------------------------------------------


def on_rollout_request(state: Replica, request: RolloutRequest, sender: str, now_ns: int) -> None:
    """Authenticate, take the next step, record, and say so once that is durable. The same request is one rollout, here and at every replica."""
    name = f"{request.principal}/{request.request}"
    known = next((each for each in state.policies.rollouts.values() if each.body.request == name), None)
    if state.disk_failed or state.disk_full:
        return  # another replica may be able to keep it
    body: RolloutBody | str = refusal(state, request)
    if known is not None and not body:
        body = known.body if rollout.is_asked_by(known.body, request) else "this request asked for something else; another step takes another name"
    elif not body:
        candidate = install(state, request, now_ns) if request.text else ""
        body = rollout.next_step(rollout.base(state.policies), request.stage, candidate, request.percent, request.guard, name)
    if isinstance(body, str):
        send(state, sender, RolloutStatus(request.request, "REFUSED", 0, body))
        return
    if known is None:
        known = learn_rollout(state, trust.sign_rollout(state.trust, state.node, codec.pack(body)), now_ns)
        rollout.forget_old(state.policies)
        tell_all(state)
    send(state, sender, RolloutStatus(request.request, "ACCEPTED", body.seq), after_lsn=state.chain.seq)
    if known is not None:
        state.policies.asked[known.id] = Asker(request.request, sender)
        tell_askers(state)


def refusal(state: Replica, request: RolloutRequest) -> str:
    """Why a request is out of the question; empty if it is not. Policies hold for every tenant, so it takes authority over every tenant."""
    if not trust.believes_request(state.trust, request):
        return "the signature is not that of the principal; ask under the name whose key signs"
    if not keys.authorised(state.trust.keyset, request.principal, keys.REQUEST, "", "global"):
        return "the principal may not change the policy of the cell, which holds for everybody; that takes an operator of every tenant"
    return "" if request.stage in Stage.__members__ and len(request.text) <= TEXT_MAX else "no such stage, or too long a policy"


def install(state: Replica, request: RolloutRequest, now_ns: int) -> str:
    """Take in the policy of a request; its hash."""
    policies = state.policies
    body = BundleBody(len(policies.texts) + 1, rollout.base(policies).stable.digest, request.text, request.tests, request.principal)
    learn_bundle(state, trust.sign_bundle(state.trust, state.node, codec.pack(body)), now_ns)
    return rollout.text_hash(request.text)


# -- what becomes of it ------------------------------------------------------------------------------------------------------------------


def tell_askers(state: Replica) -> None:
    """Tell whoever asked here what has become of his rollout, each time that this is news: EFFECTIVE, and in the end SUPERSEDED."""
    asked = state.policies.asked
    for id_, asker in list(asked.items()):
        known = state.policies.rollouts.get(id_)
        if known is None:
            del asked[id_]  # too old to be remembered
        elif id_ in state.policies.durable and (status := outcome(state, known, asker)) is not None:
            send(state, asker.operator, status)
            asked[id_] = asker._replace(told_effective=True)
            if status.stage == "SUPERSEDED":
                del asked[id_]


def outcome(state: Replica, known: KnownRollout, asker: Asker) -> RolloutStatus | None:
    """What there is to tell of a rollout: that k replicas hold it, or that another took its place. Once it was effective others may follow it, and
    only what was made apart from it, on top of another of its number, takes its place."""
    now = state.policies.in_force
    gone = not rollout.follows(state.policies, known) if asker.told_effective else now.record != known.id
    if gone:
        return RolloutStatus(asker.request, "SUPERSEDED", known.body.seq, f"rollout {now.seq} to {now.stage} took its place")
    if not asker.told_effective and len(holders(state)) >= federation.own(state.config).kill_quorum:
        return RolloutStatus(asker.request, "EFFECTIVE", known.body.seq)
    return None


def holders(state: Replica) -> list[str]:
    """Who holds all rollouts durably that this replica knows: itself, as the caller knows, and each peer that was last heard to know the same."""
    mine = rollout.digest(state.policies)
    return [state.node, *(peer for peer in state.peers if state.policies.heard.get(peer) == mine)]


# -- learning ----------------------------------------------------------------------------------------------------------------------------


def learn_bundle(state: Replica, bundle: PolicyBundle, now_ns: int) -> None:
    body = trust.read_bundle(state.trust, bundle)
    if body is not None and rollout.add_bundle(state.policies, bundle, body):
        record(state, "POLICY_INSTALLED", {"raw": bundle.raw, "signer": bundle.signer, "signature": bundle.signature}, now_ns)


def learn_rollout(state: Replica, signed: RolloutRecord, now_ns: int) -> KnownRollout | None:
    """Take a rollout in, if it is new. It decides nothing before its record is durable."""
    known = trust.read_rollout(state.trust, signed)
    if known is None or not rollout.add_rollout(state.policies, known):
        return None
    kind = "POLICY_ROLLBACK" if known.body.stage == Stage.ROLLED_BACK else "POLICY_ROLLOUT"
    lsn = record(state, kind, {"raw": signed.raw, "signer": signed.signer, "signature": signed.signature}, now_ns)
    state.awaiting[lsn] = ("rollout", known.id)
    return known


def rollout_durable(state: Replica, id_: str) -> bool:
    """A rollout may take effect. Whether it did."""
    changed = rollout.put_in_force(state.policies, id_)
    if changed:
        show(state)
    tell_askers(state)
    return changed


def show(state: Replica) -> None:
    now = state.policies.in_force
    canary = now.canary.digest if now.canary else ""
    observe(state, "rollout-changed", seq=now.seq, stage=now.stage, stable=now.stable.digest, canary=canary, record=now.record)


# -- the guard ---------------------------------------------------------------------------------------------------------------------------


def watch_guard(state: Replica, now_ns: int) -> None:
    """Roll a canary back that has, by itself, made more stops than it was given. The count is over the orders that are known here, so replicas
    agree on it; what they make of it is a function of the canary alone, so those who do it at once make the same rollout."""
    now = state.policies.in_force
    if now.stage != Stage.CANARY or canary_only_stops(state, now) <= now.guard or rollout.base(state.policies).record != now.record:
        return
    body = rollout.rolled_back(now, GUARD)
    if isinstance(body, RolloutBody):
        learn_rollout(state, trust.sign_rollout(state.trust, state.node, codec.pack(body)), now_ns)
        tell_all(state)


def canary_only_stops(state: Replica, now: Snapshot) -> int:
    """Orders that this canary made more severe than the stable policy would have; children of an order are no further stops."""
    canary = (now.seq, now.canary.digest if now.canary else "", True)
    decisions = (known.body.decision for known in state.intent.orders.values() if not known.body.parent)
    return sum((decision.policy_seq, decision.canary_hash, decision.raised) == canary for decision in decisions)


# -- between replicas --------------------------------------------------------------------------------------------------------------------


def tell_all(state: Replica) -> None:
    """Everything that is known of policies, to every peer, once it is durable here."""
    for peer in state.others:
        send(state, peer, news(state), after_lsn=state.chain.seq)


def on_gossip_timer(state: Replica) -> None:
    """A digest with each round of gossip, as soon as there is anything to tell at all. Who hears it counts on what it stands for: it is durable."""
    if state.policies.rollouts:
        notice = PolicyNews(rollout.digest(state.policies))
        for peer in state.others:
            send(state, peer, notice, after_lsn=state.chain.seq)


def on_news(state: Replica, message: PolicyNews, sender: str, now_ns: int) -> None:
    """Learn what a peer knows; answer a digest that is not one's own with all one knows, or with one's own digest if that is nothing.
    What is not durable here yet may be lost again: the answer waits for it, like every word of it."""
    if sender not in state.others:
        return
    for bundle in message.bundles:
        learn_bundle(state, bundle, now_ns)
    for signed in message.records:
        learn_rollout(state, signed, now_ns)
    rollout.forget_old(state.policies)  # only now: a policy comes before the rollout that speaks of it
    state.policies.heard[sender] = message.digest
    tell_askers(state)
    if not message.records and message.digest != rollout.digest(state.policies):
        send(state, sender, news(state), after_lsn=state.chain.seq)


def news(state: Replica) -> PolicyNews:
    """All that this replica has taken in, as its own word: whoever signed it first may have been revoked since."""
    policies = state.policies
    installed = (trust.sign_bundle(state.trust, state.node, policies.bundles[name].raw) for name in sorted(policies.bundles))
    rolled = (trust.sign_rollout(state.trust, state.node, known.record.raw) for known in sorted(policies.rollouts.values(), key=rollout.rank))
    return PolicyNews(rollout.digest(policies), tuple(installed), tuple(rolled))


# -- boot --------------------------------------------------------------------------------------------------------------------------------


def fold(state: Replica, kind: str, body: dict[str, Any]) -> None:
    """Take one record of an earlier life into account; what it holds was verified then."""
    if kind == "POLICY_INSTALLED":
        bundle = PolicyBundle(body["raw"], body["signer"], body["signature"])
        content = rollout.read_bundle(bundle)
        if content is not None:
            rollout.add_bundle(state.policies, bundle, content)
        return
    known = rollout.read_rollout(RolloutRecord(body["raw"], body["signer"], body["signature"]))
    if known is not None and rollout.add_rollout(state.policies, known):
        rollout.put_in_force(state.policies, known.id)


def recovered(state: Replica) -> None:
    """After the fold: say what is in force, if it is not what was deployed."""
    rollout.forget_old(state.policies)
    if state.policies.rollouts:
        show(state)
