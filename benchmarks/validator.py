"""`python -m benchmarks.validator RUN`: how many events a second the trace validator takes in; RUN is a live run's directory, below ``live/``.

Owns the measurement of `harness.live.refold.replay`: every process of the run is played once more through the core, its effects compared byte
for byte. Reading the traces is timed apart. CPU time. Ends with 1 if the replay differs: traces of another version of the code do.
What it costs is mostly the core's own steps, and of those signatures: a replica verifies what nobody else does.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    print(f"{'role':<12}{'events':>10}{'read/s':>12}{'replayed/s':>12}")
    total, spent = 0, 0.0
    rows: dict[str, list[float]] = {}
    for file in sorted((run / "deployments").glob("*.json")):
        deployment = msgspec.json.decode(file.read_bytes(), type=Deployment)
        began = time.process_time()
        lives = lives_of(Path(deployment.trace))
        read = time.process_time() - began
        began = time.process_time()
        for life in lives:
            differs = refold.replay(life, build.machine(deployment.config, Ed25519(deployment.private, deployment.public)))
            if differs:
                raise SystemExit(f"{deployment.config.node}: {differs}")
        replayed = time.process_time() - began
        events = sum(map(len, lives))
        row = rows.setdefault(deployment.config.role, [0, 0.0, 0.0])
        for place, figure in enumerate((events, read, replayed)):
            row[place] += figure
        total, spent = total + events, spent + replayed
    for role, (events, read, replayed) in rows.items():
        print(f"{role:<12}{events:>10,.0f}{events / max(read, 1e-9):>12,.0f}{events / max(replayed, 1e-9):>12,.0f}")
    print(f"{'all':<12}{total:>10,}{'':>12}{total / max(spent, 1e-9):>12,.0f}   goal {GOAL:,}")


if __name__ == "__main__":
    main()
