"""Results that somebody cut or edited: `haltproof report` names what does not fit, and shows nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from harness import agreement, campaign, results_store
from harness.verdict import Verdict
from tests.unit import campaigns

Lines = list[dict[str, Any]]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A kept run of a history whose facts are counted right."""
    place = campaigns.write(tmp_path / "out")
    results = results_store.load(place)
    facts = len(campaigns.violated_history())
    results_store.save(place, results.campaign, [structs.replace(run, facts=facts) if run.kept else run for run in results.runs])
    return place


def test_what_was_saved_agrees(out: Path) -> None:
    agreement.demand(out)


def test_a_single_run_that_was_replayed_agrees_and_has_its_own_verdict(tmp_path: Path) -> None:
    history = campaigns.violated_history()
    run = campaigns.run("kill-during-partition", 7, Verdict.INVALID, campaigns.violation(history), facts=len(history))
    kept = results_store.keep_run(tmp_path, run, campaigns.schedule(), history)
    results_store.save(tmp_path, campaign.of_one(kept, tmp_path), [kept])
    agreement.demand(tmp_path)
    assert results_store.load(tmp_path).campaign.verdict is Verdict.INVALID


EDITS: dict[str, tuple[Callable[[Lines], Any], str]] = {
    "the last line gone": (lambda lines: lines.pop(), "runs: campaign.json says 5, and the lines of runs.jsonl make 4"),
    "all lines gone": (lambda lines: lines.clear(), "runs: campaign.json says 5, and the lines of runs.jsonl make 0"),
    "a line twice": (lambda lines: lines.append(lines[0]), "'soft-overtaken-by-hard', seed 1 stands in 2 lines"),
    "one line in place of another": (lambda lines: lines.__setitem__(0, lines[1]), "'soft-overtaken-by-hard', seed 2 stands in 2 lines"),
    "a verdict turned": (lambda lines: lines[2].update(verdict="valid"), "line 3: verdict: valid, and its findings come to invalid"),
    "a verdict and its findings turned": (
        lambda lines: (lines[3].update(verdict="valid"), lines[3]["findings"].pop(0)),
        "failures: campaign.json tells of S1 invalid in 'kill-during-partition', seed 9, and runs.jsonl does not",
    ),
    "a violation put in": (
        lambda lines: (lines[0].update(verdict="invalid"), lines[0]["findings"][0].update(verdict="invalid")),
        "'soft-overtaken-by-hard': verdict: valid in campaign.json, and 1 runs are invalid",
    ),
    "a finding gone": (
        lambda lines: lines[0]["findings"].pop(),
        "'soft-overtaken-by-hard': S18 (valid, invalid, unknown): campaign.json says (2, 0, 0)",
    ),
    "another scenario": (lambda lines: lines[0].update(scenario="other"), "scenarios: campaign.json has no 'other', and runs.jsonl has runs of it"),
    "another driver": (lambda lines: lines[0].update(driver="live"), "line 1: driver: 'live', and the campaign was played by 'sim'"),
    "a seed that its token does not have": (
        lambda lines: lines[0].update(token="hp1:soft-overtaken-by-hard:9:000000-000000"),
        "line 1: its token is of 'soft-overtaken-by-hard', seed 9, and it says 'soft-overtaken-by-hard', seed 1",
    ),
    "a skip": (
        lambda lines: lines[0]["findings"][0].update(skipped=3),
        "'soft-overtaken-by-hard': skipped: campaign.json says {}, and the lines of runs.jsonl make {'S1': (1, 3)}",
    ),
    "what was not judged": (
        lambda lines: [line.update(not_judged=["S24"]) for line in lines[:2]],
        "'soft-overtaken-by-hard': not_judged: campaign.json says (), and the lines of runs.jsonl make ('S24',)",
    ),
    "money": (lambda lines: lines[0].update(spent=1), "'soft-overtaken-by-hard': spent: campaign.json says 0, and the lines of runs.jsonl make 1"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_line_is_named(out: Path, name: str) -> None:
    edit, said = EDITS[name]
    place = out / results_store.RUNS_FILE
    lines = [json.loads(line) for line in place.read_text().splitlines()]
    edit(lines)
    place.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(ValueError, match="edited or cut short, and are not shown; play them again") as refused:
        agreement.demand(out)
    assert f"{place}: " in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [("verdict", "valid", "verdict: valid, and all that was played comes to invalid"),
     ("verdict", "unknown", "verdict: unknown, and there is a violation"),
     ("failures", [], "failures: runs.jsonl tells of S1 invalid in 'kill-during-partition', seed 7, and campaign.json does not"),
     ("stop_time", {"p50_ns": 1}, "stop_time: campaign.json says {'p50_ns': 1}")],
)  # fmt: skip
def test_an_edited_campaign_is_named(out: Path, field: str, value: Any, said: str) -> None:
    place = out / results_store.CAMPAIGN_FILE
    place.write_text(json.dumps({**json.loads(place.read_text()), field: value}))
    with pytest.raises(ValueError, match="edited or cut short") as refused:
        agreement.demand(out)
    assert said in str(refused.value)


def test_a_campaign_that_was_turned_invalid_is_named(tmp_path: Path) -> None:
    run = campaigns.run("kill-during-partition", 7, Verdict.VALID)
    results_store.save(tmp_path, structs.replace(campaign.of_one(run, tmp_path), verdict=Verdict.INVALID), [run])
    with pytest.raises(ValueError, match="verdict: invalid, and nothing that was played is"):
        agreement.demand(tmp_path)


def test_a_kept_run_that_was_edited_is_named(out: Path) -> None:
    kept = out / "runs" / "kill-during-partition-7"
    history = kept / results_store.HISTORY_FILE
    whole = history.read_bytes()
    history.write_bytes(whole[:-20])
    with pytest.raises(ValueError, match=r"history\.jsonl:[0-9]+: fact: not a JSON list of five"):
        agreement.demand(out)
    history.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    (kept / results_store.FINDINGS_FILE).write_text("[]")
    with pytest.raises(ValueError, match="edited or cut short") as refused:
        agreement.demand(out)
    assert "findings.json: not the findings of 'kill-during-partition', seed 7" in str(refused.value)
    assert "history.jsonl: " in str(refused.value)


def test_not_more_is_told_than_a_person_reads(out: Path) -> None:
    runs = [campaigns.run(f"s{number}", 1, Verdict.VALID) for number in range(100)]
    assert len(agreement.problems(results_store.load(out).campaign, runs)) > agreement.TOLD_MAX
    results_store.save(out, results_store.load(out).campaign, runs)
    with pytest.raises(ValueError, match="edited or cut short") as refused:
        agreement.demand(out)
    assert len(str(refused.value).splitlines()) == agreement.TOLD_MAX + 1
