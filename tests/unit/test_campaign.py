"""Many runs: how they are cut into chunks, that a pool plays what one process plays, what is kept, and what an end before the end leaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import campaign, results_store
from harness.campaign import CHUNK_MAX, Chunk, Outcome, WorkerDied, finish, of_one, plan, play_all, play_chunk
from harness.results import RunResult
from harness.shared.history import History
from harness.shared.interruption import Terminated
from harness.verdict import Verdict
from scenarios import load, schedule

QUICK = load.find("kill-during-partition")
OTHER = load.find("isolate-then-soft")


def keys(outcome: Outcome) -> list[tuple[str, int, str, Verdict]]:
    return [(run.scenario, run.seed, run.digest, run.verdict) for run in outcome.runs]


def chunk(*seeds: int, out: Path | None = None, implementation: str = "killswitch", stop_at_first: bool = False) -> Chunk:
    return Chunk(str(OTHER), seeds, implementation, str(out or ""), keep_first=True, stop_at_first=stop_at_first)


@pytest.mark.parametrize("count", [1, 7, 8, 100, 1000])
def test_a_plan_holds_every_seed_once_in_small_chunks_and_scenarios_take_turns(count: int) -> None:
    chunks = plan([QUICK, OTHER], lambda scenario: range(1, count + 1), "killswitch", None)
    for path in (QUICK, OTHER):
        assert [seed for each in chunks if each.path == str(path) for seed in each.seeds] == list(range(1, count + 1))
        assert next(each.keep_first for each in chunks if each.path == str(path))
        assert sum(each.keep_first for each in chunks if each.path == str(path)) == 1
    assert max(len(each.seeds) for each in chunks) <= CHUNK_MAX
    assert [each.path for each in chunks[:2]] == [str(QUICK), str(OTHER)]
    assert count < 8 or len(chunks) >= 16  # enough of them for several workers, and for a progress that moves


def test_each_scenario_may_have_its_own_seeds_and_no_seeds_is_no_chunk() -> None:
    chunks = plan([QUICK, OTHER], lambda scenario: range(3) if scenario.scenario == "isolate-then-soft" else range(0), "killswitch", None)
    assert {each.path for each in chunks} == {str(OTHER)}
    assert plan([], lambda scenario: range(3), "killswitch", None) == []


def test_a_pool_plays_what_one_process_plays_in_the_order_of_the_seeds() -> None:
    chunks = plan([QUICK, OTHER], lambda scenario: range(1, 4), "killswitch", None)
    seen: list[tuple[int, int]] = []
    alone = play_all(chunks, 1, lambda done, total: seen.append((done, total)))
    pooled = play_all(chunks, 2)
    assert keys(alone) == keys(pooled)
    assert [(run.scenario, run.seed) for run in alone.runs] == [
        (name, seed) for name in ("isolate-then-soft", "kill-during-partition") for seed in (1, 2, 3)
    ]
    assert seen == [(done, 6) for done in range(1, 7)]
    assert (alone.interrupted, alone.broken) == (False, "")


def test_the_first_run_is_kept_and_every_bad_one_and_no_other(tmp_path: Path) -> None:
    runs = play_chunk(chunk(1, 2, 3, out=tmp_path))
    assert [bool(run.kept) for run in runs] == [True, False, False]
    bad = play_chunk(chunk(1, 2, 3, out=tmp_path, implementation="B08"))
    assert [bool(run.kept) for run in bad] == [run.verdict is not Verdict.VALID or run.seed == 1 for run in bad]
    assert any(run.verdict is Verdict.INVALID for run in bad)
    for run in bad:
        if run.kept:
            place = tmp_path / run.kept
            assert schedule.load(place / "schedule.json").seed == run.seed
            assert len(History.load(place / "history.jsonl")) == run.facts
            assert results_store.load_findings(tmp_path, run) == run.findings


def test_nothing_is_kept_where_nothing_is_wanted() -> None:
    assert [run.kept for run in play_chunk(chunk(1))] == [""]


def test_a_chunk_may_stop_at_its_first_violation() -> None:
    every = play_chunk(chunk(*range(1, 9), implementation="B08"))
    first = next(index for index, run in enumerate(every) if run.verdict is Verdict.INVALID)
    assert len(play_chunk(chunk(*range(1, 9), implementation="B08", stop_at_first=True))) == first + 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Terminated(), WorkerDied()])
def test_what_is_done_before_an_early_end_is_kept_and_the_whole_is_unknown(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two_and_out(chunks: list[Chunk]) -> Iterator[list[RunResult]]:
        for each in chunks[:2]:
            yield play_chunk(each)
        raise error

    monkeypatch.setattr(campaign, "_in_this_process", two_and_out)
    outcome = play_all(plan([QUICK], lambda scenario: range(1, 9), "killswitch", tmp_path), 1)
    assert [run.seed for run in outcome.runs] == [1, 2]
    assert (outcome.interrupted, outcome.terminated) == (not isinstance(error, WorkerDied), isinstance(error, Terminated))
    made = finish(outcome, [QUICK], driver="sim", implementation_name="killswitch", out=tmp_path, began=0.0)
    assert (made.verdict, made.runs) == (Verdict.UNKNOWN, 2)
    assert made.scenarios[0].verdict is Verdict.UNKNOWN
    assert made.scenarios[0].why == outcome.broken
    assert [run.seed for run in results_store.load(tmp_path).runs] == [1, 2]


def test_a_single_run_makes_a_campaign_without_a_scenario_file(tmp_path: Path) -> None:
    (run,) = play_chunk(chunk(1))
    made = of_one(run, tmp_path)
    assert made.runs == 1
