"""Many runs: scenarios times seeds, on a pool of processes, and what becomes of them.

Owns the plan, the pool, progress and what is kept. Good runs leave a line; a run that is not valid, and the first of each scenario, leave
schedule, history and findings. How runs add up to a verdict is ``summary``'s.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from msgspec import structs

from harness import audit_store, results_store
from harness.results import Calibration, Campaign, RunResult
from harness.shared import implementation
from harness.shared.interruption import Terminated
from harness.single import Judged, simulate
from harness.summary import summarise
from harness.verdict import Verdict
from harness.version import version
from killswitch.core.machine import Implementation
from scenarios import load
from scenarios.draw import draw
from scenarios.model import Scenario
from sim.queue import collector_at_rest

CHUNK_MAX = 4
JOBS_MAX = 256  # processes: more than any host that one would play on has cores
TWINS_EVERY = 10
AHEAD = 4  # chunks handed to the pool for each worker, so that stopping is quick and memory flat


class Chunk(NamedTuple):
    """A few seeds of one scenario: what a worker is given. ``out`` empty keeps nothing. ``twins``: one seed in ten has its twins."""

    path: str
    seeds: tuple[int, ...]
    implementation: str
    out: str
    keep_first: bool
    stop_at_first: bool = False
    twins: bool = False


class WorkerDied(Exception):
    """A worker process is gone, killed from outside or out of memory; the message says what to try."""

    def __init__(self) -> None:
        super().__init__("a worker process died; was it killed, or the memory short? Try fewer --jobs")


class Outcome(NamedTuple):
    """All runs so far; whether somebody interrupted, or sent SIGTERM; and what kept it from its end, in words.

    ``missing``: {scenario: what this host or the driver lacks for it}; it was not played. ``calibration``: of live runs, the noise of their host.
    """

    runs: list[RunResult]
    interrupted: bool
    broken: str = ""
    terminated: bool = False
    missing: dict[str, tuple[str, ...]] = {}  # never changed: an outcome is made whole
    calibration: Calibration | None = None


@lru_cache(maxsize=64)
def _scenario(path: str) -> Scenario:
    return load.load(Path(path))


def play_chunk(chunk: Chunk) -> list[RunResult]:
    """Play the seeds of a chunk in this process."""
    made = implementation.load(chunk.implementation)
    runs = []
    with collector_at_rest():
        for seed in chunk.seeds:
            runs.append(_play(chunk, seed, made))
            if chunk.stop_at_first and runs[-1].verdict is Verdict.INVALID:
                break
    return runs


def _play(chunk: Chunk, seed: int, made: Implementation) -> RunResult:
    """Play one seed, and keep of it what is wanted."""
    judged = simulate(draw(_scenario(chunk.path), seed, version()), made, () if chunk.twins and seed % TWINS_EVERY == 1 else None)
    run = judged.result
    wanted = run.verdict is not Verdict.VALID or (chunk.keep_first and seed == chunk.seeds[0])
    if chunk.out and wanted:
        run = results_store.keep_run(Path(chunk.out), run, judged.schedule, judged.history)
        audit_store.keep(Path(chunk.out) / run.kept, judged.trail)
    return run


def plan(
    paths: Iterable[Path], seeds: Callable[[Scenario], Iterable[int]], implementation_name: str, out: Path | None, *, twins: bool = False
) -> list[Chunk]:
    """The chunks of a campaign, scenarios taking turns so that an early stop has seen something of each."""
    columns = []
    for path in paths:
        wanted = list(seeds(_scenario(str(path))))
        size = max(1, min(CHUNK_MAX, len(wanted) // 8 or 1))
        pieces = [tuple(wanted[start : start + size]) for start in range(0, len(wanted), size)]
        columns.append([Chunk(str(path), piece, implementation_name, str(out or ""), index == 0, twins=twins) for index, piece in enumerate(pieces)])
    rows = max(map(len, columns), default=0)
    return [column[row] for row in range(rows) for column in columns if row < len(column)]


def play_all(chunks: list[Chunk], jobs: int, progress: Callable[[int, int], None] = lambda done, total: None) -> Outcome:
    """Play chunks on ``jobs`` processes (1: in this one). ``progress`` gets runs done and runs in all. Whatever ends it early keeps what is done."""
    version()  # read once, and now: whoever edits the code meanwhile does not change what the runs are called
    total = sum(len(chunk.seeds) for chunk in chunks)
    runs: list[RunResult] = []
    try:
        for done in _in_this_process(chunks) if jobs == 1 else _in_pool(chunks, jobs):
            runs += done
            progress(len(runs), total)
    except KeyboardInterrupt:
        return Outcome(_in_order(runs), True, f"interrupted after {len(runs)} of {total} runs")
    except Terminated:
        return Outcome(_in_order(runs), True, f"terminated after {len(runs)} of {total} runs", terminated=True)
    except WorkerDied as died:
        return Outcome(_in_order(runs), False, str(died))
    return Outcome(_in_order(runs), False)


def _in_this_process(chunks: list[Chunk]) -> Iterator[list[RunResult]]:
    return (play_chunk(chunk) for chunk in chunks)


def _in_pool(chunks: list[Chunk], jobs: int) -> Iterator[list[RunResult]]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=begin_worker, initargs=worker_arguments()) as pool:
        waiting = iter(chunks)
        open_: set[Future[list[RunResult]]] = set()
        try:
            while True:
                while len(open_) < jobs * AHEAD and (chunk := next(waiting, None)) is not None:
                    open_.add(pool.submit(play_chunk, chunk))
                if not open_:
                    return
                done, open_ = wait(open_, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except (KeyboardInterrupt, Terminated):
            pool.shutdown(cancel_futures=True)
            yield from (future.result() for future in open_ if not future.cancelled() and future.exception() is None)
            raise
        except BrokenProcessPool as error:
            raise WorkerDied from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def worker_arguments() -> tuple[int, list[str]]:
    """What `begin_worker` is given by the process that makes the pool."""
    return os.getpid(), list(sys.path)


def begin_worker(parent: int, path: list[str]) -> None:
    """A worker leaves Ctrl-C to its parent, finds modules where its parent does, and does not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.path[:] = path
    _die_with(parent)


