"""S8, S9 and S19 on hand-made histories of what only a second look shows: predecessors called over, forked granters, sinks without keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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


@pytest.mark.parametrize(("waited_ns", "verdict"), [(RESIDUE_NS, Verdict.VALID), (RESIDUE_NS - 1, Verdict.INVALID)])
def test_what_was_measured_before_a_doubt_of_that_clock_was_measured_on_none(waited_ns: int, verdict: Verdict) -> None:
    story = running(Story())
    story.grant("replica/1", clock_ns=700)
    story.say("clock-suspected", "replica/1", clock_ns=SECOND, peers=["replica/2", "replica/3"])
    story.say("clock-trusted", "replica/1", clock_ns=6 * SECOND)
    readied(story, clock_ns=6 * SECOND + waited_ns)
    assert story.judged("S8").verdict is verdict


@pytest.mark.parametrize(("copied", "verdict"), [("asked for", Verdict.VALID), ("opened", Verdict.VALID), ("running", Verdict.INVALID)])
def test_a_copy_that_was_taken_before_anything_ran_proves_that_of_its_own_host(copied: str, verdict: Verdict) -> None:
    story = Story()
    story.fence(FIRST)
    for replica in ("replica/1", "replica/2"):
        story.say("start-readied", replica, agent=AGENT, token=FIRST)
    steps: dict[str, Callable[[], int]] = {
        "asked for": lambda: story.say("start-proposed", SIDECAR, agent=AGENT, token=FIRST, told=(0, 0, ""), by="", over=(0, 0, "")),
        "opened": lambda: story.say("token-opened", SIDECAR, agent=AGENT, token=FIRST, predecessor=(0, 0, "")),
        "running": story.spawn,
    }
    for step, take in steps.items():
        take()
        if step == copied:
            story.say("node-cloned", SIDECAR, copy=f"{SIDECAR}~2", records=2)
    story.grant("replica/1", clock_ns=700)
    said = readied(story, clock_ns=700 + RESIDUE_NS - 1)
    finding = story.judged("S8")
    assert finding.verdict is verdict
    assert copied != "running" or finding.witness[-1] == said


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


@pytest.mark.parametrize("how", ["disk-lost", "log-cut"])
@pytest.mark.parametrize("did", ["lease-granted", "promise-sent", "start-readied"])
@pytest.mark.parametrize("taught", [True, False])
def test_who_may_have_forgotten_vouches_for_no_start_in_whichever_of_its_lives(how: str, did: str, taught: bool) -> None:
    story = Story()
    story.start_all()
    if how == "disk-lost":
        story.fault(how, "replica/1")
    story.crash("replica/1")
    forgot = story.start("replica/1", boot="boot-2", instance="b")
    if how == "log-cut":
        forgot = story.say("log-cut", "replica/1", records=3, why="unreadable")
    if taught:
        story.say("replica-joined", "replica/1", teachers=["replica/2", "replica/3"])
    else:
        story.crash("replica/1")
        story.start("replica/1", boot="boot-3", instance="c")
    index = story.grant("replica/1") if did == "lease-granted" else story.say(did, "replica/1", agent=AGENT, token=FIRST)
    finding = story.judged("S8")
    assert (finding.verdict, finding.witness) == ((Verdict.VALID, ()) if taught else (Verdict.INVALID, (forgot, index)))


@pytest.mark.parametrize(("told", "caught", "verdict"), [
    (FIRST, False, Verdict.VALID), ([1, 2, ""], False, Verdict.VALID), (SECOND_START, False, Verdict.INVALID), ([1, 3, "c"], False, Verdict.INVALID),
    ([1, 3, "c"], True, Verdict.VALID),
])  # fmt: skip
def test_a_start_asks_for_more_than_it_was_told_of(told: list[Any], caught: bool, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    if caught:
        story.say("fork-proven", SIDECAR, origin="replica/1", first=3, second=3)
    asked = story.say("start-proposed", SIDECAR, agent=AGENT, token=SECOND_START, told=told, by="replica/1", over=FIRST)
    finding = story.judged("S8")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (asked,)


@pytest.mark.parametrize(("over", "custody", "verdict"), [
    (FIRST, False, Verdict.VALID), (SECOND_START, False, Verdict.VALID), ((), False, Verdict.INVALID), ([1, 1, "A"], False, Verdict.INVALID),
    ((), True, Verdict.VALID),
])  # fmt: skip
def test_a_start_says_that_the_one_before_it_is_over(over: Any, custody: bool, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    if custody:
        story.fault("disk-lost", SIDECAR)
    for replica in ("replica/1", "replica/3"):
        story.say("start-readied", replica, agent=AGENT, token=FIRST)
    opened = story.say("token-opened", SIDECAR, agent=AGENT, token=FIRST, predecessor=())
    asked = story.say("start-proposed", SIDECAR, agent=AGENT, token=[1, 3, "c"], told=FIRST, by="replica/1", over=over)
    finding = story.judged("S8")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (opened, asked)


@pytest.mark.parametrize(("ready", "verdict"), [
    (("replica/1", "replica/3"), Verdict.VALID), (("replica/1",), Verdict.INVALID), (("replica/1", "replica/1"), Verdict.INVALID),
    (("replica/1", "replica/4"), Verdict.INVALID),
])  # fmt: skip
def test_a_token_is_opened_when_a_quorum_of_its_cell_calls_the_predecessor_over(ready: tuple[str, ...], verdict: Verdict) -> None:
    story = Story(homes=("acme/2",), agents=(AGENT, "acme/2"))
    for replica in ready:
        readied(story, replica)
    opened = story.say("token-opened", SIDECAR, agent=AGENT, token=SECOND_START, predecessor=FIRST)
    finding = story.judged("S8")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (opened,)


@pytest.mark.parametrize(("taught", "before", "verdict"), [
    (SECOND_START, True, Verdict.VALID), (FIRST, True, Verdict.INVALID), (None, True, Verdict.INVALID), (None, False, Verdict.VALID),
])  # fmt: skip
def test_who_lost_its_disk_holds_what_its_teachers_had_promised_before_it_asked(taught: list[Any] | None, before: bool, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    story.say("token-promised", "replica/1", agent=AGENT, token=SECOND_START)
    story.fault("disk-lost", "replica/1")
    story.crash("replica/1", power=True)
    promised = 0
    for when in (True, False):
        if when is before:
            promised = story.say("token-promised", "replica/2", agent=AGENT, token=SECOND_START)
        if when:
            story.start("replica/1", boot="boot-2", instance="b")
    if taught is not None:
        story.say("token-promised", "replica/1", agent=AGENT, token=taught)
    joined = story.say("replica-joined", "replica/1", teachers=["replica/2", "replica/3"])
    finding = story.judged("S8")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (promised, joined)


def test_a_teacher_that_lost_its_own_disk_could_not_tell() -> None:
    story = Story()
    story.start_all()
    story.say("token-promised", "replica/2", agent=AGENT, token=FIRST)
    for replica in ("replica/1", "replica/2"):
        story.fault("disk-lost", replica, fault=replica)
        story.crash(replica, power=True)
        story.start(replica, boot="boot-2", instance="b")
    story.say("replica-joined", "replica/1", teachers=["replica/2", "replica/3"])
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


@pytest.mark.parametrize(("but", "later_ns", "verdict"), [
    ("", 5 * SECOND, Verdict.VALID), ("", 5 * SECOND - 1, Verdict.INVALID), ("one of them only", 0, Verdict.VALID),
    ("one took it back", 0, Verdict.VALID), ("nothing ran", 0, Verdict.VALID), ("fenced out", 0, Verdict.VALID), ("restarted", 0, Verdict.VALID),
])  # fmt: skip
def test_whose_token_is_promised_away_asks_for_another_a_lease_later(but: str, later_ns: int, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    story.fence(SECOND_START if but == "fenced out" else FIRST)
    if but != "nothing ran":
        story.spawn()
    story.at(SECOND)
    away = 0
    for replica in ("replica/1", "replica/2")[: 1 if but == "one of them only" else 2]:
        if but == "one took it back" and replica == "replica/2":
            story.say("promised-away", SIDECAR, agent=AGENT, token=FIRST, replica="replica/1", promised=FIRST)
        away = story.say("promised-away", SIDECAR, agent=AGENT, token=FIRST, replica=replica, promised=SECOND_START)
    if but == "restarted":
        story.start(SIDECAR, boot="boot-2")
    asked = story.at(SECOND + later_ns).say(
        "start-proposed", SIDECAR, agent=AGENT, token=[1, 4, "a"], told=SECOND_START, by="replica/1", over=SECOND_START
    )
    finding = story.judged("S8")
    assert finding.verdict is verdict, finding.why
    assert verdict is Verdict.VALID or finding.witness == (away, asked)
