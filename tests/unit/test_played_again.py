"""Live runs that are played again: which, how it is told, and that nothing of it gets lost between the results, the answer and the log of a job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from harness import agreement, summary, terminal
from harness.live_campaign import expected, what_is_undecided
from harness.results import Attempt, Campaign, RunResult
from harness.verdict import Finding, Verdict
from scenarios import load
from scripts.check import Phase, told
from tests.unit.campaigns import run

NAME = "kill-during-partition"
VALID, INVALID, UNKNOWN = Verdict.VALID, Verdict.INVALID, Verdict.UNKNOWN
UNSEEN = "not seen to have happened: cut: {'paths': 3, 'echoed': 3}"
REACHED = {"lease-lost": 1, "process-killed": 2, "order-status(stage=EFFECTIVE)": 1}


def ended(verdict: Verdict, invariant: Verdict = VALID, **changes: Any) -> RunResult:
    finding = Finding(invariant="L3", verdict=invariant, why="" if invariant is VALID else "too late", examined=1)
    return structs.replace(run(NAME, 1, verdict, finding), driver="live", reached=REACHED, **changes)


def campaign(made: RunResult) -> Campaign:
    scenario = load.load(load.find(NAME))
    return summary.summarise(
        [made], {NAME: scenario}, driver="live", implementation="killswitch", version="0", wall_s=1.0, out=Path("out"), replay=""
    )


def again(made: RunResult) -> RunResult:
    return structs.replace(made, earlier=(Attempt(why=UNSEEN, ended="complete", wall_s=9.0, kept=f"runs/{NAME}-1.1"),))


@pytest.mark.parametrize(
    ("made", "undecided"),
    [
        (ended(VALID), ""),
        (ended(UNKNOWN, why=UNSEEN), UNSEEN),
        (ended(UNKNOWN, UNKNOWN), "L3: too late"),
        (ended(UNKNOWN, UNKNOWN, why=UNSEEN), f"{UNSEEN}; L3: too late"),
        (ended(INVALID, INVALID, why=UNSEEN), ""),  # whatever else was not seen: a violation is never tried away
        (ended(UNKNOWN, why="x", ended="safety lever: pulled"), ""),
        (ended(UNKNOWN, why="x", ended="stop condition: facts above 3"), ""),
    ],
)
def test_what_is_undecided_may_be_decided_by_another_play(made: RunResult, undecided: str) -> None:
    assert what_is_undecided(made) == undecided


def test_a_valid_run_without_what_its_scenario_demands_decides_nothing() -> None:
    scenario = load.load(load.find(NAME))
    short = structs.replace(ended(VALID), reached={"lease-lost": 1})
    hoped = expected(scenario, [short])
    assert hoped == ("process-killed", "order-status(stage=EFFECTIVE)")
    assert what_is_undecided(short, hoped) == "not reached: process-killed, order-status(stage=EFFECTIVE)"
    assert what_is_undecided(ended(VALID), hoped) == "" and expected(scenario, [short, ended(VALID)]) == ()


def test_the_campaign_says_what_was_played_again_and_its_verdict_is_of_the_last_play() -> None:
    made = campaign(again(ended(VALID)))
    assert (made.verdict, made.runs) == (VALID, 1)
    (first,) = made.played_again
    assert (first.scenario, first.seed, first.play, first.why, first.kept) == (NAME, 1, 1, UNSEEN, f"runs/{NAME}-1.1")
    assert campaign(again(ended(UNKNOWN, why=UNSEEN))).verdict is UNKNOWN
    assert list(agreement.problems(made, [again(ended(VALID))])) == []
    assert any(problem.startswith("played_again") for problem in agreement.problems(made, [ended(VALID)]))


def test_the_end_of_the_answer_names_each_run_that_is_not_valid_with_its_reason() -> None:
    assert terminal.endings(campaign(ended(VALID))) == []
    lines = terminal.endings(campaign(again(ended(INVALID, INVALID, why=UNSEEN))))
    assert lines == [f"played again: {NAME}, seed 1, after play 1: {UNSEEN}", f"invalid: {NAME}, seed 1: L3: too late"]
    (vacuous,) = terminal.endings(campaign(structs.replace(ended(VALID), reached={})))
    assert vacuous.startswith(f"unknown: {NAME}, all runs: vacuous: no run reached lease-lost")
    long = terminal.endings(campaign(ended(UNKNOWN, why="so " * 900)))
    assert len(long) == 1 and len(long[0]) < terminal.ENDING_MOST + 10


def test_no_end_of_an_answer_is_longer_than_what_one_sees_of_a_log() -> None:
    failed = campaign(ended(INVALID, INVALID))
    many = structs.replace(failed, failures=tuple(structs.replace(failed.failures[0], seed=seed) for seed in range(40)))
    lines = terminal.endings(many)
    assert len(lines) == terminal.ENDINGS_SHOWN + 1 and lines[-1] == "... and 30 more not valid, in the report"


def test_a_job_repeats_it_below_everything_else(tmp_path: Path) -> None:
    from msgspec import json as encoded

    (tmp_path / "campaign.json").write_bytes(encoded.encode(campaign(again(ended(UNKNOWN, why=UNSEEN)))))
    assert json.loads((tmp_path / "campaign.json").read_text())["verdict"] == "unknown"
    lines = told(Phase("live runs", (), answers=(str(tmp_path), str(tmp_path / "none"))))
    assert lines == [f"live runs: played again: {NAME}, seed 1: {UNSEEN}", f"live runs: unknown: {NAME}, seed 1: {UNSEEN}"]
