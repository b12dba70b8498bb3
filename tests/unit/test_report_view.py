"""The numbers of a report, from a campaign whose numbers are known."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from harness import results_store
from harness.results import Campaign
from harness.verdict import Finding, Verdict
from reports import stop_times, view, violations
from tests.unit import campaigns


@pytest.fixture
def shown(tmp_path: Path) -> view.View:
    return view.build(campaigns.write(tmp_path))


def test_the_headline_is_the_answer(shown: view.View) -> None:
    assert (shown.headline.verdict, shown.headline.glyph, shown.headline.title) == (Verdict.INVALID, "✕", "Invalid")
    assert shown.headline.sentence == "S1 StopBound broke in 1 of 3 scenarios. 1 more could not be decided."
    assert dict(shown.headline.facts) == {
        "runs": "5", "wall time": "1.25 s", "runs per second": "4.0", "driver": "sim", "implementation": "killswitch", "version": "0.1.0",
    }  # fmt: skip


def test_runs_are_counted_by_verdict_and_the_worst_come_first(shown: view.View) -> None:
    counted = {scenario.name: (scenario.by_verdict[Verdict.VALID], scenario.by_verdict[Verdict.INVALID]) for scenario in shown.scenarios}
    assert counted == {"kill-during-partition": (0, 2), campaigns.HOSTILE_SHOWN: (0, 0), "soft-overtaken-by-hard": (2, 0)}
    assert [scenario.wall_s for scenario in shown.scenarios] == [0.5, 0.25, 0.5]


def test_the_matrix_tells_held_from_vacuous_and_absent(shown: view.View) -> None:
    assert shown.invariants == ("S1", "S10", "S18", "L1")
    marks = [[cell.mark for cell in scenario.cells] for scenario in shown.scenarios]
    assert marks == [["✕2", "", "○", "✓"], ["", "?1", "", ""], ["✓", "", "○", "✓"]]
    assert (shown.scenarios[0].broken, shown.scenarios[1].undecided) == (("S1",), ("S10",))


def test_what_was_skipped_or_not_judged_is_not_shown_as_held(tmp_path: Path) -> None:
    shown = view.build(campaigns.with_gaps(tmp_path))
    assert shown.invariants == ("S1", "S24", "L12")
    (scenario,) = shown.scenarios
    assert [(cell.state, cell.mark, cell.skipped) for cell in scenario.cells] == [("partial", "◐1", 1200), ("unjudged", "–", 0), ("skipped", "⊘2", 4)]
    assert scenario.skipped == ("⊘ L12 (4)", "◐ S1 (1,200)")
    needs = "Not judged: S24, needs --twins (seeds 1, 11, 21, ...)."
    assert shown.unjudged == needs
    assert shown.headline.sentence == f"Every invariant but S24 held in all 2 runs of 1 scenario. {needs}"


def test_a_violation_hides_no_skip_and_a_replayed_run_says_what_it_was_not_judged_by(tmp_path: Path) -> None:
    campaigns.with_gaps(tmp_path)
    results = results_store.load(tmp_path)
    broken = structs.replace(results.campaign.scenarios[0], invariants={"S1": (1, 1, 0)})
    results_store.save(tmp_path, structs.replace(results.campaign, scenarios=(broken,)), results.runs)
    cell = view.build(tmp_path).scenarios[0].cells[0]
    assert (cell.state, cell.mark, cell.skipped) == ("invalid", "✕1", 1200)
    results_store.save(tmp_path, structs.replace(results.campaign, scenarios=(), runs=1, driver="live"), results.runs[:1])
    sentence = view.build(tmp_path).headline.sentence
    assert sentence == "Every invariant but S24 held in its only run. Not judged: S24, needs --twins, which are simulated only."


def test_demanded_facts_that_were_missed_stand_out(shown: view.View) -> None:
    reach = shown.scenarios[0].reach
    assert reach.demanded == (("order-durable", 12), ("lease-lost", 0))
    assert (reach.missed, reach.never) == (("lease-lost",), ("declared",))
    assert reach.reached == (("lease-opened", 80), ("order-durable", 12))
    assert "order-durable" not in shown.never_reached
    assert "step-raised" in shown.never_reached


def test_faults_add_up_over_scenarios_and_idle_ones_are_named(shown: view.View) -> None:
    assert [(fault.what, fault.armed, fault.on, fault.fired, fault.idle) for fault in shown.faults] == [
        ("disk-fail", 2, 0, 0, "never came into force"),
        ("partition", 4, 4, 4, ""),
    ]


def test_stop_times_are_observed_values_beside_their_bound(shown: view.View) -> None:
    hard, soft = shown.stops
    assert (hard.severity, hard.stops, hard.late, hard.worst_run) == ("HARD", 5, 1, ("kill-during-partition", 7))
    assert hard.ratio.p50 == pytest.approx(0.31)
    assert hard.ratio.p99 == hard.ratio.worst == pytest.approx(1.0427)
    assert hard.bound_ns == (campaigns.BOUND_NS, campaigns.BOUND_NS)
    assert (soft.stops, soft.late, soft.reaped) == (2, 0, 1)
    assert soft.reaped_ns == stop_times.Spread(9e9, 9e9, 9e9)


def test_no_stops_give_no_rows() -> None:
    assert stop_times.summarise(stop_times.table([])) == ()


def test_failures_are_grouped_and_the_first_seed_is_shown(shown: view.View) -> None:
    stopped, doubtful = shown.failures
    assert (stopped.invariant, stopped.name, stopped.seed, stopped.verdict) == ("S1", "StopBound", 7, Verdict.INVALID)
    assert stopped.others == ((9, "haltproof replay H1-kill-during-partition-9"),)
    assert stopped.measure == "worst in this run 5.266 s, bound 5.051 s, ratio 1.043"
    assert stopped.timeline is not None
    assert (doubtful.verdict, doubtful.timeline, doubtful.facts) == (Verdict.UNKNOWN, None, ())
    assert doubtful.proof == "The history of this run is not shown here; replay it to see it."


def test_each_promise_is_shown_before_any_twice(tmp_path: Path) -> None:
    campaigns.write(tmp_path)
    results = results_store.load(tmp_path)
    doubtful, stopped = results.campaign.failures[:2]
    many = [structs.replace(stopped, scenario=f"s{number:02}", invariant=invariant) for number in range(20) for invariant in ("S19", "S1")]
    results_store.save(tmp_path, structs.replace(results.campaign, failures=(doubtful, *many)), results.runs)
    shown = view.build(tmp_path)
    assert [(failure.invariant, failure.scenario) for failure in shown.failures[:3]] == [("S1", "s00"), ("S19", "s00"), ("S1", "s01")]
    assert sum(failure.shown for failure in shown.failures) == violations.SHOWN_MOST
    assert [(broken.first.invariant, broken.runs, broken.scenarios) for broken in shown.broken] == [("S1", 20, 20), ("S19", 20, 20), ("S10", 1, 1)]
    assert "The results hold no run" in shown.failures[0].proof


def test_the_witness_is_told_in_words_with_both_clocks(shown: view.View) -> None:
    lines = shown.failures[0].facts
    assert [line.number for line in lines] == [1, 2, 3, 4, 5, 6, 7]
    assert (lines[0].at, lines[0].node, lines[0].clock) == ("11.200000 s", "sidecar/acme/1", "12.292000 s")
    assert (lines[5].at, lines[5].node, lines[5].clock, lines[5].text) == ("12.034000 s", "replica/2", "", "Holds the order 5c1f5c1f… durably.")


def test_a_history_that_is_broken_costs_its_picture_only(tmp_path: Path) -> None:
    campaigns.write(tmp_path)
    (tmp_path / "runs" / "kill-during-partition-7" / results_store.HISTORY_FILE).write_text("[1, 2]\n")
    failure = view.build(tmp_path).failures[0]
    assert failure.timeline is None
    assert "cannot be read" in failure.proof
    assert "history.jsonl:1: fact: not a JSON list of five" in failure.proof
    assert failure.replay == "haltproof replay H1-kill-during-partition-7"


@pytest.mark.parametrize(
    ("verdict", "title", "sentence"),
    [
        (Verdict.VALID, "Valid", "Every invariant held in all 2 runs of 1 scenario."),
        (Verdict.UNKNOWN, "Unknown", "Nothing was decided."),
    ],
)
def test_other_headlines(tmp_path: Path, verdict: Verdict, title: str, sentence: str) -> None:
    held = Finding(invariant="S1", verdict=Verdict.VALID, examined=1)
    campaign = Campaign(
        verdict=verdict, driver="live", implementation="killswitch", version="1", runs=2, wall_s=2.0, runs_per_s=1.0,
        scenarios=campaigns.campaign().scenarios[:1], failures=(), stop_time={},
    )  # fmt: skip
    results_store.save(tmp_path, campaign, [campaigns.run("soft-overtaken-by-hard", 1, Verdict.VALID, held)])
    headline = view.build(tmp_path).headline
    assert (headline.title, headline.sentence) == (title, sentence)
