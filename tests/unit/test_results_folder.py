"""Who may write into a folder of results: nobody beside somebody else, and nobody over the undo ledger of a live run that was cut short."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import live_cli, results_folder, results_store
from harness.exits import Exit, Refused
from harness.live import ledger
from killswitch.live import process
from killswitch.live.process import Identified


def identity(pid: int) -> Identified:
    found = process.identify(pid)
    assert found is not None
    return found


def somebody_gone() -> Identified:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    found = identity(child.pid)
    child.communicate(b"\n")
    return found


def ledger_of(out: Path, owner: Identified) -> Path:
    run = out / "live" / "a-run"
    run.mkdir(parents=True)
    kept = ledger.Ledger(run / ledger.FILE, ledger.Opened("r1", owner, str(run)))
    kept.intend(ledger.File(str(run / "flag")))
    kept.close()
    return run / ledger.FILE


def test_a_folder_has_one_writer_and_the_second_is_told_who_is_the_first(tmp_path: Path) -> None:
    out, refused = tmp_path / "out", pytest.raises(Refused, match=f"process {os.getpid()} is writing its results into")
    with results_folder.claimed(out), refused, results_folder.claimed(out):
        pass
    with results_folder.claimed(out):
        pass


def test_a_lock_ends_with_its_process_whatever_ends_that(tmp_path: Path) -> None:
    script = f"""
import os, pathlib
from harness import results_folder
with results_folder.claimed(pathlib.Path({str(tmp_path)!r})):
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    with results_folder.claimed(tmp_path):
        pass


def test_what_a_live_run_left_undone_is_not_written_over(tmp_path: Path) -> None:
    place = ledger_of(tmp_path, somebody_gone())
    before = place.read_bytes()
    with (
        pytest.raises(Refused, match=f"cut short there, and 1 of what .*`haltproof recover {tmp_path}`") as refused,
        results_folder.claimed(tmp_path),
    ):
        pass
    assert refused.value.code is Exit.RESIDUE
    assert place.read_bytes() == before
    assert live_cli.recover(tmp_path) is Exit.VALID
    with results_folder.claimed(tmp_path):
        pass


def test_a_live_run_that_goes_on_keeps_its_folder(tmp_path: Path) -> None:
    ledger_of(tmp_path, identity(os.getpid()))
    with pytest.raises(Refused, match=f"a live run of process {os.getpid()} goes on there"), results_folder.claimed(tmp_path):
        pass


def test_a_ledger_that_never_began_has_changed_nothing(tmp_path: Path) -> None:
    ledger_of(tmp_path, identity(os.getpid())).write_bytes(b'{"type":"Ope')
    with results_folder.claimed(tmp_path):
        pass


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_there_is_nothing_to_recover_from_where_nothing_is(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(Refused, match="no such directory"):
        live_cli.recover(tmp_path / name)


def test_a_folder_of_something_else_is_not_said_to_have_nothing_to_recover(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("ten years")
    with pytest.raises(Refused, match="neither results nor a ledger"):
        live_cli.recover(tmp_path)


@pytest.mark.parametrize("theirs", ["runs/2026-11-03/weights.bin", "live/show.mp4", "runs.jsonl", "campaign.json", ".lock"])
def test_a_folder_of_somebody_else_is_not_taken_for_ours_by_the_names_in_it(tmp_path: Path, theirs: str) -> None:
    """Results are cleared away for the next ones."""
    (tmp_path / theirs).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / theirs).write_text('{"schema": "their/campaign/1"}')
    with pytest.raises(Refused, match="holds something that is not a result"), results_folder.claimed(tmp_path):
        pass
    assert sorted(place.relative_to(tmp_path).as_posix() for place in tmp_path.rglob("*") if place.is_file()) == [theirs]


def test_ours_is_known_by_its_lock_its_answer_or_a_ledger(tmp_path: Path) -> None:
    with results_folder.claimed(tmp_path / "begun"):
        (tmp_path / "begun" / "runs").mkdir()
    ledger_of(tmp_path / "live", somebody_gone())
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / "campaign.json").write_text('{"schema": "haltproof/campaign/1"}')
    assert all(results_folder.is_one(tmp_path / name) for name in ("begun", "live", "done"))


def written(out: Path, word: str) -> None:
    (out / "runs" / "a-1").mkdir(parents=True)
    (out / "runs" / "a-1" / "history.jsonl").write_text(word)
    (out / results_store.CAMPAIGN_FILE).write_text(word)


def refused(out: Path) -> None:
    """A campaign that turns out to be impossible when it has begun."""
    with results_folder.claimed(out), results_folder.replaced(out):
        assert not (out / results_store.CAMPAIGN_FILE).exists() and not (out / "runs").exists()
        (out / "live" / "calibration").mkdir(parents=True)
        written(out, "refused")
        raise Refused("this host has no such thing", Exit.CAPABILITY)


def test_what_an_earlier_campaign_left_comes_back_when_the_next_is_refused(tmp_path: Path) -> None:
    with results_folder.claimed(tmp_path):
        written(tmp_path, "earlier")
    with pytest.raises(Refused, match="no such thing"):
        refused(tmp_path)
    assert (tmp_path / results_store.CAMPAIGN_FILE).read_text() == (tmp_path / "runs" / "a-1" / "history.jsonl").read_text() == "earlier"
    assert sorted(path.name for path in tmp_path.iterdir()) == [results_folder.LOCK_FILE, results_store.CAMPAIGN_FILE, "runs"]


def test_what_an_earlier_campaign_left_is_gone_when_the_next_is_played(tmp_path: Path) -> None:
    written(tmp_path, "earlier")
    with results_folder.replaced(tmp_path):
        written(tmp_path, "later")
    assert (tmp_path / results_store.CAMPAIGN_FILE).read_text() == "later"
    assert not (tmp_path / results_folder.ASIDE).exists()
