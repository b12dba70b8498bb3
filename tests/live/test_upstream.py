"""Upstream hands a task over until it hears how it ended, to whoever comes back; and a tethered process cannot outlive its parent."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from killswitch.core.events import Command, Submit
from killswitch.core.messages import Task
from killswitch.live import tether
from killswitch.live.upstream import Counter, Desk, Handed
from tests.live.scenes import until

pytestmark = pytest.mark.live

AGENT = "agent/acme/1"
TASKS = [Task(f"task-{number}", "sink/acme/ledger", 1, 1) for number in range(3)]
COMMAND = Command("order", "r", "alice", "acme", "tenant", "acme")


def test_open_tasks_go_to_whoever_comes_back_and_commands_go_once(tmp_path: Path) -> None:
    async def scene() -> None:
        desk = Desk()
        await desk.open(tmp_path / "desk")
        desk.submit(AGENT, TASKS[0])  # nobody is there yet
        desk.command("operator", COMMAND)
        for life in range(2):
            handed: list[Handed] = []
            counter = Counter(AGENT, tmp_path / "desk", handed.append)
            serving = asyncio.create_task(counter.serve())
            await until(lambda to=handed: Submit(TASKS[0]) in to)  # type: ignore[misc]
            if life == 0:
                desk.submit(AGENT, TASKS[1])
                await until(lambda to=handed: Submit(TASKS[1]) in to)  # type: ignore[misc]
                counter.tell_ended(TASKS[1].task, "COMPLETED")
            else:
                assert handed == [Submit(TASKS[0])]  # the other one has ended
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        commanded: list[Handed] = []
        for _ in range(2):
            serving = asyncio.create_task(Counter("operator", tmp_path / "desk", commanded.append).serve())
            await until(lambda: bool(commanded))
            await asyncio.sleep(0.05)
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        assert commanded == [COMMAND]
        desk.close()

    asyncio.run(scene())


def test_two_that_go_by_one_name_are_both_handed_its_tasks_and_one_of_them_a_command(tmp_path: Path) -> None:
    async def scene() -> None:
        desk, handed = Desk(), ([], [])  # type: tuple[Desk, tuple[list[Handed], list[Handed]]]
        await desk.open(tmp_path / "desk")
        desk.submit(AGENT, TASKS[0])
        serving = []
        for taken in handed:
            serving.append(asyncio.create_task(Counter(AGENT, tmp_path / "desk", taken.append).serve()))
            await until(lambda to=taken: to == [Submit(TASKS[0])])  # type: ignore[misc]
        desk.submit(AGENT, TASKS[1])
        desk.command(AGENT, COMMAND)
        await until(lambda: handed[1][1:] == [Submit(TASKS[1]), COMMAND])
        await until(lambda: handed[0][1:] == [Submit(TASKS[1])])
        serving[1].cancel()
        await asyncio.gather(serving[1], return_exceptions=True)
        desk.submit(AGENT, TASKS[2])
        await until(lambda: handed[0][2:] == [Submit(TASKS[2])])
        serving[0].cancel()
        await asyncio.gather(serving[0], return_exceptions=True)
        desk.close()

    asyncio.run(scene())


def test_a_counter_outlasts_a_desk_that_is_not_there(tmp_path: Path) -> None:
    async def scene() -> None:
        handed: list[Handed] = []
        counter = Counter(AGENT, tmp_path / "desk", handed.append)
        serving = asyncio.create_task(counter.serve())
        await asyncio.sleep(0.05)
        counter.tell_ended("task", "COMPLETED")  # nobody hears it, nobody minds
        desk = Desk()
        await desk.open(tmp_path / "desk")
        desk.submit(AGENT, TASKS[2])
        await until(lambda: handed == [Submit(TASKS[2])])
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        desk.close()

    asyncio.run(scene())


def test_a_process_whose_parent_is_gone_already_does_not_start(tmp_path: Path) -> None:
    argv = tether.command_line(["touch", str(tmp_path / "ran")])
    argv[argv.index(str(os.getpid()))] = "1"  # as if the parent that asked for it had died and been replaced
    assert subprocess.run(argv, check=False).returncode == tether.EXIT_ORPHAN
    assert not (tmp_path / "ran").exists()


def test_a_tethered_command_runs_and_a_missing_one_says_so(tmp_path: Path) -> None:
    assert subprocess.run(tether.command_line([sys.executable, "-c", "raise SystemExit(7)"]), check=False).returncode == 7
    missing = subprocess.run(tether.command_line([str(tmp_path / "none")]), check=False, capture_output=True, text=True)
    assert (missing.returncode, "No such file" in missing.stderr) == (tether.EXIT_NO_COMMAND, True)
