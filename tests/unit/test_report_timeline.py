"""The swim lanes: who gets a lane, where things lie, and what led to what."""

from __future__ import annotations

from itertools import pairwise

import pytest

from harness.shared.history import Fact, History
from harness.verdict import Finding, Verdict
from reports import spans, timeline
from reports.signals import signals
from tests.unit import campaigns

HISTORY = campaigns.violated_history()
END_NS = 26_000 * campaigns.MS
BOUNDS = {campaigns.ORDER: campaigns.BOUND_NS}


@pytest.fixture
def drawing() -> timeline.Timeline:
    drawn = timeline.draw(HISTORY, campaigns.violation(HISTORY), BOUNDS)
    assert drawn is not None
    return drawn


def test_the_lanes_are_those_that_the_witness_concerns(drawing: timeline.Timeline) -> None:
    assert [lane.node for lane in drawing.lanes] == ["operator", "replica/1", "replica/2", "replica/3", "sidecar/acme/1", "sink/acme/ledger"]
    assert drawing.hidden == ""  # of the two nodes left out one is the world


def test_lanes_do_not_overlap(drawing: timeline.Timeline) -> None:
    edges = [(lane.top, lane.top + lane.height) for lane in drawing.lanes]
    assert all(before[1] <= after[0] for before, after in pairwise(edges))
    assert edges[-1][1] <= drawing.axis_y < drawing.height


def test_each_witness_has_its_badge_where_it_happened(drawing: timeline.Timeline) -> None:
    badges = {badge.number: (lane.node, badge) for lane in drawing.lanes for badge in lane.badges}
    assert sorted(badges) == [1, 2, 3, 4, 5, 6, 7]
    assert [badges[number][0] for number in (1, 2, 7)] == ["sidecar/acme/1", "replica/1", "sidecar/acme/1"]
    places = [badges[number][1].to_x for number in sorted(badges)]
    assert places == sorted(places)


def test_badges_of_one_lane_keep_their_distance() -> None:
    facts = [Fact(1_000_000_000 + step, "order-durable", "replica/1", 0, {"order": "a"}) for step in range(10)]
    drawn = timeline.draw(History(facts), Finding(invariant="S1", verdict=Verdict.INVALID, witness=tuple(range(10))), {})
    assert drawn is not None
    places = [badge.x for badge in drawn.lanes[0].badges]
    assert all(after - before >= 20 for before, after in pairwise(places))


def test_the_bound_is_drawn_from_the_fact_that_it_counts_from(drawing: timeline.Timeline) -> None:
    effective, bound = drawing.limits
    late = next(badge for lane in drawing.lanes for badge in lane.badges if badge.number == 7)
    acceptor = next(badge for lane in drawing.lanes for badge in lane.badges if badge.number == 6)
    assert effective.x == acceptor.to_x < bound.x < late.to_x
    assert bound.text == "bound: t0 + 5.051 s"


@pytest.mark.parametrize("bounds", [{}, {campaigns.ORDER: 60_000 * campaigns.MS}, {"another": campaigns.BOUND_NS}])
def test_no_bound_is_drawn_that_the_witness_does_not_pass(bounds: dict[str, int]) -> None:
    drawn = timeline.draw(HISTORY, campaigns.violation(HISTORY), bounds)
    assert drawn is not None
    assert drawn.limits == []


def test_faults_shade_only_the_lanes_that_they_touch(drawing: timeline.Timeline) -> None:
    tops = {lane.top: lane.node for lane in drawing.lanes}
    shaded = {(tops[shade.y], shade.form) for shade in drawing.shades if shade.form != "late"}
    assert shaded == {("sidecar/acme/1", "fault"), ("replica/3", "fault"), ("replica/3", "down")}
    assert [bar.text for bar in drawing.fault_bars] == ["partition", "disk-slow"]
    assert drawing.fault_bars[0].y != drawing.fault_bars[1].y  # they overlap in time


def test_a_clock_is_read_back_into_true_time() -> None:
    node = "sidecar/acme/1"
    clock = spans.LocalClock(fact for fact in HISTORY if fact.node == node)
    for at_ns in (300 * campaigns.MS, 5_000 * campaigns.MS, 17_399 * campaigns.MS, 30_000 * campaigns.MS):
        assert abs(clock.true_time(campaigns.clock_ns(node, at_ns), 200 * campaigns.MS) - at_ns) <= campaigns.MS // 100
    assert clock.describe(0, END_NS) == "+1.204 s, 1 % slow"


def test_leases_join_while_they_are_renewed_and_end_by_the_nodes_own_clock() -> None:
    clocks = {node: spans.LocalClock(fact for fact in HISTORY if fact.node == node) for node in {fact.node for fact in HISTORY}}
    lease = next(span for span in spans.leases(HISTORY, clocks) if span.node == "sidecar/acme/1")
    assert lease.start_ns == 460 * campaigns.MS
    assert lease.end_ns == pytest.approx(11_460 * campaigns.MS + 5_900 * campaigns.MS / 0.99, rel=1e-4)


