"""Results on disk: what is written comes back, a broken file is named by its place, and no name leads out of the directory."""

from __future__ import annotations

from pathlib import Path

import duckdb
import msgspec
import pytest
from msgspec import structs

from harness import results_store
from harness.results import RunResult
from harness.verdict import Verdict
from scenarios.schedule import load as load_schedule
from tests.unit import campaigns


def test_everything_comes_back(tmp_path: Path) -> None:
    campaigns.write(tmp_path)
    results = results_store.load(tmp_path)
    assert structs.replace(results.campaign, files={}, seal="") == campaigns.campaign()
    assert [(run.scenario, run.seed) for run in results.runs] == [
        ("soft-overtaken-by-hard", 1), ("soft-overtaken-by-hard", 2), ("kill-during-partition", 7), ("kill-during-partition", 9),
        (campaigns.HOSTILE, 3),
    ]  # fmt: skip
    assert results.runs[2].stop_times[0] == campaigns.stop(1.0427)


def test_a_kept_run_has_its_schedule_history_and_findings(tmp_path: Path) -> None:
    campaigns.write(tmp_path)
    kept = results_store.load(tmp_path).runs[2]
    assert kept.kept == "runs/kill-during-partition-7"
    assert load_schedule(tmp_path / kept.kept / results_store.SCHEDULE_FILE) == campaigns.schedule()
    assert results_store.load_findings(tmp_path, kept) == kept.findings
    history = results_store.load_history(tmp_path, kept)
    assert history is not None
    assert [structs.replace(fact, body=dict(fact.body)) for fact in history] == campaigns.violated_history().facts


def test_a_run_that_was_not_kept_has_no_history(tmp_path: Path) -> None:
    campaigns.write(tmp_path)
    assert results_store.load_history(tmp_path, results_store.load(tmp_path).runs[0]) is None


def test_parquet_says_what_the_lines_say(tmp_path: Path) -> None:
    campaigns.write(tmp_path)
    place = str(tmp_path / results_store.PARQUET_FILE)
    runs = duckdb.read_parquet(place).order("seed")
    assert runs.columns == list(RunResult.__struct_fields__)
    assert runs.count("*").fetchall() == [(5,)]
    first = runs.project("scenario, seed, verdict, reached['order-durable'], faults['partition']").limit(1).fetchall()
    assert first == [("soft-overtaken-by-hard", 1, "valid", 6, [1, 1, 1])]
    stops = (
        runs.project("seed, unnest(stop_times) AS stop")
        .project('seed, stop.severity, stop."order", stop.last_admission_ns, stop.reaped_ns')
        .fetchall()
    )
    lines = [(run.seed, s.severity, s.order, s.last_admission_ns, s.reaped_ns) for run in results_store.load(tmp_path).runs for s in run.stop_times]
    assert len(stops) == 7
    assert sorted(stops, key=str) == sorted(lines, key=str)


def test_a_campaign_without_runs_is_saved_too(tmp_path: Path) -> None:
    results_store.save(tmp_path, campaigns.campaign(), [])
    assert results_store.load(tmp_path).runs == ()
    assert duckdb.read_parquet(str(tmp_path / results_store.PARQUET_FILE)).count("*").fetchall() == [(0,)]


def test_saving_again_replaces_and_leaves_no_drafts(tmp_path: Path) -> None:
    campaigns.write(tmp_path)
    campaigns.write(tmp_path)
    assert len(results_store.load(tmp_path).runs) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["campaign.json", "runs", "runs.jsonl", "runs.parquet"]


@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "..", "a/b", "/root", "", "a b", "ü", campaigns.HOSTILE, "x" * 500, "\ud800"])
def test_no_name_leads_out_of_the_directory(tmp_path: Path, name: str) -> None:
    folder = (tmp_path / results_store.run_folder(name, 1)).resolve()
    assert folder.parent == (tmp_path / "runs").resolve()
    assert len(folder.name) < 120


def test_names_that_only_differ_in_what_is_replaced_stay_apart() -> None:
    assert len({results_store.run_folder(name, 1) for name in ("a/b", "a_b", "a b", "a.b")}) == 4
    assert results_store.run_folder("kill-during-partition", 7) == "runs/kill-during-partition-7"


def test_a_kept_path_that_leads_out_is_refused(tmp_path: Path) -> None:
    campaigns.violated_history().save(tmp_path / results_store.HISTORY_FILE)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ValueError, match=r"runs\.jsonl: kept: leads out of the results directory \(got '\.\.'\)"):
        results_store.load_history(out, campaigns.run("a", 1, Verdict.VALID, kept=".."))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"campaign\.json: cannot be read \(No such file"):
        results_store.load(tmp_path)
    with pytest.raises(ValueError, match=r"history\.jsonl: there is no such file"):
        results_store.load_history(tmp_path, campaigns.run("a", 1, Verdict.VALID, kept="runs/a-1"))


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    campaigns.write(tmp_path)
    runs = tmp_path / results_store.RUNS_FILE
    lines = runs.read_bytes().splitlines(keepends=True)
    runs.write_bytes(lines[0] + lines[1][:-40] + b"\n" + b"".join(lines[2:]))
    with pytest.raises(ValueError, match=r"runs\.jsonl:2: "):
        results_store.load(tmp_path)


def test_another_form_is_refused(tmp_path: Path) -> None:
    campaigns.write(tmp_path)
    place = tmp_path / results_store.CAMPAIGN_FILE
    place.write_bytes(msgspec.json.encode({**msgspec.json.decode(place.read_bytes()), "schema": "haltproof/campaign/99"}))
    with pytest.raises(ValueError, match=r"schema: unknown form \(got 'haltproof/campaign/99'\)"):
        results_store.load(tmp_path)
