"""Planted bugs of policies: rules that fail and are skipped, decisions mixed of two rollouts, trials that weaken or never end, numbers that fall,
what is told and kept of rollouts, stops that take two keys."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256

from msgspec import structs

from harness.planted.bug import PlantedBug
from killswitch.core import codec, federation, intent, keys, policy, rollout, trust
from killswitch.core.bundles import RolloutBody, RolloutRecord, RolloutStatus, Stage
from killswitch.core.countersigns import Countersignature
from killswitch.core.intent import KnownOrder
from killswitch.core.messages import Gate, Life, Message, OrderRequest
from killswitch.core.outlet import send
from killswitch.core.policy import Answer as CedarAnswer
from killswitch.core.policy import Bundle, Request, Ruling
from killswitch.core.replica import orders, rollouts
from killswitch.core.replica.state import Draft, Replica
from killswitch.core.rollout import Answer, Asker, KnownRollout, Policies, Snapshot
from killswitch.core.trust import Trust, may_countersign

_join = rollout.join
_learn_rollout = rollouts.learn_rollout
_order_before = orders.order_before
_outcome = rollouts.outcome
_resume_ruling = policy.resume_ruling
_rolled_back = rollout.rolled_back
_stop_ruling = policy.stop_ruling


def no_floor(undecided: bool) -> Gate:
    return Gate.OPEN


def read_twice(state: Replica, request: policy.Request) -> Answer:
    """The ruling under what is in force, its number and hashes read again from the registry: a rollout that waits for its disk is there already."""
    answer = rollout.decide(state.policies.in_force, request)
    latest = rollout.base(state.policies)
    canary = latest.canary.digest if latest.canary else ""
    again = structs.replace(answer.ruling, policy_seq=latest.seq, policy_hash=latest.stable.digest, canary_hash=canary)
    return answer._replace(ruling=again)


def back_to_the_old_number(now: Snapshot, request: str) -> RolloutBody | str:
    body = _rolled_back(now, request)
    return body if isinstance(body, str) else structs.replace(body, seq=max(now.seq - 1, rollout.FIRST_SEQ + 1))


def latest_word(policies: Policies) -> KnownRollout | None:
    """What was rolled out last is in force, whatever its number."""
    known = [each for each in policies.rollouts.values() if each.id in policies.durable]
    return known[-1] if known else None


def canary_decides(stable: Ruling, candidate: Ruling) -> Ruling:
    """It is on trial, so let it decide."""
    return structs.replace(candidate, policy_hash=stable.policy_hash)


def no_guard(state: Replica, now_ns: int) -> None:
    """People look at the dashboards."""


def never_behind(state: Replica, draft: Draft) -> bool:
    return False


def remember_until_restart(state: Replica) -> None:
    """What is in force is in memory, and what was deployed is in the deployment."""
    state.policies.in_force = Snapshot(rollout.FIRST_SEQ, Stage.STABLE, state.policies.deployed)
    rollouts.show(state)


def skipped_in_a_resume(bundle: Bundle, request: Request, answer: CedarAnswer) -> Ruling:
    return _resume_ruling(bundle, request, structs.replace(answer, errors=()))


def the_longer_grace(stable: Ruling, candidate: Ruling) -> Ruling:
    """Both policies are content with it."""
    return structs.replace(_join(stable, candidate), grace_ns=max(stable.grace_ns, candidate.grace_ns))


def in_force_at_once(state: Replica, signed: RolloutRecord, now_ns: int) -> None:
    """It is authentic and newer, so why wait for a disk."""
    _learn_rollout(state, signed, now_ns)
    known = trust.read_rollout(state.trust, signed)
    if known is not None:
        rollouts.rollout_durable(state, known.id)


def signed_is_signed(state: Replica, known: intent.KnownCertificate, ruling: Ruling) -> bool:
    """The draft was ruled on, and approvers signed what it asked for."""
    return False


def never_stale(state: Replica, known: intent.KnownCertificate) -> bool:
    return False


def higher_hash_wins(known: KnownRollout) -> tuple[int, str]:
    """Any order will do, if only all have the same."""
    return (known.body.seq, "" if known.body.stage == Stage.ROLLED_BACK else known.id)


def every_order_counts(state: Replica, now: Snapshot) -> int:
    """A child is an order like any other, and carries the decision of its parent."""
    canary = now.canary.digest if now.canary else ""
    decisions = (known.body.decision for known in state.intent.orders.values())
    return sum((each.policy_seq, each.canary_hash, each.raised) == (now.seq, canary, True) for each in decisions)


def keys_are_keys(trust: Trust, request: OrderRequest, signatures: tuple[Countersignature, ...]) -> dict[str, Countersignature]:
    """Every signature that verifies is one more key; that one of them is the asker's own does not catch the eye."""
    raw = codec.unsigned(request)
    return {each.countersigner: each for each in signatures if trust.signer.verify(each.countersigner, keys.COUNTERSIGN, raw, each.signature)}


