"""Playing a run twice, and finding where the two part.

Owns `run --twice`: each run is played in two fresh processes with different hash seeds, and digests are compared. Where they differ, the first
step or fact in which they do is named: hidden nondeterminism is a bug in the harness or in the implementation, never noise.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from harness.shared import implementation
from scenarios.schedule import Schedule, load
from sim import driver

HASH_SEEDS = ("0", "4242")
TIMEOUT_S = 600


class Footprint(Struct, frozen=True):
    """What one play left: its digest, a short digest of each step and fact, in order, and their kinds for people."""

    digest: str
    steps: tuple[bytes, ...]
    facts: tuple[bytes, ...]


class Divergence(Struct, frozen=True):
    """Where two plays of one schedule part: ``what`` is step or fact, ``index`` from 0, and both sides in words."""

    what: str
    index: int
    first: str
    second: str

    def __str__(self) -> str:
        return f"the plays part at {self.what} {self.index}: first {self.first}; second {self.second}"


def play_twice(schedule: Schedule, implementation_name: str, scratch: Path) -> tuple[str, Divergence | None]:
    """Play ``schedule`` in two processes; the first digest, and where the second differs, if it does. ``scratch``: a folder to work in."""
    place = scratch / f"{schedule.scenario}-{schedule.seed}.schedule.json"
    schedule.save(place)
    prints = [_footprint(place, implementation_name, hash_seed) for hash_seed in HASH_SEEDS]
    if prints[0].digest == prints[1].digest:
        return prints[0].digest, None
    index, what = first_difference(*prints)
    words = [_describe(place, implementation_name, hash_seed, what, index) for hash_seed in HASH_SEEDS]
    return prints[0].digest, Divergence(what, index, words[0], words[1])


def first_difference(one: Footprint, other: Footprint) -> tuple[int, str]:
    """Index and kind of the first entry in which two footprints differ; steps come first, as facts follow from them."""
    for what, left, right in (("step", one.steps, other.steps), ("fact", one.facts, other.facts)):
        for index, (a, b) in enumerate(zip(left, right, strict=False)):
            if a != b:
                return index, what
        if len(left) != len(right):
            return min(len(left), len(right)), what
    return 0, "step"


def elsewhere(schedule: Schedule, implementation_name: str, scratch: Path) -> Footprint:
    """Play in another process, with a hash seed that no other has. ``scratch``: a folder to work in."""
    place = scratch / f"{schedule.scenario}-{schedule.seed}.schedule.json"
    schedule.save(place)
    return _footprint(place, implementation_name, str(schedule.seed % 4_000_000_000 + 1))


def footprint(schedule: Schedule, implementation_name: str) -> Footprint:
    """Play in this process and take the footprint."""
    return footprint_of(driver.play(schedule, implementation.load(implementation_name)))


def footprint_of(played: driver.Played) -> Footprint:
    return Footprint(played.digest, tuple(map(_short, played.trace)), tuple(map(_short, played.history)))


def _short(entry: Any) -> bytes:
    return hashlib.blake2b(msgspec.msgpack.encode(entry, order="deterministic"), digest_size=8).digest()


def _footprint(place: Path, implementation_name: str, hash_seed: str) -> Footprint:
    return msgspec.msgpack.decode(_child(place, implementation_name, hash_seed, "footprint"), type=Footprint)


def _describe(place: Path, implementation_name: str, hash_seed: str, what: str, index: int) -> str:
    return _child(place, implementation_name, hash_seed, f"{what}:{index}").decode(errors="replace")


def _child(place: Path, implementation_name: str, hash_seed: str, wanted: str) -> bytes:
    root = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join([root, *(entry for entry in sys.path if entry)])
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}
    command = [sys.executable, "-m", "harness.twice", str(place), implementation_name, wanted]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{place}: a play failed: {done.stderr.decode(errors='replace')[-400:]}")
    return done.stdout


def main(place: str, implementation_name: str, wanted: str) -> None:
    """The child's side: print a footprint, or one step or fact in words."""
    schedule = load(Path(place))
    if wanted == "footprint":
        sys.stdout.buffer.write(msgspec.msgpack.encode(footprint(schedule, implementation_name)))
        return
    what, _, index = wanted.partition(":")
    played = driver.play(schedule, implementation.load(implementation_name))
    entries: list[Any] = played.trace if what == "step" else list(played.history)
    position = int(index)
    print(str(entries[position])[:600] if position < len(entries) else "nothing: it ended before", end="")


if __name__ == "__main__":
    main(*sys.argv[1:4])
