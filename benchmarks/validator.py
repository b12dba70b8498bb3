"""`python -m benchmarks.validator RUN`: how many events a second the trace validator takes in; RUN is a live run's ``OUT/live/SCENARIO-SEED-N``.

Owns the measurement of `harness.live.refold.replay`: every process of the run is played once more through the core, its effects compared byte
for byte. Reading the traces is timed apart. CPU time. Ends with 1 if the replay differs: traces of another version of the code do.
What it costs is mostly the core's own steps, and of those signatures: a replica verifies what nobody else does.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from harness.live import refold
from killswitch.core import build
from killswitch.core.events import Boot
from killswitch.core.keys import Ed25519
from killswitch.live.node import Deployment
from killswitch.live.trace import Step, TraceReader

GOAL = 50_000


def lives_of(trace: Path) -> list[list[Step]]:
    """The steps of each process that wrote to ``trace``."""
    lives: list[list[Step]] = []
    for entry in TraceReader(trace).read():
        if isinstance(entry, Step):
            if isinstance(entry.event, Boot):
                lives.append([])
            lives[-1].append(entry)
    return lives


class Row(NamedTuple):
    """One process's node: its role, how many events it took, and the CPU time to read and to replay them."""

    role: str
    events: int
    read_s: float
    replay_s: float


def measure(file: Path) -> Row:
    """Replay the node that the deployment record in ``file`` describes. Raises `SystemExit` if it does something else now."""
    deployment = msgspec.json.decode(file.read_bytes(), type=Deployment)
    began = time.process_time()
    lives = lives_of(Path(deployment.trace))
    read = time.process_time()
    for life in lives:
        differs = refold.replay(life, build.machine(deployment.config, Ed25519(deployment.private, deployment.public)))
        if differs:
            raise SystemExit(f"{deployment.config.node}: {differs}")
    return Row(deployment.config.role, sum(map(len, lives)), read - began, time.process_time() - read)


def show(name: str, rows: list[Row], remark: str = "") -> None:
    events = sum(row.events for row in rows)
    read_s, replay_s = sum(row.read_s for row in rows), sum(row.replay_s for row in rows)
    print(f"{name:<12}{events:>10,}{events / max(read_s, 1e-9):>12,.0f}{events / max(replay_s, 1e-9):>12,.0f}{remark}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    rows = [measure(file) for file in sorted((run / "deployments").glob("*.json"))]
    if not any(row.events for row in rows):
        what = "its traces are gone" if rows else "no live run's directory"
        parser.error(f"{run}: {what}; name OUT/live/SCENARIO-SEED-N, which `haltproof run --live SCENARIO --out OUT` leaves beside OUT/runs")
    print(f"{'role':<12}{'events':>10}{'read/s':>12}{'replayed/s':>12}")
    for role in dict.fromkeys(row.role for row in rows):
        show(role, [row for row in rows if row.role == role])
    show("all", rows, f"   goal {GOAL:,}")


if __name__ == "__main__":
    main()
