"""What is judged of a node whose disk lied or lost what it held (A2), and what is skipped and counted."""

from __future__ import annotations

import pytest

from harness.verdict import Verdict
from tests.unit.histories import AGENT, HARD_NS, LEDGER, SIDECAR, Story


def forgets(story: Story, node: str, fault: str = "disk-lost") -> int:
    if fault:
        story.fault(fault, node, fault=f"{fault} {node}")
    story.crash(node, power=True)
    story.start(node, boot="boot-2", instance="b")
    return story.recover(node)


@pytest.mark.parametrize("fault", ["disk-lost", "disk-lie", "bit-flip", ""])
@pytest.mark.parametrize("invariant", ["S4", "S11"])
def test_only_a_disk_that_broke_its_promise_excuses_forgetting(fault: str, invariant: str) -> None:
    story = Story()
    story.start_all()
    story.learn(SIDECAR, "o1")
    story.keep(SIDECAR, "o1")
    story.prove("o1", "GATE_CLOSED")
    forgets(story, SIDECAR, fault)
    finding = story.judged(invariant)
    assert finding.verdict is (Verdict.VALID if fault else Verdict.INVALID)
    assert ("1 skipped" in finding.why) is (bool(fault) and invariant == "S11")


@pytest.mark.parametrize(("struck", "fault", "verdict"), [
    (("replica/1",), "disk-lost", Verdict.INVALID), (("replica/1",), "bit-flip", Verdict.INVALID), (("replica/1",), "disk-lie", Verdict.VALID),
    (("replica/1", "replica/2"), "disk-lost", Verdict.VALID), ((SIDECAR,), "disk-lie", Verdict.INVALID), ((LEDGER,), "disk-lie", Verdict.INVALID),
])  # fmt: skip
def test_the_stop_bound_holds_through_the_loss_of_one_disk_and_not_through_a_lie_or_two(
    struck: tuple[str, ...], fault: str, verdict: Verdict
) -> None:
    story = Story()
    story.start_all()
    story.effective("o1")
    for node in struck:
        forgets(story, node, fault)
    story.at(HARD_NS + 1).lease()
    story.admit()
    assert story.judged("S1").verdict is verdict


def test_a_replica_that_forgot_owes_nothing_for_what_it_no_longer_holds_and_everything_for_what_it_learns_again() -> None:
    story = Story()
    story.start_all()
    story.effective("o1")
    forgets(story, "replica/1")
    story.ask()
    story.grant("replica/1")
    assert story.judged("S7").verdict is Verdict.VALID
    story.learn("replica/1", "o1")
    story.grant("replica/1")
    assert story.judged("S7").verdict is Verdict.INVALID


def test_an_agent_shares_the_disk_of_its_sidecar_and_may_believe_nothing_torn_all_the_same() -> None:
    for intact in (True, False):
        story = Story()
        story.start_all()
        story.save(3, 5)
        forgets(story, SIDECAR)
        story.say("checkpoint-recovered", f"agent/{AGENT}", agent=AGENT, generation=0, lsn=0, intact=intact, journal=9)
        assert story.judged("S12").verdict is (Verdict.VALID if intact else Verdict.INVALID)
