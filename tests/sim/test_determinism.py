"""The same schedule is the same run, byte for byte: twice in a row, under any hash seed, in any directory, on any Python from 3.11 to 3.13."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from msgspec.structs import replace

from harness.cli import answer
from harness.shared.implementation import Killswitch
from scenarios import load
from scenarios import schedule as schedules
from scenarios.draw import draw
from scenarios.schedule import Tape
from sim.driver import play
from tests.repo.modules import ROOT
from tests.sim import interpreters
from tests.sim.worlds import SECOND, played

NAMES = ("swarm-storm", "kill-during-partition", "duplicated-and-reordered-signals", "resume-race")
SEED = 11
VERSION = "as tried"  # the fingerprint of the code is not what is tried here

# What a stranger's process does: draw, play, print. Nothing of this test's own process is left in it.
ELSEWHERE = """
import json, sys
from harness.shared.implementation import Killswitch
from scenarios import load
from scenarios.draw import draw
from sim.driver import play
schedules = [draw(load.load(load.find(name)), int(sys.argv[1]), "as tried") for name in sys.argv[2:]]
print(json.dumps([[schedule.digest(), play(schedule, Killswitch()).digest] for schedule in schedules]))
"""


@cache
def here() -> list[list[str]]:
    """[digest of the schedule, digest of the run] of each scenario, in this process."""
    drawn = [draw(load.load(load.find(name)), SEED, VERSION) for name in NAMES]
    return [[schedule.digest(), play(schedule, Killswitch()).digest] for schedule in drawn]


def elsewhere(python: str | Path, cwd: Path, **environment: str) -> list[list[str]]:
    """The same in a process of its own. ``cwd`` holds nothing; the project is found by PYTHONPATH."""
    command = [str(python), "-c", ELSEWHERE, str(SEED), *NAMES]
    surroundings = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    done = subprocess.run(command, cwd=cwd, env=surroundings, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    answered: list[list[str]] = json.loads(done.stdout)
    return answered


def test_a_schedule_played_twice_is_the_same_run() -> None:
    for name, (_, digest) in zip(NAMES, here(), strict=True):
        again = play(draw(load.load(load.find(name)), SEED, VERSION), Killswitch())
        assert again.digest == digest


def test_another_seed_is_another_run() -> None:
    scenario = load.load(load.find("quiet-fleet"))
    digests = {play(draw(scenario, seed, VERSION), Killswitch()).digest for seed in range(1, 6)}
    assert len(digests) == 5


def test_another_tape_is_another_run_of_the_same_timeline() -> None:
    schedule = draw(load.load(load.find("kill-during-partition")), SEED, VERSION)
    other = replace(schedule, tape=Tape(seed="another"))
    assert play(schedule, Killswitch()).digest != play(other, Killswitch()).digest


def test_every_fact_and_every_step_counts_for_the_digest() -> None:
    assert played(duration_ns=SECOND).digest != played(duration_ns=SECOND + 1).digest


@pytest.mark.parametrize("hash_seed", ["0", "1", "random"])
def test_neither_hash_seed_nor_process_nor_directory_matters(hash_seed: str, tmp_path: Path) -> None:
    assert elsewhere(sys.executable, tmp_path, PYTHONHASHSEED=hash_seed) == here()


@pytest.mark.slow
@pytest.mark.parametrize("minor", ["3.11", "3.12", "3.13"])
def test_no_python_matters(minor: str, tmp_path: Path) -> None:
    try:
        python = interpreters.environment(minor)
    except interpreters.NotHere as missing:
        pytest.skip(str(missing))
    assert elsewhere(python, tmp_path, PYTHONHASHSEED="random") == here()


def test_a_schedule_file_replays_to_the_digest_of_its_token(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert answer(["run", "resume-race", "--seeds", "3..3", "--jobs", "1", "--out", str(tmp_path / "out"), "--json"]) == 0
    token = json.loads((tmp_path / "out" / "runs.jsonl").read_text())["token"]
    kept = tmp_path / "out" / "runs" / "resume-race-3" / "schedule.json"
    capfd.readouterr()
    digests = []
    for what in (token, str(kept)):
        assert answer(["replay", what, "--json"]) == 0
        digests.append(json.loads(capfd.readouterr().out)["digest"])
    assert digests[0] == digests[1]
    assert play(schedules.load(kept), Killswitch()).digest == digests[0]
    assert json.loads((tmp_path / "out" / "runs.jsonl").read_text())["digest"] == digests[0]
