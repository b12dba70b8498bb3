"""The command as people and scripts use it: what it answers, how it exits, and what it says when something is wrong."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.cli import answer
from scenarios import load

QUICK = "kill-during-partition"
Said = tuple[int, str, str]
Say = Callable[..., Said]


@pytest.fixture
def say(capfdbinary: pytest.CaptureFixture[bytes]) -> Say:
    """Run a command line in this process: (exit code, standard output, standard error)."""

    def run(*arguments: str) -> Said:
        code = answer(list(arguments))
        sys.stdout.flush()
        said = capfdbinary.readouterr()
        return code, said.out.decode(), said.err.decode()

    return run


def document(said: Said) -> Any:
    """The one JSON document on standard output, and nothing else."""
    return json.loads(said[1])


def token_of(out: Path) -> str:
    token: str = json.loads((out / "runs.jsonl").read_text().splitlines()[0])["token"]
    return token


# -- run


def test_run_answers_with_a_table_results_and_a_report(say: Say, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, stdout, stderr = say("run", QUICK, "isolate-then-soft", "--seeds", "2", "--jobs", "1", "--out", str(out))
    assert (code, stderr) == (0, "")
    assert re.search(rf"^{QUICK} +valid +2 ", stdout, re.MULTILINE)
    assert re.search(r"^valid: 4 runs in [\d.]+ s", stdout, re.MULTILINE)
    assert f"report: {out}/report.html" in stdout
    assert "\x1b" not in stdout  # no colours where nobody looks
    assert {"campaign.json", "runs.jsonl", "runs.parquet", "report.html", "report.md", "junit.xml", "runs"} <= {path.name for path in out.iterdir()}


def test_a_fault_that_made_no_difference_in_any_run_is_named(say: Say, tmp_path: Path) -> None:
    file = tmp_path / "idle.yaml"
    file.write_text(
        "scenario: idle\nhypothesis: Nobody has anything to duplicate.\ntopology: {tenants: {acme: {workers: 1, sinks: [ledger]}}}\n"
        "timeline:\n  - at: 1s\n    duplicate: {to: sidecars, what: certificate, for: 1s}\nduration: 3s\n"
    )
    code, stdout, _ = say("run", str(file), "--seeds", "1", "--jobs", "1", "--out", str(tmp_path / "out"))
    assert code == 0
    assert re.search(r"^idle +valid .* never made a difference: duplicate", stdout, re.MULTILINE)


def test_run_in_json_is_one_document_with_its_schema(say: Say, tmp_path: Path) -> None:
    said = say("run", QUICK, "--seeds", "4..5", "--jobs", "1", "--out", str(tmp_path / "out"), "--json")
    found = document(said)
    assert (said[0], said[2], found["schema"]) == (0, "", "haltproof/campaign/1")
    assert (found["verdict"], found["runs"], found["driver"], found["implementation"]) == ("valid", 2, "sim", "killswitch")
    assert found["scenarios"][0]["faults"]["partition"] == [2, 2, 2]
    assert found["failures"] == []
    assert found["stop_time"]["p99_ns"] <= found["stop_time"]["p100_ns"]
    assert found == json.loads((tmp_path / "out" / "campaign.json").read_text())


def test_results_may_be_replaced_by_results(say: Say, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    for seeds in ("1", "2"):
        assert say("run", QUICK, "--seeds", seeds, "--jobs", "1", "--out", out)[0] == 0
    assert len((tmp_path / "out" / "runs.jsonl").read_text().splitlines()) == 2


def test_a_violation_exits_with_1_and_says_how_to_see_it_again(say: Say, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = say("run", "isolate-then-soft", "--seeds", "2", "--jobs", "1", "--implementation", "B08", "--out", str(out), "--json")
    found = document(said)
    assert (said[0], found["verdict"]) == (1, "invalid")
    failure = found["failures"][0]
    assert failure["replay"] == f"haltproof replay '{failure['token']}'"
    assert failure["token"].endswith(":B08")
    assert Path(failure["witness"], "history.jsonl").is_file()
    code, stdout, _ = say("replay", failure["token"])
    assert code == 1
    assert re.search(r"^invalid S\d+: .*; witness: facts \d+", stdout, re.MULTILINE)
    assert say("replay", failure["token"], "--implementation", "killswitch")[0] == 0  # and the bug is gone
    shown = say("run", "isolate-then-soft", "--seeds", "1", "--jobs", "1", "--implementation", "B08", "--out", str(out))[1]
    assert "replay: haltproof replay 'hp1:isolate-then-soft:1:" in shown


def test_a_demand_that_no_run_reaches_exits_with_2(say: Say, tmp_path: Path) -> None:
    file = tmp_path / "vacuous.yaml"
    text = load.find("quiet-fleet").read_text().replace("scenario: quiet-fleet", "scenario: vacuous")
    file.write_text(re.sub(r"reached: \[[^\]]*\]", "reached: [escalated]", text))
    said = say("run", str(file), "--seeds", "1", "--jobs", "1", "--out", str(tmp_path / "out"), "--json")
    assert (said[0], document(said)["scenarios"][0]["why"]) == (2, "vacuous: no run reached escalated; play more seeds, or mend the scenario")


def test_a_stop_condition_exits_with_3(say: Say, tmp_path: Path) -> None:
    file = tmp_path / "stopping.yaml"
    file.write_text(load.find("quiet-fleet").read_text().replace("scenario: quiet-fleet", "scenario: stopping") + "\nstop-when: {facts: above 100}\n")
    assert say("run", str(file), "--seeds", "1", "--jobs", "1", "--out", str(tmp_path / "out"))[0] == 3
    (result,) = [json.loads(line) for line in (tmp_path / "out" / "runs.jsonl").read_text().splitlines()]
    assert result["ended"] == "stop condition: facts above 100"


def test_run_twice_says_for_each_run_that_it_is_the_same(say: Say) -> None:
    said = say("run", QUICK, "--seeds", "1", "--twice", "--json")
    (found,) = document(said)["runs"]
    assert (said[0], document(said)["schema"], found["divergence"]) == (0, "haltproof/twice/1", "")


def test_run_twice_catches_what_differs(say: Say) -> None:
    said = say("run", QUICK, "--seeds", "1", "--twice", "--json", "--implementation", "tests.quality.test_planted_bugs:WAVERING")
    (found,) = document(said)["runs"]
    assert said[0] == 1
    assert found["divergence"].startswith("the plays part at step ")


# -- the other commands


def test_list_shows_the_whole_library(say: Say) -> None:
    said = say("list", "--json")
    found = document(said)
    assert (said[0], found["schema"]) == (0, "haltproof/list/1")
    assert {each["scenario"] for each in found["scenarios"]} == set(load.library())
    assert all(each["hypothesis"] and "sim" in each["drivers"] for each in found["scenarios"])
    table = say("list")[1]
    assert all(name in table for name in load.library())


def test_explain_says_what_a_scenario_does_and_what_a_seed_makes_of_it(say: Say) -> None:
    plain, seeded = say("explain", QUICK), say("explain", QUICK, "--seed", "3")
    assert (plain[0], seeded[0]) == (0, 0)
    assert plain[1].startswith(f"{QUICK}\n")
    assert len(seeded[1]) > len(plain[1])


def test_validate_says_valid_of_each_file(say: Say) -> None:
    code, stdout, stderr = say("validate")
    assert (code, stderr) == (0, "")
    assert stdout.count(": valid\n") == len(load.library())


def test_validate_says_what_is_valid_and_can_show_little(say: Say, tmp_path: Path) -> None:
    short = tmp_path / "short.yaml"
    short.write_text("scenario: short\nhypothesis: b.\ntopology: {tenants: {acme: {workers: 1}}}\nsettle: 10ms\n", "utf-8")
    code, stdout, stderr = say("validate", str(short))
    assert (code, stderr) == (0, "")
    assert stdout.startswith(f"{short}: valid; settle: 10ms is less than the ")
    assert stdout.endswith("use more, or leave it out\n")


def test_schema_is_a_json_schema(say: Say) -> None:
    code, stdout, _ = say("schema")
    assert code == 0
    assert "$defs" in json.loads(stdout)


def test_report_renders_results_again(say: Say, tmp_path: Path) -> None:
    out = tmp_path / "out"
    say("run", QUICK, "--seeds", "1", "--jobs", "1", "--out", str(out))
    before = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    code, stdout, _ = say("report", str(out))
    assert code == 0
    assert str(out / "report.html") in stdout
    assert (out / "report.html").read_bytes() == before


def test_replay_keeps_what_it_played(say: Say, tmp_path: Path) -> None:
    say("run", QUICK, "--seeds", "1", "--jobs", "1", "--out", str(tmp_path / "out"))
    said = say("replay", token_of(tmp_path / "out"), "--out", str(tmp_path / "again"), "--json")
    found = document(said)
    assert (said[0], found["verdict"], found["seed"]) == (0, "valid", 1)
    assert (tmp_path / "again" / "report.html").is_file()
    again = tmp_path / "again" / "runs" / f"{QUICK}-1"
    assert (again / "history.jsonl").read_bytes() == (tmp_path / "out" / "runs" / f"{QUICK}-1" / "history.jsonl").read_bytes()


def test_a_token_of_a_file_of_ones_own_is_replayed_with_that_file(say: Say, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(load.find(QUICK).read_text().replace(f"scenario: {QUICK}", "scenario: mine"))
    say("run", str(file), "--seeds", "1", "--jobs", "1", "--out", str(tmp_path / "out"))
    token = token_of(tmp_path / "out")
    code, _, stderr = say("replay", token)
    assert code == 65
    assert "name its file with --scenario FILE" in stderr
    assert say("replay", token, "--scenario", str(file))[0] == 0


def test_bugs_are_listed_without_being_played(say: Say) -> None:
    found = document(say("bugs", "--list", "--json"))
    assert found["schema"] == "haltproof/bug-list/1"
    by_name = {bug["bug"]: bug for bug in found["bugs"]}
    assert by_name["B02"]["caught_by"] and by_name["B02"]["scenarios"] and by_name["C01"]["caught_by"] == []
    code, table, _ = say("bugs", "B02", "C01", "--list")
    assert (code, [line.split()[0] for line in table.splitlines()]) == (0, ["bug", "B02", "C01"])


def test_one_run_is_not_called_runs(say: Say, tmp_path: Path) -> None:
    assert re.search(r"^valid: 1 run in ", say("run", QUICK, "--seeds", "1", "--jobs", "1", "--out", str(tmp_path / "out"))[1], re.MULTILINE)


def test_results_that_were_cut_are_not_shown(say: Say, tmp_path: Path) -> None:
    out = tmp_path / "out"
    say("run", QUICK, "--seeds", "2", "--jobs", "1", "--out", str(out))
    runs = out / "runs.jsonl"
    runs.write_text(runs.read_text().splitlines(keepends=True)[0])
    code, stdout, stderr = say("report", str(out))
    assert (code, stdout) == (65, "")
    assert f"{runs}: runs: campaign.json says 2, and the lines of runs.jsonl make 1" in stderr


def test_bugs_prints_bug_by_invariant_by_seeds(say: Say) -> None:
    said = say("bugs", "B02", "C01", "--seeds", "3", "--jobs", "1", "--json")
    found = document(said)
    assert (said[0], found["schema"], found["seeds"]) == (0, "haltproof/bugs/1", 3)
    by_name = {catch["bug"]: catch for catch in found["catches"]}
    assert 1 <= by_name["B02"]["sightings"][0]["seeds"]["S19"] <= 3
    assert by_name["C01"]["status"] == "clean"
    table = say("bugs", "B02", "--seeds", "3", "--jobs", "1")[1]
    assert re.search(r"^B02 +found +S19.*: .*S19 in [123]", table, re.MULTILINE)
    assert "not found: none; false alarms: none" in table


def test_the_lever_halts_live_runs_until_it_is_released(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALTPROOF_HALT", str(tmp_path / "halt"))
    monkeypatch.setenv("HALTPROOF_TOXIPROXY", str(tmp_path / "none"))  # also where nothing could be played anyway
    code, said, _ = say("halt", "smoke in the hall")
    assert code == 0 and "pulled" in said
    code, said, complaint = say("run", QUICK, "--live", "--out", str(tmp_path / "out"))
    assert (code, said) == (3, "") and "safety lever: smoke in the hall" in complaint
    assert [say("halt", "--release")[:2] for _ in range(2)] == [(0, "released\n"), (0, "it was not pulled\n")]


def test_recover_finishes_what_a_ledger_says_and_names_what_it_cannot(say: Say, tmp_path: Path) -> None:
    opened = f'{{"type":"Opened","run":"r","owner":{{"pid":1,"start":0,"boot":"another"}},"directory":"{tmp_path}"}}'
    command = tmp_path / "command"
    command.touch()
    (tmp_path / "ledger.jsonl").write_text(f'{opened}\n{{"type":"Intended","entry":1,"undo":{{"type":"File","path":"{command}"}}}}\n')
    said = document(say("recover", str(tmp_path), "--json"))
    assert [(each["run"], each["undone"], each["left"]) for each in said["runs"]] == [("r", 1, [])]
    assert not command.exists()
    assert say("recover", str(tmp_path))[:2] == (0, "nothing to recover\n")
    (tmp_path / "ledger.jsonl").write_text("")
    code, _, complaint = say("recover", str(tmp_path))
    assert code == 4 and "left behind" in complaint


# -- what is wrong, and what to do about it


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run", "kil-during-partition"], 64, "did you mean 'kill-during-partition'?"),
        (["run", "/tmp"], 64, "a directory, and no scenario (got '/tmp'); name the .yaml files in it"),
        (["run", "no-such.yaml"], 64, "no scenario and no file of that name (got 'no-such.yaml')"),
        (["run", QUICK, "--seeds", "5..2"], 64, "--seeds: not a count or a range"),
        (["run", QUICK, "--seeds", "0"], 64, "so this is none (got '0'); for the seed 0 alone write 0..0"),
        (["replay"], 64, "parameter WHAT requires an argument"),
        (["run", QUICK, "--seeds", "many"], 64, "(got 'many'); write 20, or 100..150"),
        (["run", QUICK, "--jobs", "-1"], 64, "or at most 256 (got -1)"),
        (["run", QUICK, "--implementation", "B99"], 64, "no such implementation (got 'B99')"),
        (["run", QUICK, "--implementation", "no_such:thing"], 64, "cannot load 'no_such:thing'"),
        (["run", QUICK, QUICK], 65, "the name is taken by"),
        (["run", QUICK, "--require"], 64, "--require: goes with --live only"),
        (["run", QUICK, "--live", "--twice"], 64, "leave out --live or those"),
        (["run", QUICK, "--live", "--seeds", "1", "--implementation", "B99"], 64, "no such implementation"),
        (["run", "--frobnicate"], 64, "--frobnicate"),
        (["frobnicate"], 64, "frobnicate"),
        (["explain", QUICK, "--seed", "-1"], 64, "--seed: has to be 0 to"),
        (["explain", QUICK, "--seed", "x"], 64, "--seed"),
        (["replay", "nothing"], 64, "neither a token nor a file; a token begins with hp1:"),
        (["replay", "hp1:half"], 64, "was it copied whole?"),
        (["replay", "hp1:no-such:1:000000-000000"], 65, "name its file with --scenario FILE"),
        (["bugs", "B999"], 64, "no such bug: B999, but B"),
        (["run", QUICK, "--jobs", "99999999999999"], 64, "at most 256 (got 99999999999999)"),
        (["run", QUICK, "--seeds", "\u0663"], 64, "not a count or a range"),
        (["bugs", "--seeds", "0"], 64, "--seeds has to be positive, and --jobs 0 to 256 (got 0 and 0)"),
        (["report", "no-such-directory"], 64, "is this the directory that `haltproof run --out` wrote?"),
        (["validate", "no-such.yaml"], 64, "no-such.yaml: No such file or directory"),
    ],
)
def test_a_mistake_is_named_with_a_remedy_on_standard_error(arguments: list[str], code: int, said: str, say: Say) -> None:
    exit_code, stdout, stderr = say(*arguments)
    assert exit_code == code
    assert said in stderr
    assert stdout == ""
    assert "Traceback" not in stderr


def test_a_token_of_another_scenario_and_another_code_says_both_and_plays_nothing(say: Say) -> None:
    code, stdout, stderr = say("replay", f"hp1:{QUICK}:1:000000-ffffff")
    assert (code, stdout) == (65, "")
    assert re.search(r"scenario: kill-during-partition has changed since .*the token's 000000", stderr)
    assert re.search(r"version: the code has changed since .*the token's ffffff", stderr)


def test_all_problems_of_all_files_are_shown_and_good_ones_are_still_called_valid(say: Say, tmp_path: Path) -> None:
    good, broken, binary = tmp_path / "good.yaml", tmp_path / "broken.yaml", tmp_path / "binary.yaml"
    good.write_text(load.find(QUICK).read_text())
    broken.write_text("scenario: broken\nhypothesis: It breaks.\ntopology: {replicas: -3}\nduration: 5\nsetings: {}\n")
    binary.write_bytes(b"\xff\xfe\x00")
    code, stdout, stderr = say("validate", str(good), str(broken), str(binary))
    assert code == 65
    assert stdout == f"{good}: valid\n"
    assert len(re.findall(rf"^{re.escape(str(broken))}:\d+:\d+: ", stderr, re.MULTILINE)) >= 3
    assert f"{binary}:1:1: file: not UTF-8" in stderr


@pytest.mark.parametrize("content", ["", "{", '{"schema": "other"}', "[1, 2]", "\x00"])
def test_a_broken_schedule_file_is_refused_by_its_name(content: str, say: Say, tmp_path: Path) -> None:
    file = tmp_path / "schedule.json"
    file.write_text(content)
    code, stdout, stderr = say("replay", str(file))
    assert (code, stdout) == (65, "")
    assert stderr.startswith(f"{file}: ")
    assert "Traceback" not in stderr


def test_results_never_go_over_something_else(say: Say, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("ten years")
    for out in (tmp_path, tmp_path / "thesis.tex"):
        code, _, stderr = say("run", QUICK, "--seeds", "1", "--jobs", "1", "--out", str(out))
        assert code == 64
        assert "holds something that is not a result; name an empty or a new directory" in stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_bug_of_ours_says_so(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("scenarios.jsonschema.text", fail)
    code, _, stderr = say("schema")
    assert code == 70
    assert "ZeroDivisionError: ours" in stderr
    assert "this is a bug of haltproof" in stderr
