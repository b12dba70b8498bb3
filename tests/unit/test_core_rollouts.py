"""Rollouts at replicas: stages, the joint answer of two policies, the guard, going back, restarts, and how replicas come to agree (protocol 3.9)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import structs

from killswitch.core import audit, codec, intent, keys, policy, rollout, trust
from killswitch.core.bundles import PolicyNews, RolloutBody, RolloutRecord, RolloutRequest, RolloutStatus, Stage
from killswitch.core.certificates import ResumeDraft, ResumeStatus, ResumeSubmit
from killswitch.core.events import DiskFailed, DiskFreed, DiskFull, Send
from killswitch.core.intent import HARD, ISOLATE, QUIESCE, SOFT, Severity
from killswitch.core.messages import OrderRequest
from killswitch.core.policy import Bundle
from killswitch.core.rollout import KEPT_MAX, Snapshot
from killswitch.core.scopes import Scope
from scenarios import bundles
from tests.unit import pair
from tests.unit.one_sided import ONE, THREE, TWO, alone, control_plane, draft, drafts, request, statuses
from tests.unit.pair import AGENT, REPLICAS, SECOND, TRUST, Link

CAREFUL, LAX, FAILING, THREE_APPROVE = (
    bundles.text(name) for name in ("every-stop-is-hard", "too-lax", "reads-what-is-not-there", "three-approvers")
)  # fmt: skip


def roll(stage: str, text: str = "", name: str = "try", principal: str = "alice", percent: int = 100, guard: int = 9) -> RolloutRequest:
    return trust.sign_request(TRUST, RolloutRequest(name, principal, stage, text, "", percent, guard))


def in_force(link: Link, node: str = ONE) -> Snapshot:
    now: Snapshot = link[node].state.policies.in_force
    return now


def severities(link: Link, node: str = ONE) -> list[Severity]:
    return [known.severity for known in link[node].state.intent.orders.values()]


def said(link: Link, node: str = ONE) -> list[tuple[str, int]]:
    """What was answered, as far as it does not wait for the log."""
    seat = link[node]
    sends = (effect for effect in seat.effects if isinstance(effect, Send) and effect.after_lsn <= seat.durable)
    return [(effect.message.stage, effect.message.seq) for effect in sends if isinstance(effect.message, RolloutStatus)]


def to_canary(text: str, guard: int = 9) -> Link:
    link = control_plane()
    link.tell(ONE, roll("CANARY", text, guard=guard), "operator")
    link.run(SECOND)
    return link


# -- coming into force -----------------------------------------------------------------------------------------------------------------------


def test_a_rollout_decides_nothing_before_it_is_durable() -> None:
    link = alone()
    link[ONE].disk = "stuck"
    link.tell(ONE, roll("CANARY", CAREFUL), "operator")
    link.tell(ONE, request(SOFT), "operator")
    assert (in_force(link).seq, severities(link), said(link)) == (1, [SOFT], [])
    link.sync(ONE)
    link.tell(ONE, request(SOFT, name="another"), "operator")
    assert (in_force(link).seq, in_force(link).stage) == (2, "CANARY")
    assert severities(link)[-1] == HARD
    assert said(link) == [("ACCEPTED", 2)]


def test_a_replica_without_room_takes_no_rollout_on_that_it_is_asked_for() -> None:
    link = control_plane()
    link.give(ONE, DiskFull(9))
    known = len(link[ONE].records)
    link.tell(ONE, roll("CANARY", CAREFUL), "operator")
    link.run(SECOND)
    assert (link[ONE].kinds()[known:], said(link), in_force(link, TWO).seq) == ([], [], 1)
    link.give(ONE, DiskFreed())
    link.tell(ONE, roll("CANARY", CAREFUL), "operator")
    link.run(SECOND)
    assert (said(link)[0], in_force(link, TWO).seq) == (("ACCEPTED", 2), 2)


def test_a_peer_that_asks_is_told_of_no_rollout_before_it_is_durable() -> None:
    link = control_plane()
    link[ONE].disk = "stuck"
    link.tell(ONE, roll("CANARY", CAREFUL), "operator")
    link.tell(ONE, PolicyNews("another digest"), TWO)
    link.run(SECOND)
    assert (in_force(link, TWO).seq, link[TWO].kinds().count("POLICY_ROLLOUT")) == (1, 0)
    link[ONE].disk = "prompt"
    link.sync(ONE)
    link.run(2 * SECOND)
    assert in_force(link, TWO).stage == "CANARY"


def test_all_replicas_come_to_the_same_policy_and_a_retry_elsewhere_rolls_out_nothing_new() -> None:
    link = to_canary(CAREFUL)
    link.tell(THREE, roll("CANARY", CAREFUL), "operator")
    link.run(SECOND)
    assert [in_force(link, node).record for node in REPLICAS] == [in_force(link).record] * 3
    assert link[THREE].sent(RolloutStatus)[-1].stage == "EFFECTIVE"
    assert link[THREE].kinds().count("POLICY_ROLLOUT") == 1


def test_a_replica_that_heard_nothing_catches_up_by_gossip() -> None:
    link = control_plane()
    link.cut = lambda sender, to, message: THREE in (sender, to)
    link.tell(ONE, roll("CANARY", CAREFUL), "operator")
    link.tell(ONE, roll("STABLE", name="go"), "operator")
    link.run(SECOND)
    assert in_force(link, THREE).seq == 1
    link.cut = lambda sender, to, message: False
    link.run(2 * SECOND)
    assert in_force(link, THREE) == in_force(link)
    before = len(link[ONE].sent(PolicyNews))
    link.run(5 * SECOND)
    assert all(not news.records for news in link[ONE].sent(PolicyNews)[before:]), "once they agree, digests are enough"


def test_without_rollouts_nothing_is_said_of_policies() -> None:
    link = control_plane()
    link.run(5 * SECOND)
    assert all(not link[node].sent(PolicyNews) for node in REPLICAS)


@pytest.mark.parametrize(
    "spoiled",
    [
        structs.replace(roll("CANARY", CAREFUL), guard=1000),
        roll("CANARY", CAREFUL, principal="bob"),
        trust.sign_request(TRUST, RolloutRequest("try", pair.SIDECAR, "CANARY", CAREFUL)),
        roll("FORWARD", CAREFUL),
        roll("CANARY", "x" * 40_000),
        roll("STABLE"),
        roll("ROLLED_BACK"),
    ],
)
def test_what_nobody_may_ask_for_is_refused(spoiled: RolloutRequest) -> None:
    link = alone()
    link.tell(ONE, spoiled, "operator")
    assert [status.stage for status in link[ONE].sent(RolloutStatus)] == ["REFUSED"]
    assert in_force(link).seq == 1


def test_a_replica_that_can_persist_nothing_leaves_it_to_another() -> None:
    link = alone()
    link.give(ONE, DiskFailed(1))
    link.tell(ONE, roll("CANARY", CAREFUL), "operator")
    assert (link[ONE].sent(RolloutStatus), in_force(link).seq) == ([], 1)


def test_rollouts_of_nobody_in_the_control_plane_are_not_taken_in() -> None:
    link = alone()
    body = RolloutBody(9, Stage.STABLE, in_force(link).stable.digest, "", "", 0, "", 0, "mallory/x", "")
    raw = codec.pack(body)
    for signer in ("alice", "mallory", pair.SIDECAR):
        link.tell(ONE, PolicyNews("x", (), (RolloutRecord(raw, signer, pair.SIGNER.sign(signer, keys.ROLLOUT, raw)),)), TWO)
    good = trust.sign_rollout(TRUST, TWO, raw)
    link.tell(ONE, PolicyNews("x", (), (structs.replace(good, raw=good.raw + b"\0"),)), TWO)
    link.tell(ONE, PolicyNews("x", (), (good,)), pair.SIDECAR)
    assert in_force(link).seq == 1
    link.tell(ONE, PolicyNews("x", (), (good,)), TWO)
    assert in_force(link).seq == 9


def test_only_the_newest_are_kept_here_and_in_the_log() -> None:
    link = alone()
    for number in range(KEPT_MAX + 4):
        link.tell(ONE, roll("SHADOW", f"{CAREFUL}// {number}", name=f"try-{number}"), "operator")
    before = (in_force(link), link[ONE].machine.digest())
    policies = link[ONE].state.policies
    assert (len(policies.rollouts), in_force(link).seq) == (KEPT_MAX, KEPT_MAX + 5)
    assert len(policies.texts) <= KEPT_MAX + 2
    link.boot(ONE)
    assert (in_force(link), link[ONE].machine.digest()) == before


# -- deciding ------------------------------------------------------------------------------------------------------------------------------


def test_a_shadow_is_noted_and_decides_nothing() -> None:
    link = alone()
    link.tell(ONE, roll("SHADOW", CAREFUL), "operator")
    link.tell(ONE, request(SOFT), "operator")
    assert severities(link) == [SOFT]
    (decision,) = (audit.content(each) for each in link[ONE].records if each.kind == "DECISION")
    assert (decision["ruling"][1:3], decision["candidate"][1:3]) == ([1, 1], [2, 2])


@pytest.mark.parametrize(("text", "asked", "got"), [(CAREFUL, SOFT, HARD), (LAX, HARD, HARD), (LAX, SOFT, SOFT), (FAILING, SOFT, QUIESCE)])
def test_a_kill_under_a_canary_is_the_join(text: str, asked: Severity, got: Severity) -> None:
    link = to_canary(text)
    link.tell(TWO, request(asked), "operator")
    assert severities(link, TWO) == [got]
    (known,) = link[TWO].state.intent.orders.values()
    decision = known.body.decision
    assert (decision.policy_seq, decision.policy_hash, decision.raised) == (2, Bundle().digest, got != asked)
    assert decision.canary_hash == Bundle(text).digest


def test_what_the_canary_alone_would_allow_is_stopped_as_it_says() -> None:
    """The stable policy refuses to kill; one on trial does not."""
    link = control_plane()
    for name, stage, text in (("a", "SHADOW", LAX), ("b", "STABLE", ""), ("c", "CANARY", CAREFUL)):
        link.tell(ONE, roll(stage, text, name=name), "operator")
    link.tell(ONE, request(HARD), "operator")
    (known,) = link[ONE].state.intent.orders.values()
    assert (known.severity, known.body.decision.raised) == (HARD, True)


def test_the_share_of_a_canary_is_the_same_scopes_everywhere() -> None:
    one = Snapshot(2, "CANARY", Bundle(), Bundle(CAREFUL), percent=30, salt="s")
    asked = [
        policy.Request(principal="alice", action="order", authorised=True, tenant="t", scope_kind="agent", scope_value=f"t/{n}") for n in range(1000)
    ]
    chosen = [each for each in asked if rollout.is_chosen(one, each)]
    assert 240 < len(chosen) < 360
    assert [each for each in asked if rollout.is_chosen(structs.replace(one, percent=60), each) or each not in chosen] == asked
    assert not any(rollout.is_chosen(structs.replace(one, percent=0), each) for each in asked)
    assert all(rollout.is_chosen(structs.replace(one, percent=100), each) for each in asked)


def test_what_was_ordered_is_not_decided_anew_when_it_is_asked_for_again() -> None:
    link = control_plane()
    link.tell(ONE, request(SOFT), "operator")
    link.tell(ONE, roll("CANARY", CAREFUL), "operator")
    link.run(SECOND)
    for node in (ONE, TWO):
        link.tell(node, request(SOFT), "operator")
        assert severities(link, node) == [SOFT]
        assert statuses(link, node)[-1] == ("EFFECTIVE", 3)
    assert link[ONE].kinds().count("DECISION") == 1
    link.tell(TWO, request(HARD), "operator")
    assert sorted(severities(link, TWO)) == [SOFT, HARD], "but nobody gets less than he asks for by a name used twice"


def test_a_request_whose_order_was_lifted_under_an_earlier_policy_is_told_so() -> None:
    link = control_plane()
    link.tell(ONE, request(SOFT), "operator")
    (known,) = link[ONE].state.intent.orders.values()
    link.tell(ONE, ResumeSubmit("r", pair.resume(known.order)), "operator")
    link.tell(ONE, roll("CANARY", CAREFUL), "operator")
    link.tell(ONE, request(SOFT), "operator")
    assert (statuses(link)[-1][0], len(severities(link))) == ("ALREADY_COVERED", 1)


# -- the guard, and back ---------------------------------------------------------------------------------------------------------------------


def test_guards_that_trip_at_once_make_one_rollout() -> None:
    link = to_canary(CAREFUL, guard=1)
    link.cut = lambda sender, to, message: isinstance(message, PolicyNews)
    link.tell(ONE, request(SOFT), "operator")
    link.run(SECOND)
    assert in_force(link).stage == "CANARY"
    link.tell(TWO, request(SOFT, name="another"), "operator")
    link.run(SECOND)
    assert {(in_force(link, node).seq, in_force(link, node).stage, in_force(link, node).record) for node in REPLICAS} == {
        (3, "ROLLED_BACK", in_force(link).record)
    }
    assert all(link[node].kinds().count("POLICY_ROLLBACK") == 1 for node in REPLICAS)
    link.tell(ONE, request(SOFT, name="after"), "operator")
    assert severities(link)[-1] == SOFT
    assert sorted(severities(link))[-2:] == [HARD, HARD], "what was ordered stays ordered"


def test_stops_that_were_as_severe_anyway_do_not_count() -> None:
    link = to_canary(CAREFUL, guard=0)
    link.tell(ONE, request(HARD), "operator")
    link.run(SECOND)
    assert in_force(link).stage == "CANARY"


def test_back_is_a_step_forward() -> None:
    link = alone()
    for name, stage, text in (
        ("a", "CANARY", CAREFUL),
        ("b", "STABLE", ""),
        ("c", "CANARY", LAX),
        ("d", "ROLLED_BACK", ""),
        ("e", "ROLLED_BACK", ""),
    ):
        link.tell(ONE, roll(stage, text, name=name), "operator")
    seen = [(fact["seq"], fact["stage"], fact["stable"]) for fact in link[ONE].observed("rollout-changed")]
    careful, deployed = Bundle(CAREFUL).digest, Bundle().digest
    stages = ["CANARY", "STABLE", "CANARY", "ROLLED_BACK", "ROLLED_BACK"]
    assert seen == list(zip(range(2, 7), stages, [deployed, careful, careful, careful, deployed], strict=True))
    link.tell(ONE, roll("ROLLED_BACK", name="f"), "operator")
    assert (link[ONE].sent(RolloutStatus)[-1].stage, in_force(link).seq) == ("REFUSED", 6)


def test_of_two_rollouts_made_apart_the_one_back_wins() -> None:
    link = to_canary(CAREFUL)
    link.cut = lambda sender, to, message: THREE in (sender, to)
    link.tell(ONE, roll("STABLE", name="on"), "operator")
    link.tell(THREE, roll("ROLLED_BACK", name="back"), "operator")
    link.run(SECOND)
    assert [in_force(link, node).stage for node in REPLICAS] == ["STABLE", "STABLE", "ROLLED_BACK"]
    link.cut = lambda sender, to, message: False
    link.run(2 * SECOND)
    assert [(in_force(link, node).stage, in_force(link, node).seq) for node in REPLICAS] == [("ROLLED_BACK", 3)] * 3


# -- resumes ---------------------------------------------------------------------------------------------------------------------------------


def ask_resume(link: Link, node: str) -> list[ResumeDraft]:
    link.tell(node, draft(), "operator")
    link.run(SECOND // 10)
    return drafts(link, node)


def stopped_under(text: str) -> Link:
    link = control_plane()
    link.tell(ONE, request(HARD), "operator")
    for name, stage, tried in (("a", "CANARY", text), ("b", "STABLE", "")):
        link.tell(ONE, roll(stage, tried, name=name), "operator")
    link.run(2 * SECOND)
    return link


def test_a_policy_that_fails_lets_nothing_be_resumed() -> None:
    (shown,) = ask_resume(stopped_under(FAILING), TWO)
    assert shown.stage == "REFUSED"


@pytest.mark.parametrize(("people", "stage"), [(("bob", "carol"), "REFUSED"), (("bob", "carol", "dave"), "ACCEPTED")])
def test_everybody_holds_a_resume_to_the_approvals_that_policy_asked_for(people: tuple[str, ...], stage: str) -> None:
    link = stopped_under(THREE_APPROVE)
    (shown,) = ask_resume(link, TWO)
    assert shown.approvals_needed == 3
    certificate = pair.signed(shown.raw, *people)
    assert (trust.read_certificate(TRUST, certificate) is not None) == (stage == "ACCEPTED"), "a sidecar reads it so, and knows no policy"
    draft = trust.read_draft(shown.raw)
    assert draft is not None
    other = next(each.replica for each in draft.ends if each.replica != TWO)  # that was heard, so it can tell the age of the draft
    link.tell(other, ResumeSubmit("again", certificate), "operator")
    link.run(SECOND)
    assert [status.stage for status in link[other].sent(ResumeStatus)] == [stage]


@pytest.mark.parametrize(("tried", "people", "stage"), [(THREE_APPROVE, 2, "REFUSED"), (THREE_APPROVE, 3, "ACCEPTED"), (FAILING, 3, "REFUSED")])
def test_a_certificate_is_decided_on_anew_where_it_is_handed_in_and_that_is_on_record(tried: str, people: int, stage: str) -> None:
    link = control_plane()
    link.tell(ONE, request(HARD), "operator")
    link.run(SECOND)
    (shown,) = ask_resume(link, ONE)
    assert shown.approvals_needed == 2
    certificate = pair.signed(shown.raw, *("bob", "carol", "dave")[:people])
    link.tell(ONE, roll("CANARY", tried), "operator")
    for _ in range(2):
        link.tell(ONE, ResumeSubmit("again", certificate), "operator")
    link.run(SECOND)
    assert [status.stage for status in link[ONE].sent(ResumeStatus)] == [stage, stage]
    bodies = (audit.content(each) for each in link[ONE].records if each.kind == "DECISION")
    decided = [body for body in bodies if body["request"] == "again"]
    assert {each["ruling"][0] for each in decided} == {tried == THREE_APPROVE}
    if stage == "ACCEPTED":
        assert [each["order"] for each in decided] == [intent.content_id(certificate.raw)], "once, and for that certificate"


def test_a_replica_that_is_behind_waits_for_the_policy_before_it_decides() -> None:
    link = control_plane()
    link.tell(ONE, request(HARD), "operator")
    link.run(SECOND)
    link.cut = lambda sender, to, message: to == THREE and isinstance(message, PolicyNews)
    for name, stage, tried in (("a", "CANARY", THREE_APPROVE), ("b", "STABLE", "")):
        link.tell(ONE, roll(stage, tried, name=name), "operator")
    assert ask_resume(link, THREE) == []
    link.cut = lambda sender, to, message: False
    link.run(2 * SECOND)
    (shown,) = drafts(link, THREE)
    assert (shown.stage, shown.approvals_needed) == ("DRAFTED", 3)


def test_of_two_rollouts_that_become_durable_at_once_nothing_is_decided_by_the_first() -> None:
    """A log that syncs in one go: found by the swarm, which had a resume decided between the two."""
    link = control_plane()
    link.tell(ONE, request(HARD), "operator")
    link.run(SECOND)
    link[THREE].disk = "stuck"
    for name, stage, tried in (("a", "CANARY", THREE_APPROVE), ("b", "STABLE", "")):
        link.tell(ONE, roll(stage, tried, name=name), "operator")
    link.run(SECOND)
    link.tell(THREE, draft(), "operator")
    waiting = next(iter(link[THREE].state.drafts.values()))
    assert waiting.policy_seq == 3
    waiting.policy_seq = 2  # as if those who were heard had been told of the first alone
    link.sync(THREE)
    (shown,) = drafts(link, THREE)
    body = trust.read_draft(shown.raw)
    assert body is not None
    assert body.decision.policy_seq == 3


def test_a_draft_that_is_two_rollouts_old_has_to_be_made_anew() -> None:
    link = control_plane()
    link.tell(ONE, request(HARD), "operator")
    link.run(SECOND)
    (shown,) = ask_resume(link, ONE)
    certificate = pair.signed(shown.raw, "bob", "carol", "dave")
    for name, stage, tried in (("a", "CANARY", THREE_APPROVE), ("b", "STABLE", "")):
        link.tell(ONE, roll(stage, tried, name=name), "operator")
    link.tell(ONE, ResumeSubmit("again", certificate), "operator")
    assert [status.stage for status in link[ONE].sent(ResumeStatus)] == ["NEEDS_CONTEXT"]


# -- the policies of the library ---------------------------------------------------------------------------------------------------------------


def cases() -> list[tuple[str, dict[str, Any]]]:
    return [(name, case) for name, listed in json.loads(bundles.CASES.read_text()).items() for case in listed]


def test_every_policy_has_its_cases() -> None:
    assert sorted({name for name, _ in cases()}) == list(bundles.NAMES)


@pytest.mark.parametrize(("name", "case"), cases())
def test_a_policy_of_the_library_rules_as_its_author_expects(name: str, case: dict[str, Any]) -> None:
    tenant = case.get("tenant", "acme")
    scope = {"agent": AGENT, "tenant": tenant, "global": ""}[case["scope"]]
    asked = policy.Request(
        principal="alice", action=case["action"], authorised=case.get("authorised", True), tenant=tenant, scope_kind=case["scope"], scope_value=scope,
        gate=case.get("gate", 0), life=case.get("life", 0), grace_ns=4 * SECOND, grace_max_ns=4 * SECOND, approvals=2,
        asking=case.get("asking", 1),
    )  # fmt: skip
    ruling = policy.decide(Bundle(bundles.text(name)), asked)
    assert {key: getattr(ruling, key) for key in case["expect"]} == case["expect"]


def test_an_isolate_of_one_agent_still_takes_one_key_under_every_policy_that_allows_it() -> None:
    for name in bundles.NAMES:
        link = to_canary(bundles.text(name))
        isolate = OrderRequest("i", "alice", "acme", Scope("agent", AGENT), *ISOLATE, 0, "drill")
        link.tell(ONE, trust.sign_request(TRUST, isolate), "operator")
        assert severities(link)[0].gate == ISOLATE.gate