def test_a_crash_ends_a_lease() -> None:
    facts = [Fact(10, "lease-opened", "sidecar/a/1", 10, {"until_ns": 100}), Fact(50, "node-crashed", "sidecar/a/1", 50, {})]
    (lease,) = spans.leases(History(facts), {"sidecar/a/1": spans.LocalClock(facts)})
    assert (lease.start_ns, lease.end_ns) == (10, 50)


def test_gates_follow_each_other_without_a_gap() -> None:
    own = [span for span in spans.gates(HISTORY, END_NS) if span.node == "sidecar/acme/2"]
    assert [(span.letter, span.label) for span in own] == [("C", "BOOT"), ("O", "RUNNING"), ("C", "KILLING"), ("C", "STOPPED")]
    assert all(before.end_ns == after.start_ns for before, after in pairwise(own))
    assert own[-1].end_ns == END_NS


def test_outages_and_faults_that_never_end_last_to_the_end() -> None:
    facts = [
        Fact(10, "node-paused", "agent/a/1", 10, {}),
        Fact(20, "fault-on", "world", 20, {"fault": "f", "what": "loss", "target": [["replica/1", "replica/2"]]}),
    ]
    (paused,) = spans.outages(History(facts), 99)
    ((fault, nodes),) = spans.faults(History(facts), 99)
    assert (paused.form, paused.end_ns, fault.end_ns, nodes) == ("paused", 99, 99, frozenset({"replica/1", "replica/2"}))


def test_signals_pair_what_the_history_says_and_mark_what_is_inferred() -> None:
    found = {form: [signal for signal in signals(HISTORY) if signal.form == form] for form in ("request", "grant", "effect", "order", "evidence")}
    assert {form: len(of_form) for form, of_form in found.items()} == {"request": 48, "grant": 48, "effect": 94, "order": 5, "evidence": 2}
    assert all(signal.recorded for form in ("request", "grant", "effect", "evidence") for signal in found[form])
    assert not any(signal.recorded for signal in found["order"])
    ways = [(HISTORY.facts[signal.cause].node, HISTORY.facts[signal.effect].node) for signal in found["order"]]
    assert ways == [("operator", "replica/1"), *(("replica/1", node) for node in ("replica/2", "replica/3", "sidecar/acme/2", "sidecar/acme/1"))]


def test_an_order_that_names_its_sender_is_recorded() -> None:
    learned = {"order": "a", "tenant": "t", "scope": ["global", ""], "gate": 2, "life": 2}
    facts = [
        Fact(at, "order-learned", node, at, {**learned, "sender": sender})
        for at, node, sender in ((1, "replica/1", ""), (2, "replica/2", "replica/1"))
    ]
    (signal,) = signals(History(facts))
    assert (signal.cause, signal.effect, signal.recorded) == (0, 1, True)


def test_a_finding_without_a_witness_has_no_timeline() -> None:
    assert timeline.draw(HISTORY, Finding(invariant="S1", verdict=Verdict.INVALID), {}) is None
    assert timeline.draw(HISTORY, Finding(invariant="S1", verdict=Verdict.INVALID, witness=(10**6,)), {}) is None


def test_effects_of_other_agents_are_left_out_of_a_shared_sink() -> None:
    facts = [
        Fact(at, "effect-applied", "sink/a/x", at, {"agent": agent, "key": str(at), "token": [1, 1, "i"]})
        for at, agent in ((1, "a/1"), (2, "a/2"), (3, "a/1"))
    ]
    drawn = timeline.draw(History(facts), Finding(invariant="S2", verdict=Verdict.INVALID, witness=(0, 2)), {})
    assert drawn is not None
    assert [mark.form for mark in drawn.marks] == ["effect witness", "effect witness"]


@pytest.mark.parametrize(
    ("last_ns", "shown_ns"), [(0, 1_000_000_000), (1_000, 40_000_000), (50_000_000, 400_000_000), (6_000_000_000, 7_000_000_000)]
)
def test_the_stretch_shown_fits_the_witness(last_ns: int, shown_ns: int) -> None:
    facts = [Fact(10**10 + at_ns, "order-durable", "replica/1", 0, {"order": "a"}) for at_ns in sorted({0, last_ns})]
    drawn = timeline.draw(History(facts), Finding(invariant="S1", verdict=Verdict.INVALID, witness=tuple(range(len(facts)))), {})
    assert drawn is not None
    badges = drawn.lanes[0].badges
    assert (badges[-1].to_x - badges[0].to_x) / timeline.WIDTH == pytest.approx(last_ns / shown_ns, rel=0.01, abs=0.001)


def test_a_crowded_history_stays_a_picture() -> None:
    effects = [
        Fact(at, "effect-admitted", "sidecar/a/1", at, {"agent": "a/1", "key": str(at), "token": [1, 1, "i"], "sink": "sink/a/x"})
        for at in range(5_000)
    ]
    drawn = timeline.draw(History(effects), Finding(invariant="S1", verdict=Verdict.INVALID, witness=(0, 4_999)), {})
    assert drawn is not None
    assert len(drawn.marks) < 400
    assert "effects are not drawn" in drawn.hidden
