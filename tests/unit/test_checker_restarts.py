"""S8, S9 and S19 on hand-made histories of what only a second look shows: predecessors called over, forked granters, sinks without keys."""

from __future__ import annotations

import pytest

from harness.verdict import Verdict
from tests.unit.histories import AGENT, BANK, FIRST, LEDGER, SECOND, SECOND_START, SIDECAR, Story

# W = L (1 + rho) / (1 - rho) with the lease of 5 s and the drift of 20 %, and P of half a second.
RESIDUE_NS = 8 * SECOND
WIRE = "sink/acme/wire"


def running(story: Story) -> Story:
    """Started as it should be, fenced at its token."""
    story.fence(FIRST)
    story.spawn()
    return story


def readied(story: Story, replica: str = "replica/1", clock_ns: int = 0) -> int:
    return story.say("start-readied", replica, clock_ns=clock_ns, agent=AGENT, token=SECOND_START)


# -- S8


@pytest.mark.parametrize(("waited_ns", "verdict"), [(RESIDUE_NS, Verdict.VALID), (RESIDUE_NS - 1, Verdict.INVALID)])
def test_a_predecessor_is_over_when_its_leases_are_by_the_replicas_own_clock(waited_ns: int, verdict: Verdict) -> None:
    story = running(Story())
    granted = story.grant("replica/1", clock_ns=700)
    said = readied(story, clock_ns=700 + waited_ns)
    finding = story.judged("S8")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (granted, said)


def test_or_when_it_is_proven_or_every_sink_fences_it_or_the_replica_granted_nothing_since_it_started() -> None:
    reaped, fenced, another, restarted = Story(), Story(sinks={LEDGER: "F"}), Story(), Story()
    for story in (reaped, fenced, another, restarted):
        running(story).grant("replica/1")
    reaped.reap()
    restarted.start("replica/1")
    for story in (reaped, fenced, restarted):
        readied(story)
    readied(another, "replica/2")
    for story in (reaped, fenced, another, restarted):
        assert story.judged("S8").verdict is Verdict.VALID


# -- S9


def test_what_keeps_no_keys_is_sent_nothing_twice() -> None:
    for sink, verdict in ((WIRE, Verdict.INVALID), (BANK, Verdict.VALID)):
        story = Story(sinks={LEDGER: "F", BANK: "C", WIRE: "U"})
        story.admit(sink=sink)
        story.admit(sink=sink)
        assert story.judged("S9").verdict is verdict


def test_unless_it_refused() -> None:
    story = Story(sinks={WIRE: "U"})
    story.admit(sink=WIRE)
    story.say("effect-rejected", WIRE, sink=WIRE, agent=AGENT, token=SECOND_START, key="k1", why="busy")
    story.admit(sink=WIRE)
    assert story.judged("S9").verdict is Verdict.VALID


# -- S19


def test_a_replica_that_knows_that_it_keeps_two_logs_grants_nothing() -> None:
    story = Story()
    proof = story.say("fork-proven", "replica/1", origin="replica/1", first=3, second=3)
    granted = story.grant("replica/1")
    assert story.judged("S19").witness == (proof, granted)


def test_nor_does_a_sidecar_that_knows_it_count_its_grants() -> None:
    for granters, verdict in ((("replica/1", "replica/2"), Verdict.INVALID), (("replica/1", "replica/2", "replica/3"), Verdict.VALID)):
        story = Story()
        story.say("fork-proven", SIDECAR, origin="replica/1", first=3, second=3)
        story.ask()
        for replica in granters:
            story.grant(replica)
        story.say("lease-opened", SIDECAR, agent=AGENT, nonce="n1", token=FIRST, until_ns=5 * SECOND)
        assert story.judged("S19").verdict is verdict
