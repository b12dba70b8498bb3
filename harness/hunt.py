"""Measuring the harness on planted bugs: which are found, by which invariant, and how many seeds it takes.

Owns `haltproof bugs`. A bug counts as found when an invariant is violated that is expected to see it; a control that violates anything is
a false alarm. What is not found within the budget is said in plain sight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from msgspec import Struct

from harness import planted, twins
from harness.campaign import WorkerDied, begin_worker, worker_arguments
from harness.planted.bug import PlantedBug
from harness.single import simulate
from harness.verdict import Verdict
from harness.version import version
from scenarios import load
from scenarios.draw import draw
from sim.queue import collector_at_rest

SCHEMA = "haltproof/bugs/1"


class Sighting(Struct, frozen=True, kw_only=True):
    """One bug in one scenario. ``seeds``: {invariant: seeds played up to its first violation}. ``reached``: the mistake was made at all."""

    scenario: str
    played: int
    seeds: dict[str, int]
    reached: bool
    token: str = ""


class Catch(Struct, frozen=True, kw_only=True):
    """One bug over its scenarios. ``status``: found, missed, clean (a control that nobody flagged), false alarm, or broken (its step raised, or took
    another way each time, and was not meant to: what it shows, it shows of itself)."""

    bug: str
    mistake: str
    expected: tuple[str, ...]
    difficulty: str
    status: str
    sightings: tuple[Sighting, ...]


class Matrix(Struct, frozen=True, kw_only=True):
    schema: str = SCHEMA
    version: str
    seeds: int
    catches: tuple[Catch, ...]


def hunt(
    names: Iterable[str], seeds: int, jobs: int, progress: Callable[[int, int], None] = lambda done, total: None, *, everywhere: bool = True
) -> Matrix:
    """Play each bug in each of its scenarios until it is found, for at most ``seeds`` seeds; a control for all of them. Raises `WorkerDied`.

    ``everywhere`` False leaves out the scenarios after the first in which it is found: whether each is found, without where else.
    """
    bugs = [planted.COLLECTION[name] for name in names]
    found: dict[str, tuple[Sighting, ...]] = {}
    if jobs == 1:
        for bug in bugs:
            found[bug.name] = sightings(bug.name, seeds, everywhere)
            progress(len(found), len(bugs))
    else:
        with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=begin_worker, initargs=worker_arguments()) as pool:
            try:
                # A control takes all of its seeds: at the end of the line one would keep one core busy and leave the others idle.
                dear_first = sorted(bugs, key=lambda bug: not bug.is_control)
                open_ = {pool.submit(sightings, bug.name, seeds, everywhere): bug.name for bug in dear_first}
                for future in as_completed(open_):
                    found[open_[future]] = future.result()
                    progress(len(found), len(bugs))
            except BrokenProcessPool as error:
                raise WorkerDied from error
            finally:
                pool.shutdown(cancel_futures=True)
    return Matrix(version=version(), seeds=seeds, catches=tuple(_catch(bug, found[bug.name]) for bug in bugs))


def sightings(name: str, seeds: int, everywhere: bool) -> tuple[Sighting, ...]:
    """Play one bug in its scenarios, in this process: in all of them, or up to the first in which it is found."""
    bug = planted.COLLECTION[name]
    found: list[Sighting] = []
    for scenario in bug.scenarios:
        found.append(sight(name, scenario, seeds))
        if not everywhere and set(found[-1].seeds) & set(bug.caught_by):
            break
    return tuple(found)


def sight(name: str, scenario_name: str, seeds: int) -> Sighting:
    """Play one bug in one scenario, in this process."""
    bug = planted.COLLECTION[name]
    scenario = load.load(load.find(scenario_name))
    found: dict[str, int] = {}
    token = ""
    played = 0
    wanted = [invariant for invariant in bug.caught_by if invariant in twins.TWINS]
    bug.calls.clear()
    with collector_at_rest():
        for seed in range(1, seeds + 1):
            result = simulate(draw(scenario, seed, version()), bug, wanted or None).result
            played += 1
            for finding in result.findings:
                if finding.verdict is Verdict.INVALID:
                    found.setdefault(finding.invariant, played)
                    token = token or result.token
            if found and not bug.is_control and set(found) & set(bug.caught_by):
                break
    return Sighting(scenario=scenario_name, played=played, seeds=found, reached=bool(bug.calls), token=token)


def _catch(bug: PlantedBug, sightings: tuple[Sighting, ...]) -> Catch:
    seen = {invariant for sighting in sightings for invariant in sighting.seeds}
    return Catch(bug=bug.name, mistake=bug.mistake, expected=bug.caught_by, difficulty=bug.difficulty, status=_status(bug, seen), sightings=sightings)


def _status(bug: PlantedBug, seen: set[str]) -> str:
    if bug.is_control:
        return "false alarm" if seen else "clean"
    if "S27" in seen and "S27" not in bug.caught_by:
        return "broken"
    return "found" if seen & set(bug.caught_by) else "missed"


def is_sound(matrix: Matrix) -> bool:
    """Every bug found, every control clean."""
    return all(catch.status in ("found", "clean") for catch in matrix.catches)
