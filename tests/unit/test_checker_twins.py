"""Two hosts of one name: each is judged by itself, by all that is promised, and what they do to each other by what can be."""

from __future__ import annotations

import pytest
from msgspec import structs

from harness.checkers.bounds import Bounds
from harness.checkers.transparency import cosigned_within_ns
from harness.verdict import Verdict
from tests.unit.histories import AGENT, FIRST, HARD_NS, PARAMETERS, SECOND, SECOND_START, SIDECAR, Story

TWIN = SIDECAR + "~2"
CLONED_NS = 10 * SECOND
RESIDUE_NS = 8 * SECOND  # W with the lease of 5 s and the drift of 20 %


def doubled() -> Story:
    """A sidecar at work whose host is cloned; the copy boots."""
    story = Story()
    story.start_all()
    story.lease()
    story.fence(FIRST)
    story.spawn()
    story.at(CLONED_NS).say("node-cloned", SIDECAR, copy=TWIN, records=7)
    story.say("node-started", TWIN, boot="boot-2~2", instance="b", records=7)
    return story


def as_twin(story: Story, index: int) -> int:
    """The fact at ``index`` is the copy's."""
    story.facts[index] = structs.replace(story.facts[index], node=story.facts[index].node + "~2")
    return index


def test_each_is_judged_by_leases_of_its_own() -> None:
    story = doubled()
    story.lease("n2")
    story.admit()
    assert {story.judged(invariant).verdict for invariant in ("S19", "S23")} == {Verdict.VALID}
    admitted = as_twin(story, story.admit(token=FIRST, key="k2"))
    finding = story.judged("S23")
    assert finding.verdict is Verdict.INVALID
    assert finding.why.startswith("by the copy: ")
    assert admitted in finding.witness


def test_what_only_one_knows_binds_only_that_one() -> None:
    story = doubled()
    as_twin(story, story.learn(SIDECAR, "o1"))
    story.lease("n2")
    story.admit()
    assert story.judged("S3").verdict is Verdict.VALID
    story.learn(SIDECAR, "o1")
    story.admit(key="k2")
    assert story.judged("S3").verdict is Verdict.INVALID


def superseded(late_ns: int) -> Story:
    """The copy opens a greater token; the original goes on, under what lease it has left."""
    story = doubled()
    story.lease("n2")
    for replica in ("replica/1", "replica/2"):
        story.say("start-readied", replica, clock_ns=story.at_ns + RESIDUE_NS, agent=AGENT, token=SECOND_START)
    as_twin(story, story.say("token-opened", SIDECAR, agent=AGENT, token=SECOND_START, predecessor=FIRST))
    story.at(CLONED_NS + HARD_NS + late_ns)
    story.admit()
    return story


def test_what_is_left_of_a_start_runs_out_with_its_lease() -> None:
    assert superseded(0).judged("S8").verdict is Verdict.VALID
    late = superseded(1).judged("S8")
    assert late.verdict is Verdict.INVALID
    assert "1 ns after" in late.why


def test_evidence_of_either_is_evidence_that_was_sent() -> None:
    story = doubled()
    as_twin(story, story.prove("o1", "GATE_CLOSED", SECOND_START))
    story.say("agent-status", "operator", order="o1", agent=AGENT, token=SECOND_START, stage="GATE_CLOSED")
    assert story.judged("S20").verdict is Verdict.VALID
    story.say("agent-status", "operator", order="o1", agent=AGENT, token=SECOND_START, stage="DRAINING")
    assert story.judged("S20").verdict is Verdict.INVALID


def two_logs(*, proven: bool, shown: bool = True) -> Story:
    """Both write on, the copy is ended, and the original's log is not what was cosigned."""
    story = doubled()
    heads = [story.say("sth-signed", SIDECAR, origin=SIDECAR, size=9, root="bb", previous=0)]
    as_twin(story, heads[0])
    if shown:
        story.say("sth-signed", SIDECAR, origin=SIDECAR, size=9, root="aa", previous=0)
    if proven:
        story.say("fork-proven", "replica/1", origin=SIDECAR, first=9, second=9)
    story.at(20 * SECOND).say("clone-ended", TWIN, survivor=SIDECAR)
    story.heal()
    story.at(20 * SECOND + cosigned_within_ns(Bounds.of(PARAMETERS)) + 1)
    story.say("log-verified", SIDECAR, writer=SIDECAR, records=9, cosigned=9, sound=False, why="ends at 9, below the cosigned size 10", returned=[])
    return story.end()


def test_two_logs_are_no_fault_but_have_to_be_found_out() -> None:
    assert two_logs(proven=True).judged("S16").verdict is Verdict.VALID
    assert two_logs(proven=False).judged("S16").verdict is Verdict.INVALID
    assert two_logs(proven=False, shown=False).judged("S16").verdict is Verdict.VALID, "who has shown nothing since cannot be compared"
    story = two_logs(proven=True)
    story.facts = [fact for fact in story.facts if fact.kind != "node-cloned"]
    assert story.judged("S16").verdict is Verdict.INVALID, "without a clone it is the writer's doing"


def test_of_who_is_gone_nothing_is_due_any_more() -> None:
    story = doubled()
    story.effective("o1")
    story.learn(SIDECAR, "o1")
    story.at(20 * SECOND).say("clone-ended", TWIN, survivor=SIDECAR)
    story.heal()
    story.at(600 * SECOND).end()
    assert story.judged("L1").verdict is Verdict.VALID


@pytest.mark.parametrize(("whose", "verdict"), [("nobody's", Verdict.INVALID), ("its own", Verdict.VALID), ("the other's", Verdict.VALID)])
def test_a_proof_is_outdated_by_what_either_asks_for(whose: str, verdict: Verdict) -> None:
    """Of `clone-storm`, seed 45: a replica escalates for an agent whose copy is proven stopped, for the original had asked for a later start."""
    story = doubled()
    story.learn("replica/1", "o1", "SOFT", grace_ns=SECOND)
    story.say("evidence-taken", "replica/1", agent=AGENT, order="o1", token=FIRST, stage="STOPPED_CLEAN")
    if whose != "nobody's":
        index = story.ask(token=SECOND_START)
        if whose == "the other's":
            as_twin(story, index)
    story.at(CLONED_NS + 5 * SECOND).learn("replica/1", "o2")
    story.say("escalated", "replica/1", parent="o1", child="o2", agent=AGENT)
    assert story.end().judged("L3").verdict is verdict