def the_client_counts(trust: Trust, request: OrderRequest, signatures: tuple[Countersignature, ...]) -> dict[str, Countersignature]:
    """The client has asked these people, so there are that many."""
    return {each.countersigner: each for each in signatures}


def wait_for_the_others(bundle: Bundle, request: Request, answer: CedarAnswer) -> Ruling:
    """Two keys are two keys: until both are there, nothing happens."""
    ruling = _stop_ruling(bundle, request, answer)
    return structs.replace(ruling, allowed=ruling.allowed and request.asking >= ruling.approvals)


def last_rule_wins(obligations: Iterable[policy.Obligations]) -> policy.Obligations:
    """Whoever writes a rule below another means to replace it. The longest grace is kept, so that nobody is cut short."""
    last, graces = policy.Obligations(), []
    for last in obligations:
        graces += [] if last.grace_ns is None else [last.grace_ns]
    return structs.replace(last, grace_ns=max(graces, default=None))


def each_key_is_somebody(trust: Trust, request: OrderRequest, signatures: tuple[Countersignature, ...]) -> dict[str, Countersignature]:
    """One key, one vote; that a rotation gave somebody a second one is another matter."""
    raw = codec.unsigned(request)
    return {
        each.countersigner: each for each in signatures
        if each.countersigner != request.principal and may_countersign(trust, each.countersigner, request)
        and trust.signer.verify(each.countersigner, keys.COUNTERSIGN, raw, each.signature)
    }  # fmt: skip


def completed_whatever_became_of_it(state: Replica, request: OrderRequest) -> KnownOrder | None:
    """Two people want it stopped; that somebody lifted the isolation meanwhile is no reason not to."""
    before = _order_before(state, request)
    return None if before is not None and before.id in state.intent.lifted and before.severity.life < request.life else before


def a_label_is_no_more_than_an_agent(request: Request) -> bool:
    """What is less than a tenant takes one key, and so does whatever stops nothing."""
    return request.scope_kind in ("agent", "label") or codec.clamp_life(request.life) == Life.ALIVE


def stable_decides_resumes(stable: Ruling, candidate: Ruling) -> Ruling:
    """A canary is there to be tried on kills."""
    return stable


def whoever_can_be_told(state: Replica) -> list[str]:
    """The peers have been sent it, so they hold it."""
    return [state.node, *state.peers]


def held_is_effective(state: Replica, known: KnownRollout, asker: Asker) -> RolloutStatus | None:
    """k replicas hold it, and that is all that it takes."""
    if asker.told_effective or len(rollouts.holders(state)) >= federation.own(state.config).kill_quorum:
        return None if asker.told_effective else RolloutStatus(asker.request, "EFFECTIVE", known.body.seq)
    return _outcome(state, known, asker)


def effective_for_good(state: Replica, known: KnownRollout, asker: Asker) -> RolloutStatus | None:
    """Effective is the last word: k replicas hold it."""
    return None if asker.told_effective else _outcome(state, known, asker)


