"""L13 and S20 on hand-made histories: what waiting allows to be presumed is said, once, in the place of a proof alone, and to whoever asked."""

from __future__ import annotations

import pytest

from harness.checkers.bounds import HOST_LAG_NS, Bounds, stretch
from harness.verdict import Verdict
from tests.unit.histories import AGENT, BANK, FIRST, LEDGER, PARAMETERS, SECOND, SECOND_START, SIDECAR, Story

BOUNDS = Bounds.of(PARAMETERS)
DUE_NS = stretch(BOUNDS.residue_ns(challenged=True) + BOUNDS.gossip_ns, BOUNDS.drift_ppm) + HOST_LAG_NS
LEARNED_NS = 5 * SECOND
END_NS = 120 * SECOND
REPLICAS = ("replica/1", "replica/2", "replica/3")


def ordered(severity: str = "HARD", *, healed: bool = True) -> Story:
    """An order that every replica holds, nothing being broken."""
    story = Story()
    story.start_all()
    if healed:
        story.heal()
    story.at(LEARNED_NS)
    for replica in REPLICAS:
        story.learn(replica, "o1", severity)
        story.keep(replica, "o1")
    return story


def vouch(story: Story, *replicas: str) -> None:
    for replica in replicas or REPLICAS:
        story.say("vouched", replica, what="wait", about="o1")


def declare(story: Story, *replicas: str, token: list[object] | None = None) -> int:
    return [story.say("declared", replica, order="o1", agent=AGENT, token=token or FIRST) for replica in replicas or REPLICAS][-1]


@pytest.mark.parametrize(("late_ns", "verdict"), [(0, Verdict.VALID), (1, Verdict.INVALID), (None, Verdict.INVALID)])
def test_who_has_outwaited_every_lease_says_so(late_ns: int | None, verdict: Verdict) -> None:
    story = ordered()
    vouch(story, "replica/1", "replica/2")
    if late_ns is not None:
        vouch(story.at(LEARNED_NS + DUE_NS + late_ns), "replica/3")
    declare(story)
    finding = story.at(END_NS).end().judged("L13")
    assert finding.verdict is verdict
    assert finding.examined >= 3


@pytest.mark.parametrize("excuse", ["drains", "lifted", "paused", "crashed", "doubts", "clock", "custody", "soon over", "never durable"])
def test_no_wait_is_owed_by_who_has_none_to_tell_of(excuse: str) -> None:
    story = ordered("SOFT" if excuse == "drains" else "HARD")
    vouch(story, "replica/1", "replica/2")
    declare(story, "replica/1", "replica/2")
    match excuse:
        case "lifted":
            story.certify("replica/1", "c1", "o1")
        case "paused":
            story.say("node-paused", "replica/3")
        case "crashed":
            story.crash("replica/3")
        case "doubts":
            story.say("clock-suspected", "replica/3", peers=["replica/1"])
        case "clock":
            story.fault("clock-drift", "replica/3")
        case "custody":
            story.fault("disk-lost", "replica/3")
    late_ns = LEARNED_NS + DUE_NS - 1 if excuse == "soon over" else END_NS
    if excuse == "never durable":
        story = Story()
        story.start_all()
        story.heal()
        story.learn("replica/1", "o1")
    finding = story.at(late_ns).end().judged("L13")
    assert finding.verdict is Verdict.VALID, finding.why


def test_a_fault_of_links_excuses_no_wait() -> None:
    story = ordered()
    story.fault("partition", "replica/3", "replica/1")
    vouch(story, "replica/1", "replica/2")
    declare(story)
    assert story.at(END_NS).end().judged("L13").verdict is Verdict.INVALID


@pytest.mark.parametrize(("late_ns", "verdict"), [(0, Verdict.VALID), (1, Verdict.INVALID)])
@pytest.mark.parametrize("what", ["a doubt ends", "a start", "a heal"])
def test_a_wait_begins_anew_with_a_clock_a_start_and_a_heal(what: str, late_ns: int, verdict: Verdict) -> None:
    story = ordered(healed=what != "a heal")
    if what == "a heal":
        story.fault("slow-node", "replica/3")
    vouch(story, *REPLICAS[: 3 if what == "a start" else 2])
    declare(story)
    story.at(60 * SECOND)
    match what:
        case "a doubt ends":
            story.say("clock-trusted", "replica/3")
        case "a start":
            story.start("replica/3", boot="boot-2")
        case "a heal":
            story.heal()
    vouch(story.at(60 * SECOND + DUE_NS + late_ns), "replica/3")
    assert story.at(END_NS).end().judged("L13").verdict is verdict


@pytest.mark.parametrize(
    ("what", "verdict"),
    [("declared", Verdict.VALID), ("left", Verdict.INVALID), ("proven", Verdict.VALID), ("proven in vain", Verdict.INVALID),
     ("two of three", Verdict.INVALID), ("too few waited", Verdict.VALID), ("never healed", Verdict.VALID)],
)  # fmt: skip
def test_who_is_not_proven_stopped_is_declared_once_k_have_waited(what: str, verdict: Verdict) -> None:
    story = ordered(healed=what != "never healed")
    if what == "too few waited":
        vouch(story, "replica/1")
        story.crash("replica/2")
        story.crash("replica/3")
    else:
        vouch(story)
    if what == "proven":
        for replica in REPLICAS:
            story.say("evidence-taken", replica, order="o1", agent=AGENT, token=FIRST, stage="STOPPED_CLEAN")
    elif what == "proven in vain":
        story.prove("o1", "STOPPED_CLEAN")
    elif what == "declared":
        declare(story)
    elif what == "two of three":
        declare(story, "replica/1", "replica/2")
    assert story.at(END_NS).end().judged("L13").verdict is verdict


