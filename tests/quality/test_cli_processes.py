"""The command as a process among others: readers who leave, Ctrl-C, workers that are killed, and two that want one directory."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.repo.modules import ROOT

QUICK = "kill-during-partition"


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """The command in a process group of its own, so that nothing of it can hide."""
    command = [sys.executable, "-m", "harness.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def members(group: int) -> list[int]:
    """Processes of a group that are alive."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, pgrp = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if int(pgrp) == group and state != "Z":
                found.append(int(entry.name))
    return found


def wait_for(what: Callable[[], bool], why: str, timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < end, why
        time.sleep(0.05)


def started_runs(out: Path) -> bool:
    """Whether a first run is on disk, so that workers are at work."""
    return any(out.glob("runs/*/findings.json"))


def test_whoever_reads_no_further_is_not_told_that_all_is_well(tmp_path: Path) -> None:
    with start("run", "minority-grants-nothing", "--seeds", "1", "--implementation", "B02", "--out", "out", cwd=tmp_path) as running:
        assert running.stdout is not None
        running.stdout.close()
        assert running.wait(60) == 141
    assert (tmp_path / "out" / "campaign.json").exists()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_ctrl_c_keeps_what_is_done_exits_with_130_and_leaves_no_worker(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start("run", QUICK, "--seeds", "100000", "--jobs", "2", "--out", str(out), "--json", cwd=tmp_path)
    try:
        wait_for(lambda: started_runs(out), "no run was played")
        time.sleep(1)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    found = json.loads(stdout)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert found["verdict"] == "unknown"
    assert 0 < found["runs"] < 100_000
    assert len((out / "runs.jsonl").read_text().splitlines()) == found["runs"]
    assert (out / "report.html").is_file()
    wait_for(lambda: members(process.pid) == [], "a worker was left", 10)


def test_two_commands_never_write_into_one_results_directory(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start("run", QUICK, "--seeds", "100000", "--jobs", "1", "--out", str(out), cwd=tmp_path)
    try:
        wait_for(lambda: started_runs(out), "no run was played")
        other = start("run", "isolate-then-soft", "--seeds", "1", "--implementation", "B02", "--out", str(out), cwd=tmp_path)
        stdout, stderr = other.communicate(timeout=60)
        assert (other.returncode, stdout) == (64, "") and f"process {process.pid} is writing its results into {out}" in stderr
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
    finally:
        process.kill()
    found = json.loads((out / "campaign.json").read_text())
    assert [each["scenario"] for each in found["scenarios"]] == [QUICK]
    assert len((out / "runs.jsonl").read_text().splitlines()) == found["runs"]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_a_worker_that_is_killed_ends_the_campaign_with_the_reason_and_what_was_done(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start("run", QUICK, "--seeds", "100000", "--jobs", "2", "--out", str(out), cwd=tmp_path)
    try:
        wait_for(lambda: started_runs(out), "no run was played")
        worker = next(pid for pid in members(process.pid) if pid != process.pid and b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(worker, signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 2, stderr
    assert "a worker process died; was it killed, or the memory short? Try fewer --jobs" in stderr
    assert "Traceback" not in stderr
    assert re.search(r"^unknown: \d+ runs in ", stdout, re.MULTILINE)
    assert (out / "campaign.json").is_file()
    wait_for(lambda: members(process.pid) == [], "a worker was left", 10)


def test_the_command_runs_from_anywhere_and_prints_json_only(tmp_path: Path) -> None:
    process = start("run", QUICK, "--seeds", "2", "--jobs", "2", "--json", cwd=tmp_path)
    stdout, stderr = process.communicate(timeout=120)
    assert (process.returncode, stderr) == (0, "")
    assert json.loads(stdout)["runs"] == 2
    assert (tmp_path / "out" / "run" / "report.html").is_file()
