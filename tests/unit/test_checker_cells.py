"""Where there are two cells, each agent is judged by its home: what another cell holds, grants or says counts for nothing there."""

from __future__ import annotations

from harness.verdict import Verdict
from tests.unit.histories import AGENT, HARD_NS, SECOND, SIDECAR, Story

ABROAD = ("replica/4", "replica/5", "replica/6")


def story() -> Story:
    """The agent's home is the second cell."""
    told = Story(agents=(AGENT, "globex/1"), homes=(AGENT,))
    told.start_all()
    told.start(*ABROAD)
    return told


def durable(told: Story, *replicas: str) -> int:
    for replica in replicas:
        told.learn(replica, "o1", "HARD")
    return [told.say("order-durable", replica, order="o1") for replica in replicas][-1]


def test_an_order_binds_an_agent_from_when_its_home_holds_it() -> None:
    told = story()
    told.at(SECOND)
    durable(told, "replica/1", "replica/2", "replica/3", "replica/4")
    told.at(SECOND + HARD_NS + 1).admit()
    assert told.judged("S1").verdict is Verdict.VALID
    durable(told, "replica/5")
    told.at(told.at_ns + HARD_NS + 1).admit()
    finding = told.judged("S1")
    assert finding.verdict is Verdict.INVALID
    assert f"T1 allows {HARD_NS} ns" in finding.why


def status(told: Story, cell: int, stage: str, copies: int) -> int:
    return told.say("cell-status", "operator", request="r1", order="o1", cell=cell, stage=stage, copies=copies)


def test_of_each_cell_what_it_holds_may_be_said_and_no_more() -> None:
    told = story()
    durable(told, "replica/1", "replica/2", "replica/4")
    status(told, 1, "EFFECTIVE", 2)
    status(told, 2, "ACCEPTED", 1)
    assert told.judged("S20").verdict is Verdict.VALID
    wrong = status(told, 2, "EFFECTIVE", 2)
    finding = told.judged("S20")
    assert (finding.verdict, finding.witness[-1]) == (Verdict.INVALID, wrong)


def test_of_a_whole_order_effective_is_said_when_every_cell_that_it_concerns_holds_it() -> None:
    for last, verdict in (("replica/3", Verdict.INVALID), ("replica/5", Verdict.VALID)):
        told = story()
        durable(told, "replica/1", "replica/2", "replica/4", last)
        told.say("order-status", "operator", request="r1", order="o1", stage="EFFECTIVE", copies=4, keys=0)
        assert told.judged("S20").verdict is verdict


def test_grants_of_another_cell_make_no_lease() -> None:
    for granters, verdict in ((("replica/1", "replica/2", "replica/3", "replica/4"), Verdict.INVALID), (ABROAD[:2], Verdict.VALID)):
        told = story()
        who = {"agent": AGENT, "nonce": "n1", "token": [1, 1, "a"]}
        told.say("lease-requested", SIDECAR, clock_ns=None, instance="a", **who)
        for replica in granters:
            told.say("lease-granted", replica, clock_ns=None, replica=replica, len_ns=5 * SECOND, **who)
        told.say("lease-opened", SIDECAR, clock_ns=None, until_ns=told.at_ns + 5 * SECOND, **who)
        assert told.judged("S19").verdict is verdict