@pytest.mark.parametrize(
    ("stage", "token", "restarted", "verdict"),
    [("STOPPED_FORCED", FIRST, False, Verdict.INVALID), ("STOPPED_FORCED", SECOND_START, False, Verdict.VALID),
     ("GATE_CLOSED", FIRST, False, Verdict.VALID), ("STOPPED_FORCED", FIRST, True, Verdict.VALID)],
)  # fmt: skip
def test_nobody_is_presumed_stopped_of_whom_there_is_a_proof(stage: str, token: list[object], restarted: bool, verdict: Verdict) -> None:
    story = ordered()
    story.prove("o1", stage)
    taken = story.say("evidence-taken", "replica/1", order="o1", agent=AGENT, token=FIRST, stage=stage)
    if restarted:
        story.start("replica/1", boot="boot-2")
    declared = declare(story.at(60 * SECOND), "replica/1", token=token)
    finding = story.end().judged("S20")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (taken, declared)


@pytest.mark.parametrize(("holder", "verdict"), [("replica/1", Verdict.INVALID), ("replica/2", Verdict.VALID)])
def test_no_replica_declares_under_an_order_that_it_knows_to_be_lifted(holder: str, verdict: Verdict) -> None:
    story = ordered()
    lifted = story.certify(holder, "c1", "o1")
    declared = declare(story.at(60 * SECOND), "replica/1")
    finding = story.end().judged("S20")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (lifted, declared)


@pytest.mark.parametrize(("restarted", "verdict"), [(False, Verdict.INVALID), (True, Verdict.VALID)])
def test_a_declaration_is_made_once(restarted: bool, verdict: Verdict) -> None:
    story = ordered()
    first = declare(story.at(60 * SECOND), "replica/1")
    if restarted:
        story.start("replica/1", boot="boot-2")
    second = declare(story.at(90 * SECOND), "replica/1")
    finding = story.end().judged("S20")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (first, second)


@pytest.mark.parametrize(
    ("severity", "what", "verdict"),
    [("HARD", "told", Verdict.VALID), ("HARD", "untold", Verdict.INVALID), ("ISOLATE", "untold", Verdict.VALID),
     ("HARD", "asked of another", Verdict.VALID), ("HARD", "struck", Verdict.VALID), ("HARD", "soon over", Verdict.VALID)],
)  # fmt: skip
def test_who_ordered_is_told_of_a_declaration(severity: str, what: str, verdict: Verdict) -> None:
    story = ordered(severity)
    story.decide("replica/2" if what == "asked of another" else "replica/1", order="o1")
    if what == "struck":
        story.fault("partition", "operator", "replica/1")
    declared = declare(story.at(60 * SECOND), "replica/1")
    if what == "told":
        story.say("agent-status", "operator", order="o1", agent=AGENT, token=FIRST, stage="PRESUMED_STOPPED")
    finding = story.at(61 * SECOND if what == "soon over" else END_NS).end().judged("S20")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (declared,)


@pytest.mark.parametrize(("let_in", "told", "verdict"), [
    ("replica/1", False, Verdict.INVALID), ("replica/1", True, Verdict.VALID), ("replica/2", False, Verdict.VALID),
])  # fmt: skip
def test_who_ordered_is_told_of_what_a_soft_order_becomes(let_in: str, told: bool, verdict: Verdict) -> None:
    story = ordered("SOFT")
    story.decide(let_in, order="o1")
    for replica in REPLICAS:
        story.learn(replica, "child", parent="o1")
        story.keep(replica, "child")
    declared = story.at(60 * SECOND).say("declared", "replica/1", order="child", agent=AGENT, token=FIRST)
    if told:
        story.say("agent-status", "operator", order="child", agent=AGENT, token=FIRST, stage="PRESUMED_STOPPED")
    finding = story.at(END_NS).end().judged("S20")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (declared,)


def test_a_sidecar_owes_no_presumption() -> None:
    story = ordered()
    story.learn(SIDECAR, "o1")
    story.keep(SIDECAR, "o1")
    vouch(story)
    declare(story)
    assert story.at(END_NS).end().judged("L13").verdict is Verdict.VALID


@pytest.mark.parametrize(
    ("what", "verdict"),
    [("declared", Verdict.VALID), ("left", Verdict.INVALID), ("proven", Verdict.VALID), ("soon over", Verdict.VALID)],
)  # fmt: skip
def test_who_is_alone_in_its_cell_tells_nobody_of_its_wait_and_declares(what: str, verdict: Verdict) -> None:
    story = Story()
    topology = story.facts.pop()
    story.say("topology", "world", **{**topology.body, "replicas": ["replica/1"], "quorum": 1, "kill_quorum": 1})
    story.start("replica/1", SIDECAR, LEDGER, BANK)
    story.heal()
    story.at(LEARNED_NS).learn("replica/1", "o1")
    story.keep("replica/1", "o1")
    if what == "proven":
        story.say("evidence-taken", "replica/1", order="o1", agent=AGENT, token=FIRST, stage="STOPPED_FORCED")
    elif what == "declared":
        declare(story.at(LEARNED_NS + DUE_NS), "replica/1")
    finding = story.at(LEARNED_NS + DUE_NS if what == "soon over" else END_NS).end().judged("L13")
    assert finding.verdict is verdict, finding.why
    assert finding.examined == (what in ("declared", "left"))