def _die_with(parent: int) -> None:
    import ctypes  # only workers need it

    pr_set_pdeathsig = 1
    try:
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
    except (OSError, AttributeError):
        return  # not Linux: the pool ends its workers itself, unless it is killed
    if os.getppid() != parent:
        sys.exit(1)


def _in_order(runs: list[RunResult]) -> list[RunResult]:
    return sorted(runs, key=lambda run: (run.scenario, run.seed))


def finish(
    outcome: Outcome, paths: Iterable[Path], *, driver: str, implementation_name: str, out: Path, began: float, replay: str = "haltproof replay"
) -> Campaign:  # fmt: skip
    """Add everything up and write it to ``out``."""
    found = {_scenario(str(path)).scenario: path for path in paths}
    library = load.library()
    campaign = summarise(
        outcome.runs, {name: _scenario(str(path)) for name, path in found.items()}, driver=driver, implementation=implementation_name,
        version=version(), wall_s=time.perf_counter() - began, out=out, replay=replay, cut_short=outcome.broken,
        files={name: str(path) for name, path in found.items() if name not in library}, missing=outcome.missing,
    )  # fmt: skip
    campaign = structs.replace(campaign, calibration=outcome.calibration)
    return results_store.save(out, campaign, outcome.runs)


def keep_one(judged: Judged, out: Path) -> None:
    """Write a single run to ``out``, as a campaign of its own."""
    kept = results_store.keep_run(out, judged.result, judged.schedule, judged.history)
    audit_store.keep(out / kept.kept, judged.trail)
    results_store.save(out, of_one(kept, out), [kept])


def of_one(run: RunResult, out: Path) -> Campaign:
    """A campaign of a single run, without a scenario file at hand: its verdict is the run's."""
    campaign = summarise(
        [run], {}, driver=run.driver, implementation=run.implementation, version=version(), wall_s=run.wall_s, out=out, replay="haltproof replay"
    )
    return structs.replace(campaign, verdict=run.verdict)