def back_to_where_it_was(now: Snapshot, request: str) -> RolloutBody | str:
    """What is rolled back has nothing before it."""
    body = _rolled_back(now, request)
    return body if isinstance(body, str) else structs.replace(body, former="")


def up_to_and_including(snapshot: Snapshot, request: Request) -> bool:
    """So many percent, counted from zero."""
    words = f"{snapshot.salt}\0{request.tenant}\0{request.scope_kind}\0{request.scope_value}"
    return int.from_bytes(sha256(words.encode("utf-8", "surrogatepass")).digest()[:8]) % 100 <= snapshot.percent


def forget_the_rest(policies: Policies) -> None:
    """So many are kept, and no more."""
    for known in sorted(policies.rollouts.values(), key=rollout.rank)[rollout.KEPT_MAX :]:
        del policies.rollouts[known.id]
        policies.durable.discard(known.id)


def entities_without_a_tenant(request: Request) -> str:
    """A policy that speaks of a tenant speaks of nothing within it."""
    cell, tenant = {"type": "Cell", "id": policy.CELL}, {"type": "Tenant", "id": request.tenant}
    return json.dumps([{"uid": uid, "attrs": {}, "parents": above} for uid, above in ((cell, []), (tenant, [cell]))])


def no_answer_but_yes(state: Replica, to: str, message: Message, after_lsn: int = 0) -> None:
    """Whoever may not ask is told nothing."""
    if not (isinstance(message, RolloutStatus) and message.stage == "REFUSED"):
        send(state, to, message, after_lsn)


def its_own_stops_are_no_raise(stable: Ruling, candidate: Ruling) -> Ruling:
    """It raised nothing: there was nothing to raise."""
    joined = _join(stable, candidate)
    return structs.replace(joined, raised=joined.raised and stable.allowed)


