"""How runs add up: nothing that is not valid gets lost on the way to the one verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness import terminal
from harness.ranks import percentile
from harness.results import Campaign, RunResult
from harness.summary import FAILURES_MAX, failures_of, invariant_counts, summarise, summarise_scenario
from harness.verdict import Finding, Verdict
from reports import stop_times
from reports.words import WHY_SKIPPED
from scenarios import load, triggers
from scenarios.model import Scenario
from tests.unit.campaigns import MS, run, stop

NAME = "kill-during-partition"
VALID, INVALID, UNKNOWN = Verdict.VALID, Verdict.INVALID, Verdict.UNKNOWN


def scenario(reached: tuple[str, ...] = ("order-durable",), **stop_time: int) -> Scenario:
    """``stop_time``: {percentile: what it has to stay under, in ns}."""
    library = load.load(load.find(NAME))
    expect = library.expect.model_copy(update={"reached": tuple(map(triggers.fact, reached)), "stop_time": stop_time})
    return library.model_copy(update={"expect": expect})


def finding(verdict: Verdict, invariant: str = "S1") -> Finding:
    return Finding(invariant=invariant, verdict=verdict, why="because", examined=1)


def ended(verdict: Verdict, seed: int = 1, **changes: Any) -> RunResult:
    return run(NAME, seed, verdict, finding(verdict), **changes)


def campaign(*runs: RunResult, **changes: Any) -> Campaign:
    return summarise_of((NAME,), *runs, **changes)


def summarise_of(names: Sequence[str], *runs: RunResult, **changes: Any) -> Campaign:
    """What is made of runs of several scenarios."""
    fields = {"driver": "sim", "implementation": "killswitch", "version": "0", "wall_s": 2.0, "out": Path("out"), "replay": "haltproof replay"}
    return summarise(runs, {name: scenario() for name in names}, **{**fields, **changes})


@pytest.mark.parametrize(
    ("verdicts", "whole"),
    [((VALID, VALID), VALID), ((VALID, UNKNOWN), UNKNOWN), ((UNKNOWN, INVALID, VALID), INVALID), ((), UNKNOWN)],
)
def test_the_worst_run_is_the_campaigns_verdict_and_none_at_all_is_unknown(verdicts: tuple[Verdict, ...], whole: Verdict) -> None:
    made = campaign(*(ended(verdict, seed) for seed, verdict in enumerate(verdicts)))
    assert (made.verdict, made.scenarios[0].verdict, made.runs) == (whole, whole, len(verdicts))


def test_an_interrupted_campaign_is_never_valid_and_hides_no_violation() -> None:
    assert campaign(ended(VALID), cut_short="interrupted after 1 of 9 runs").verdict is UNKNOWN
    assert campaign(ended(INVALID), cut_short="interrupted after 1 of 9 runs").verdict is INVALID


def test_what_could_not_be_played_is_named_and_says_nothing_of_the_rest() -> None:
    both = {NAME: scenario(), "other": scenario(("lease-lost",)).model_copy(update={"scenario": "other"})}
    made = summarise(
        [ended(VALID)], both, driver="live", implementation="killswitch", version="0", wall_s=1.0, out=Path("out"), replay="",
        missing={"other": ("cgroup: there is none",)},
    )  # fmt: skip
    other = made.scenarios[1]
    assert (made.verdict, other.verdict, other.missing, other.why) == (
        VALID,
        UNKNOWN,
        ("cgroup: there is none",),
        "not played: cgroup: there is none",
    )


def test_a_fact_that_was_demanded_and_never_reached_makes_its_scenario_unknown() -> None:
    summary = summarise_scenario(scenario(("order-durable", "escalated")), [ended(VALID), ended(VALID, 2)])
    assert summary.verdict is UNKNOWN
    assert summary.why == "vacuous: no run reached escalated; play more seeds, or mend the scenario"
    assert summary.never_reached[0] == "escalated"
    violated = summarise_scenario(scenario(("escalated",)), [ended(INVALID)])
    assert violated.verdict is INVALID


def test_one_run_that_reaches_a_demand_is_enough() -> None:
    runs = [ended(VALID, 1), ended(VALID, 2, reached={"escalated": 1})]
    assert summarise_scenario(scenario(("escalated",)), runs).verdict is VALID


def test_a_missed_service_level_is_a_violation_a_kept_one_is_said_and_one_without_stops_is_unmeasured() -> None:
    slow = [ended(VALID, seed, stop_times=(stop(0.1, reaped_ms=seed * 100),)) for seed in range(1, 101)]
    kept = summarise_scenario(scenario(p99=10_000 * MS), slow)
    missed = summarise_scenario(scenario(p99=9_900 * MS), slow)
    unmeasured = summarise_scenario(scenario(p99=1_000 * MS), [ended(VALID)])
    assert (kept.verdict, missed.verdict, unmeasured.verdict) == (VALID, INVALID, VALID)
    assert kept.service_levels == (
        "kept: stop-time p99 under 10000 ms, measured 9900 ms over 100 stops, each to its last effect and the process gone",
    )
    assert missed.why.startswith("service level missed: stop-time p99 under 9900 ms, measured 9900 ms")
    assert unmeasured.service_levels == ("unmeasured: stop-time p99 under 1000 ms",)


def test_counts_add_up_over_runs() -> None:
    runs = [
        run(NAME, 1, VALID, finding(VALID), finding(VALID, "L1"), reached={"healed": 1, "escalated": 0}, faults={"pause": (2, 1, 0)}),
        run(NAME, 2, INVALID, finding(INVALID), finding(UNKNOWN, "L1"), reached={"healed": 2}, faults={"pause": (1, 1, 1), "loss": (1, 0, 0)}),
    ]
    summary = summarise_scenario(scenario(()), runs)
    assert summary.invariants == invariant_counts(runs) == {"S1": (1, 1, 0), "L1": (1, 0, 1)}
    assert summary.reached == {"healed": 3}
    assert summary.faults == {"loss": (1, 0, 0), "pause": (3, 2, 1)}
    assert "escalated" in summary.never_reached


def test_every_invariant_that_did_not_hold_is_a_failure_with_its_replay() -> None:
    both = run(NAME, 7, INVALID, finding(INVALID), finding(UNKNOWN, "L1"), finding(VALID, "S2"), kept="runs/x-7", token="hp1:t", why="cut short: x")
    failures = failures_of(both, Path("out"), "haltproof replay")
    assert [(each.invariant, each.verdict, each.why) for each in failures] == [
        ("S1", INVALID, "because"),
        ("L1", UNKNOWN, "because"),
        ("run", UNKNOWN, "cut short: x"),
    ]
    assert {each.replay for each in failures} == {"haltproof replay 'hp1:t'"}
    assert {each.witness for each in failures} == {"out/runs/x-7"}


def test_a_live_run_is_played_again_by_its_seed() -> None:
    failures = failures_of(run(NAME, 7, INVALID, finding(INVALID), driver="live"), Path("out"), "haltproof replay")
    assert failures[0].replay == f"haltproof run --live {NAME} --seeds 7..7"
    assert failures[0].witness == ""


def test_a_flood_of_failures_is_bounded_and_every_run_still_counts() -> None:
    made = campaign(*(ended(INVALID, seed) for seed in range(FAILURES_MAX + 20)))
    assert len(made.failures) == FAILURES_MAX
    assert made.scenarios[0].invariants["S1"] == (0, FAILURES_MAX + 20, 0)


def test_skips_add_up_and_what_one_run_was_judged_by_was_judged() -> None:
    def skips(seed: int, number: int, *not_judged: str) -> RunResult:
        return run(NAME, seed, VALID, Finding(invariant="L12", verdict=VALID, skipped=number), not_judged=not_judged)

    (without,) = campaign(skips(1, 2, "S24"), skips(2, 0, "S24"), skips(3, 5, "S24")).scenarios
    assert (without.skipped, without.not_judged) == ({"L12": (2, 7)}, ("S24",))
    (one_in_ten,) = campaign(skips(1, 0), skips(2, 0, "S24")).scenarios
    assert (one_in_ten.skipped, one_in_ten.not_judged) == ({}, ())


def test_the_terminal_says_so_too(capsys: pytest.CaptureFixture[str]) -> None:
    skipped = run(NAME, 1, VALID, Finding(invariant="L12", verdict=VALID, skipped=2), finding(VALID), not_judged=("S24",))
    terminal.show_campaign(campaign(skipped))
    told = capsys.readouterr().out
    assert "2 held (1 in part)" in told and "in part: instances were skipped, " in told
    assert "Not judged: S24, needs --twins (seeds 1, 11, 21, ...)." in told
    terminal.show_run(skipped)
    told = capsys.readouterr().out
    assert "2 of 3 invariants hold" in told and f"instances skipped, {WHY_SKIPPED}: L12 2\n" in told
    assert "Not judged: S24" in told


def test_speed_and_stop_times_of_the_whole() -> None:
    made = campaign(*(ended(VALID, seed, stop_times=(stop(seed / 100),)) for seed in range(1, 101)))
    assert made.runs_per_s == 50.0
    assert list(made.stop_time) == ["p50_ns", "p99_ns", "p100_ns"]
    assert made.stop_time["p50_ns"] < made.stop_time["p99_ns"] < made.stop_time["p100_ns"]
    assert campaign(ended(VALID)).stop_time == {}


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (1, 1), (50, 50), (99, 99), (100, 100)])
def test_percentiles_are_by_nearest_rank(percent: int, expected: int) -> None:
    assert percentile(range(1, 101), percent) == expected
    assert percentile([MS], percent) == MS


def test_the_campaign_and_the_report_say_the_same_of_the_same_stops() -> None:
    runs = [ended(VALID, seed, stop_times=(stop(0.0 if seed <= 4 else 0.1 * seed),)) for seed in range(1, 9)]
    (row,) = stop_times.summarise(stop_times.table(runs))
    said = campaign(*runs).stop_time
    assert [said["p50_ns"], said["p99_ns"], said["p100_ns"]] == [row.admission_ns.p50, row.admission_ns.p99, row.admission_ns.worst]
    assert (row.admission_ns.p50, row.ratio.p50) == (0, 0), "of an even number the lower of the two in the middle"


def test_a_rare_state_that_every_run_could_have_reached_and_none_did_leaves_a_campaign_unknown() -> None:
    names = (NAME, "another", "a-third")

    def played(name: str, seed: int) -> RunResult:
        return run(name, seed, VALID, finding(VALID), rarities={"lease-regained": 0, "presumed-stopped": 1})

    seldom = [played(names[seed % 3], seed) for seed in range(200)]
    made = summarise_of(names, *seldom)
    assert (made.verdict, made.vacuous) == (UNKNOWN, ("lease-regained",))
    assert {name: (state.possible, state.reached) for name, state in made.rarities.items()} == {
        "lease-regained": (200, 0),
        "presumed-stopped": (200, 200),
    }
    assert summarise_of(names, *seldom[1:]).verdict is VALID
    assert summarise_of(names, *seldom, ended(INVALID, 999)).verdict is INVALID
    assert summarise_of(names, *seldom, ended(VALID, 999, rarities={"lease-regained": 2})).vacuous == ()
    alone = campaign(*(played(NAME, seed) for seed in range(200)))
    assert (alone.verdict, alone.rarities["lease-regained"].reached) == (VALID, 0), "one scenario may never come to it, and is told so"


def test_an_entry_of_the_timeline_that_came_about_in_no_run_is_vacuous_and_named_with_what_it_waits_for() -> None:
    made = campaign(ended(VALID, 1, not_played=("hard-1",)), ended(VALID, 2, not_played=("hard-1", "partition-1")))
    assert (made.verdict, made.scenarios[0].never_came_about) == (UNKNOWN, {"hard-1": "partition.on"})
    assert "came about in no run: 'hard-1' waits for partition.on; play more seeds" in made.scenarios[0].why
    assert campaign(ended(VALID, 1, not_played=("hard-1",)), ended(VALID, 2)).verdict is VALID


def test_a_run_that_was_ended_early_does_not_tell_what_never_comes_about() -> None:
    made = campaign(ended(VALID, not_played=("hard-1",), ended="stop condition: facts above 3"))
    assert (made.verdict, made.scenarios[0].never_came_about) == (VALID, {})


def test_a_violation_stays_one_beside_what_never_came_about() -> None:
    assert campaign(ended(INVALID, not_played=("hard-1",))).verdict is INVALID
