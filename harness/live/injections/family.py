"""What all live faults share: where they are made, what a measurement says, and the end of the time for faults.

Owns these forms. Must not know any fault.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from harness.live.cell import Cell
from harness.live.fleet import Fleet
from harness.live.ledger import Ledger
from harness.live.packet_queue import PacketQueue
from harness.live.paths import Paths
from harness.live.sight import Sight
from harness.shared.root_keys import RootKeys
from killswitch.live.process import Identified

KERNEL_S = 1.0
BOOT_S = 10.0  # for a process to read its code and its log, on a busy host
SETTLE_S = 0.2


class CapabilityMissing(Exception):
    """The schedule asks for a fault that this driver cannot make, in the shape that it asks for."""


async def end(task: asyncio.Task[None]) -> None:
    """End what a fault does in the background. Raises what it died of: a fault that stopped by itself was not there."""
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.result()


class Attestation(Struct, frozen=True):
    """``holds``: the measurement saw the fault. ``fired``: it saw somebody whom the fault befell, too."""

    holds: bool
    how: str
    measured: dict[str, int | str]
    fired: bool = False


class Healing:
    """The end of the time for faults: whoever waits for something later is woken by it."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()

    @property
    def begun(self) -> bool:
        return self._begun.is_set()

    def begin(self) -> None:
        self._begun.set()

    async def within(self, seconds: float | None) -> None:
        """Wait so long (None: however long it takes), or until the healing begins."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._begun.wait()


class Stage(Struct, frozen=True):
    """Where faults are made: the cell, its processes, its paths, what is seen of it, and the ledger that each act is written to before.

    ``seed`` of whatever a fault leaves to chance. ``roots``: the people with the root keys. ``holds``: the faults that keep a process stopped; the
    last to let go continues it. ``packets``: the queue of the run's own network namespace, if it has one.
    """

    seed: int
    directory: Path
    ledger: Ledger
    cell: Cell
    fleet: Fleet
    paths: Paths
    sight: Sight
    healing: Healing
    roots: RootKeys
    packets: PacketQueue | None = None
    holds: dict[Identified, set[str]] = {}


class Injection(Protocol):
    """One fault of a schedule. ``attest`` measures while the fault is on, ``aftermath`` does and measures what comes after it; either may
    have nothing to say."""

    async def on(self) -> None: ...
    async def attest(self) -> Attestation | None: ...
    async def off(self) -> None: ...
    async def aftermath(self) -> Attestation | None: ...


async def becomes(condition: Callable[..., bool], *of: object, within_s: float = KERNEL_S) -> bool:
    """Whether ``condition(*of)`` holds before so much time has passed."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not condition(*of):
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.002)
    return True