BUGS = (
    PlantedBug("B30", "a kill rule that fails is skipped, as Cedar does", {"policy:error_floor": no_floor}, ("S21",), ("policy-that-fails",), "easy"),
    PlantedBug("B31", "a decision reads the policy twice, and a rollout comes between", {"replica.rollouts:decide": read_twice}, ("S21",),
               ("policy-storm",), "medium"),
    PlantedBug("B32", "a rollback restores the lower number", {"rollout:rolled_back": back_to_the_old_number, "rollout:newest": latest_word},
               ("S21", "L10"), ("policy-rolled-back-during-a-kill",), "easy"),
    PlantedBug("B80", "a canary decides alone", {"rollout:join": canary_decides}, ("S21",), ("canary-too-lax",), "easy"),
    PlantedBug("B81", "nobody guards a canary", {"replica.rollouts:watch_guard": no_guard}, ("S21",), ("canary-that-over-stops",), "easy"),
    PlantedBug("B82", "a resume is decided by a replica that is behind", {"replica.resumes:is_behind": never_behind}, ("S21",),
               ("resume-under-a-stale-policy",), "easy"),
    PlantedBug("B83", "a restart falls back to the deployed policy", {"replica.rollouts:recovered": remember_until_restart}, ("S21",),
               ("policy-rolled-back-during-a-kill",), "easy"),
    PlantedBug("B84", "a resume ignores a rule that fails", {"policy:resume_ruling": skipped_in_a_resume}, ("S21",), ("policy-that-fails",), "easy"),
    PlantedBug("B116", "of two graces a canary's share is given the longer", {"rollout:join": the_longer_grace}, ("S21",),
               ("canary-with-a-shorter-grace",), "easy"),
    PlantedBug("B117", "a rollout decides before it is durable", {"replica.rollouts:learn_rollout": in_force_at_once}, ("S21",),
               ("policy-storm",), "easy"),
    PlantedBug("B118", "a resume that was signed is taken in whatever policy says by then", {"replica.resumes:is_refused": signed_is_signed},
               ("S21",), ("resume-approved-under-a-later-policy",), "easy"),
    PlantedBug("B119", "a draft is good for ever", {"replica.resumes:is_stale": never_stale}, ("S21",),
               ("resume-approved-under-a-later-policy",), "easy"),
    PlantedBug("B120", "of a promotion and a rollback made apart the promotion wins", {"rollout:rank": higher_hash_wins}, ("S21",),
               ("guard-and-promotion-made-apart",), "easy"),
    PlantedBug("B121", "a guard counts the children of a stop as stops", {"replica.rollouts:canary_only_stops": every_order_counts}, ("S21",),
               ("canary-that-stops-what-is-isolated",), "easy"),
    PlantedBug("B131", "who asks for a stop countersigns it himself", {"trust:countersigners": keys_are_keys}, ("S13",),
               ("kill-that-takes-two-keys",), "easy"),
    PlantedBug("B132", "further keys are counted and not verified", {"trust:countersigners": the_client_counts}, ("S13",),
               ("kill-that-takes-two-keys",), "easy"),
    PlantedBug("B133", "a stop that takes two keys does nothing with one", {"policy:stop_ruling": wait_for_the_others}, ("S21",),
               ("kill-that-takes-two-keys",), "easy"),
    PlantedBug("B137", "of several rules that permit a stop the last one says how severe it is", {"policy:join": last_rule_wins}, ("S21",),
               ("overlapping-rules",), "easy"),
    PlantedBug("B140", "a person whose key was rotated countersigns twice", {"trust:countersigners": each_key_is_somebody}, ("S13",),
               ("two-keys-of-one-person",), "easy"),
    PlantedBug("B141", "a stop that was lifted while people took their time to countersign it is completed",
               {"replica.orders:order_before": completed_whatever_became_of_it}, ("S21",), ("countersigned-after-it-was-lifted",), "easy"),
    PlantedBug("B168", "one key stops all agents of a label", {"policy:is_emergency": a_label_is_no_more_than_an_agent}, ("S21",),
               ("kill-that-takes-two-keys",), "easy"),
    PlantedBug("B187", "a canary has no say in a resume", {"rollout:meet": stable_decides_resumes}, ("S21",),
               ("resume-approved-under-a-later-policy",), "easy"),
    PlantedBug("B230", "a rollout is called effective before k replicas hold it", {"replica.rollouts:holders": whoever_can_be_told}, ("S21",),
               ("policy-storm",), "easy"),
    PlantedBug("B250", "a rollout whose place another took is called effective", {"replica.rollouts:outcome": held_is_effective}, ("S21",),
               ("rollouts-made-apart",), "easy"),
    PlantedBug("B251", "that another rollout took its place is not told of one that was effective", {"replica.rollouts:outcome": effective_for_good},
               ("S21",), ("rollouts-made-apart",), "easy"),
    PlantedBug("B252", "to roll a trial back forgets what was stable before the last promotion", {"rollout:rolled_back": back_to_where_it_was},
               ("S21",), ("trial-ended-after-a-promotion",), "easy"),
    PlantedBug("B253", "a canary decides one scope in a hundred too many", {"rollout:is_chosen": up_to_and_including}, ("S21",),
               ("canary-for-a-share",), "easy"),
    PlantedBug("B254", "of too many rollouts the oldest are kept", {"rollout:forget_old": forget_the_rest}, ("S21",),
               ("more-rollouts-than-are-kept",), "easy"),
    PlantedBug("B289", "a rule about a tenant says nothing of its agents", {"policy:_cedar_entities": entities_without_a_tenant}, ("S21",),
               ("each-tenant-has-its-rules",), "easy"),
    PlantedBug("B402", "a rollout that is refused is not answered", {"replica.rollouts:send": no_answer_but_yes}, ("L1",),
               ("more-than-they-may", "policy-storm"), "easy"),
    PlantedBug("B419", "a stop that the canary alone makes does not count for its guard", {"rollout:join": its_own_stops_are_no_raise}, ("S21",),
               ("canary-that-stops-what-is-forbidden",), "easy"),
)  # fmt: skip
