"""L8: what grows has a bound, and a flood delays neither a kill nor a lease of those who have no part in it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from harness.verdict import Verdict
from tests.unit.histories import AGENT, SECOND, SIDECAR, Story

FLOODERS = ("sidecar/globex/1", "replica/1", "replica/2", "replica/3")
DUE_NS = 5_125_000_000  # (2 R + gossip) / (1 - rho) + slack


def asked(story: Story, request: str = "r") -> int:
    who: dict[str, Any] = {"principal": "alice", "tenant": "acme", "scope": ["tenant", "acme"]}
    return story.say("order-requested", "operator", clock_ns=None, request=request, gate=2, life=2, grace_ns=0, reason="drill", cleanup="none", **who)


def flooded() -> Story:
    story = Story()
    story.start_all()
    story.at(SECOND).fault("overload", *FLOODERS)
    return story


def ebb(story: Story, at_ns: int) -> Story:
    story.at(at_ns).say("fault-off", "world", fault="f1", what="overload")
    return story


def killed(learned_ns: int) -> Story:
    """A kill is asked for at 2 s in a flood, and learned by the sidecar then."""
    story = flooded()
    story.at(2 * SECOND)
    asked(story)
    story.effective("o1", "HARD")
    story.say("order-status", "operator", request="r", order="o1", stage="EFFECTIVE", copies=2, keys=0)
    story.at(learned_ns).learn(SIDECAR, "o1", "HARD")
    ebb(story, 20 * SECOND)
    story.heal()
    story.at(60 * SECOND).end()
    return story


def test_a_kill_under_load_is_on_time_exactly_up_to_the_bound() -> None:
    finding = killed(2 * SECOND + DUE_NS).judged("L8")
    assert (finding.verdict, finding.observed_ns, finding.bound_ns) == (Verdict.VALID, DUE_NS, DUE_NS)
    late = killed(2 * SECOND + DUE_NS + 1).judged("L8")
    assert late.verdict is Verdict.INVALID
    assert "1 ns after that was due" in late.why


def test_what_the_network_always_takes_is_no_matter_of_load() -> None:
    def slow(latency_ns: int, late_ns: int) -> Verdict:
        story = killed(2 * SECOND + DUE_NS + late_ns)
        topology = story.facts[1]
        story.facts[1] = structs.replace(topology, body={**topology.body, "parameters": {**topology.body["parameters"], "latency_ns": latency_ns}})
        return story.judged("L8").verdict

    assert slow(SECOND, 3 * SECOND) is Verdict.VALID
    assert slow(SECOND, 3 * SECOND + 1) is Verdict.INVALID
    assert slow(0, 1) is Verdict.INVALID


@pytest.mark.parametrize(("late_ns", "verdict"), [(0, Verdict.VALID), (1, Verdict.INVALID)])
def test_what_a_stop_escalates_to_is_due_from_then_on(late_ns: int, verdict: Verdict) -> None:
    story = flooded()
    story.at(2 * SECOND)
    asked(story)
    story.effective("o1", "SOFT", grace_ns=6 * SECOND)
    story.at(2 * SECOND + 1).learn(SIDECAR, "o1", "SOFT", grace_ns=6 * SECOND)
    story.at(11 * SECOND).effective("o2", "HARD", parent="o1")
    for order in ("o1", "o2"):
        story.say("order-status", "operator", request="r", order=order, stage="EFFECTIVE", copies=2, keys=0)
    story.at(11 * SECOND + DUE_NS + late_ns).learn(SIDECAR, "o2", "HARD", parent="o1")
    ebb(story, 20 * SECOND).heal()
    story.at(60 * SECOND).end()
    assert story.judged("L8").verdict is verdict


def test_a_kill_that_a_partition_held_up_is_no_matter_of_load() -> None:
    story = flooded()
    story.at(2 * SECOND).fault("partition", SIDECAR, "replica/1", fault="f2")
    asked(story)
    story.effective("o1", "HARD")
    story.say("order-status", "operator", request="r", order="o1", stage="EFFECTIVE", copies=2, keys=0)
    story.at(3 * SECOND).say("fault-off", "world", fault="f2", what="partition")
    story.at(15 * SECOND).learn(SIDECAR, "o1", "HARD")
    ebb(story, 20 * SECOND).heal()
    story.at(60 * SECOND).end()
    assert story.judged("L8").verdict is Verdict.VALID


@pytest.mark.parametrize(("order", "node", "verdict"), [("o1", SIDECAR, Verdict.VALID), ("o2", SIDECAR, Verdict.INVALID),
                                                        ("o1", "replica/1", Verdict.INVALID)])  # fmt: skip
def test_who_outlived_no_reading_of_an_order_does_not_owe_it_to_learn_it(order: str, node: str, verdict: Verdict) -> None:
    story = flooded()
    story.at(2 * SECOND)
    asked(story)
    story.effective("o1", "HARD")
    story.say("order-status", "operator", request="r", order="o1", stage="EFFECTIVE", copies=2, keys=0)
    story.at(3 * SECOND).say("order-quarantined", node, order=order)
    ebb(story, 20 * SECOND).heal()
    story.at(60 * SECOND).end()
    assert story.judged("L8").verdict is verdict


def test_a_lease_that_is_lost_to_somebody_elses_flood_is_a_violation_and_to_ones_own_is_none() -> None:
    for node, agent, verdict in ((SIDECAR, AGENT, Verdict.INVALID), ("sidecar/globex/1", "globex/1", Verdict.VALID)):
        story = Story(agents=(AGENT, "globex/1"))
        story.start_all()
        story.start("sidecar/globex/1")
        story.at(30 * SECOND).fault("overload", *FLOODERS)
        story.at(40 * SECOND).say("lease-lost", node, agent=agent, token=[1, 1, "a"])
        ebb(story, 45 * SECOND).heal()
        story.at(60 * SECOND).end()
        assert story.judged("L8").verdict is verdict


def test_one_request_gives_one_order() -> None:
    story = Story()
    asked(story)
    asked(story)  # a retry
    story.learn("replica/1", "o1", "HARD")
    assert story.judged("L8").verdict is Verdict.VALID
    second = story.learn("replica/2", "o2", "HARD")
    finding = story.judged("L8")
    assert (finding.verdict, finding.witness) == (Verdict.INVALID, (second,))


@pytest.mark.parametrize(
    "other",
    [{"grace_ns": SECOND}, {"gate": 2}, {"life": 2}, {"scope": ["tenant", "acme"]}, {"reason": "other"}, {"cleanup": "compensate"},
     {"principal": "bob"}, {"tenant": "globex"}, {"request": "s"}],
)  # fmt: skip
def test_who_asks_again_for_anything_else_asks_for_another_order(other: dict[str, Any]) -> None:
    story = Story()
    for content in ({}, {}, other):
        who: dict[str, Any] = {"request": "r", "principal": "alice", "tenant": "acme", "scope": ["agent", AGENT], "reason": "drill"}
        story.say("order-requested", "operator", **{**who, "cleanup": "none", "gate": 1, "life": 1, "grace_ns": 9 * SECOND, **content})
    for order in ("o1", "o2"):
        story.learn("replica/1", order, "SOFT")
    assert story.judged("L8").verdict is Verdict.VALID
    story.learn("replica/1", "o3", "SOFT")
    assert story.judged("L8").verdict is Verdict.INVALID


def test_an_order_in_the_name_of_somebody_who_asked_for_nothing_is_not_counted() -> None:
    story = Story()
    asked(story)
    story.learn("replica/1", "o1", "HARD")
    story.learn("replica/1", "o2", "HARD", issuer="mallory")
    assert story.judged("L8").verdict is Verdict.VALID


def log(story: Story, records: int) -> int:
    return story.say("log-verified", "replica/1", writer="replica/1", records=records, cosigned=0, sound=True, why="", returned=[])


def test_a_log_has_its_share_and_not_one_record_more() -> None:
    share = 256 + 4 * 2 * (100 // 5) + 100 * 2
    for records, verdict in ((share, Verdict.VALID), (share + 1, Verdict.INVALID)):
        story = Story().at(100 * SECOND)
        log(story, records)
        assert story.judged("L8").verdict is verdict


def test_after_the_heal_nobody_hears_more_than_others_have_to_say() -> None:
    share = 256 + 8 * 4 * 21
    for heard, verdict in ((share, Verdict.VALID), (share + 1, Verdict.INVALID)):
        story = Story().at(10 * SECOND)
        story.heal()
        story.at(20 * SECOND).say("messages-heard", "replica/1", since_heal=heard)
        assert story.judged("L8").verdict is verdict


@pytest.mark.parametrize(("seq", "verdict"), [(2, Verdict.VALID), (1, Verdict.INVALID)])
def test_a_request_gives_one_order_under_each_rollout_that_it_was_ruled_on_under(seq: int, verdict: Verdict) -> None:
    """Found by the swarm: a retry reached a replica that had heard of a newer policy and not of the order."""
    story = Story()
    story.start_all()
    asked(story)
    story.learn("replica/1", "o1", "SOFT")
    story.decide("replica/1", request="r", order="o1")
    story.say("rollout-changed", "replica/2", record="r2", seq=2, stage="STABLE", stable="q", canary="")
    surplus = story.learn("replica/2", "o2", "HARD")
    story.decide("replica/2", request="r", order="o2", seq=seq)
    story.at(60 * SECOND).end()
    finding = story.judged("L8")
    assert finding.verdict is verdict
    assert finding.witness == (() if verdict is Verdict.VALID else (surplus,))


def stopped_itself(*, lifted: bool) -> Story:
    """A sidecar gives its agent two stops of its own."""
    story = Story()
    story.start_all()
    who: dict[str, Any] = {"tenant": "acme", "scope": ["agent", AGENT], "issuer": SIDECAR, "signer": SIDECAR, "parent": "", "authentic": True}
    who["decided"] = [0, "", ""]
    for number in (1, 2):
        story.say("order-learned", SIDECAR, order=f"o{number}", gate=2, life=1, grace_ns=0, reason="", cleanup="none", **who)
        if lifted:
            story.certify(SIDECAR, f"c{number}", f"o{number}")
    return story


def test_a_sidecars_own_stop_takes_no_request_but_there_is_no_second_while_the_first_stands() -> None:
    assert stopped_itself(lifted=True).judged("L8").verdict is Verdict.VALID
    finding = stopped_itself(lifted=False).judged("L8")
    assert finding.verdict is Verdict.INVALID
    assert "before anybody had lifted" in finding.why
