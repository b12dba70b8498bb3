"""The faults that the live driver can make, each with a measurement of its own that it happened.

Owns how each row of the fault reference that live runs know (`scenarios.faults`) is put on, attested and taken off. An injection that
raised no error proves nothing: what is attested is what a probe through the path, the kernel, or the receiver's own trace shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from harness.live import guard
from harness.live.cell import Cell, Conduit, Route
from harness.live.fleet import Fleet
from harness.live.ledger import Ledger, Stopped
from harness.live.paths import Paths
from harness.live.probe import Measured, Outcome
from harness.live.sight import Sight
from harness.live.toxiproxy import DOWNSTREAM, UPSTREAM, Toxic
from harness.signals import carries
from killswitch.core.messages import Message
from killswitch.live.process import Identified, identify
from scenarios.schedule import Entry, Fault

PROBE_S = 0.4
DELAY_SLACK_S = 1.0
KERNEL_S = 1.0
SETTLE_S = 0.2
NS = 1_000_000_000


class CapabilityMissing(Exception):
    """The schedule asks for a fault that this driver cannot make, in the shape that it asks for."""


class Attestation(Struct, frozen=True):
    """``holds``: the measurement saw the fault. ``fired``: it also made a difference by itself, whatever else happens."""

    holds: bool
    how: str
    measured: dict[str, int | str]
    fired: bool = False


class Healing:
    """The end of the time for faults: whoever waits for something later is woken by it."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()

    def begin(self) -> None:
        self._begun.set()

    async def within(self, seconds: float | None) -> None:
        """Wait so long (None: however long it takes), or until the healing begins."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._begun.wait()


class Stage(Struct, frozen=True):
    """Where faults are made: the cell, its processes, its paths, what is seen of it, and the ledger that each act is written to before."""

    ledger: Ledger
    cell: Cell
    fleet: Fleet
    paths: Paths
    sight: Sight
    healing: Healing


class Injection(Protocol):
    """One fault of a schedule. ``attest`` measures while the fault is on, ``aftermath`` does and measures what comes after it; either may
    have nothing to say."""

    async def on(self) -> None: ...
    async def attest(self) -> Attestation | None: ...
    async def off(self) -> None: ...
    async def aftermath(self) -> Attestation | None: ...


# -- Links ---------------------------------------------------------------------------------------------------------------------------


def routes_of(cell: Cell, fault: Fault) -> list[Route]:
    """Where the links of ``fault`` run, each once; links whose ends never speak are left out, for nothing passes them anyhow."""
    routes = {(route.conduit.name, route.stream): route for link in fault.links if (route := cell.route(link)) is not None}
    return list(routes.values())


class LinkFault:
    """A fault of directed links. ``deadline_s``: how long its probes wait; they have to be through before the fault is off."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        self.stage = stage
        self.name = entry.id
        self.fault = fault
        self.routes = routes_of(stage.cell, fault)
        self.conduits = list({route.conduit.name: route.conduit for route in self.routes}.values())
        self.deadline_s = PROBE_S if fault.for_ns is None else min(PROBE_S, fault.for_ns / NS / 2)

    async def aftermath(self) -> Attestation | None:
        return None

    async def measure_all(self, deadline_s: float) -> list[Measured]:
        return await asyncio.gather(*(self.stage.paths.measure(conduit, deadline_s) for conduit in self.conduits))

    async def read_back_all(self) -> bool:
        return all([await self.stage.paths.read_back(conduit) for conduit in self.conduits])

    async def poison(self, kind: str, value: int) -> None:
        """One toxic of ``kind`` in every route, named after this fault, so that others may lie beside it."""
        toxics = [(route.conduit, Toxic(f"{self.name}.{route.stream}", kind, route.stream, value)) for route in self.routes]
        await asyncio.gather(*(self.stage.paths.poison(conduit, toxic) for conduit, toxic in toxics))

    async def cure(self) -> None:
        names = [f"{self.name}.{stream}" for stream in (UPSTREAM, DOWNSTREAM)]
        await asyncio.gather(*(self.stage.paths.cure(conduit, *names) for conduit in self.conduits))


class Partition(LinkFault):
    """Messages vanish. ``cut``: connections end and are refused, both ways of a connection or neither. ``blackhole``: either way, in silence."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        self.shape = str(fault.settings["shape"])
        if self.shape not in ("cut", "blackhole"):
            raise CapabilityMissing(f"{self.name}: shape: the live driver has cut and blackhole (got {self.shape})")
        links = set(fault.links)
        for route in self.routes:
            back = (route.conduit.server, route.conduit.client)
            own_way_back = back in stage.cell.conduits
            if self.shape == "cut" and not own_way_back and not links >= {back, back[::-1]}:
                raise CapabilityMissing(f"{self.name}: one way of a TCP connection cannot be cut ({route.conduit.name}); use shape blackhole")

    async def on(self) -> None:
        if self.shape == "cut":
            await asyncio.gather(*(self.stage.paths.cut(conduit, self.name) for conduit in self.conduits))
            return
        await self.poison("timeout", 0)

    async def attest(self) -> Attestation | None:
        """Through a cut a probe is refused; in a black hole it hears nothing. What a server that is down closes proves nothing either way."""
        wanted = [Outcome.REFUSED if self.stage.paths.is_cut(conduit) else Outcome.SILENT for conduit in self.conduits]
        down = [not self.stage.fleet.runs(conduit.server) for conduit in self.conduits]
        seen = [answer.outcome for answer in await self.measure_all(self.deadline_s)]
        down = [was or not self.stage.fleet.runs(conduit.server) for was, conduit in zip(down, self.conduits, strict=True)]
        holds = await self.read_back_all() and all(
            got is want or (is_down and got is Outcome.CLOSED) for got, want, is_down in zip(seen, wanted, down, strict=True)
        )
        measured: dict[str, int | str] = {str(outcome): seen.count(outcome) for outcome in Outcome if outcome in seen}
        return Attestation(holds, "probe through each path; toxics read back", {"paths": len(seen), **measured})

    async def off(self) -> None:
        if self.shape == "cut":
            await asyncio.gather(*(self.stage.paths.uncut(conduit, self.name) for conduit in self.conduits))
            return
        await self.cure()


class Delay(LinkFault):
    """Every message on the links takes ``by`` longer."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        self.by_ms = int(fault.settings["by_ns"]) // 1_000_000

    async def on(self) -> None:
        await self.poison("latency", self.by_ms)

    async def attest(self) -> Attestation | None:
        """An echo is at least as late as all delays on its way together, and not much later. A path that something else blocks is read back only."""
        read_back = await self.read_back_all()
        added_ms = [self.stage.paths.added_ms(conduit) for conduit in self.conduits]
        answers = await self.measure_all(max(added_ms, default=0) / 1000 + DELAY_SLACK_S)
        free = [self._is_free(conduit) for conduit in self.conduits]
        trips_ms = [answer.trip_ns // 1_000_000 for answer, is_free in zip(answers, free, strict=True) if is_free]
        wanted_ms = [added for added, is_free in zip(added_ms, free, strict=True) if is_free]
        holds = read_back and all(wanted <= trip for wanted, trip in zip(wanted_ms, trips_ms, strict=True))
        measured: dict[str, int | str] = {"paths": len(answers), "measured": len(trips_ms), "least_trip_ms": min(trips_ms, default=0)}
        return Attestation(holds, "round trip of a probe; toxics read back", measured)

    async def off(self) -> None:
        await self.cure()

    def _is_free(self, conduit: Conduit) -> bool:
        paths = self.stage.paths
        answers = self.stage.fleet.runs(conduit.server) and not is_stopped(self.stage.fleet.pid(conduit.server))
        return answers and not paths.is_cut(conduit) and not paths.is_holed(conduit)


class Duplicate:
    """Every such signal to the targets is delivered ``times`` times, by the relays in their links."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        self.stage = stage
        self.name = entry.id
        self.targets = fault.targets
        self.what = str(fault.settings["message"])
        self.times = int(fault.settings["times"])
        ends = [(conduit, target) for target in fault.targets for conduit in stage.cell.conduits_of(target)]
        self.relays = [(relay, target) for conduit, target in ends if (relay := stage.paths.relay(conduit)) is not None]
        self.extra_before = 0
        self.received_before: dict[str, int] = {}

    async def on(self) -> None:
        self.stage.sight.look()
        self.extra_before = self._extra()
        self.received_before = {target: len(self.stage.sight.nodes[target].received) for target in self.targets}
        for relay, target in self.relays:
            relay.duplicate(target, self.what, self.times)

    async def attest(self) -> Attestation | None:
        return None

    async def off(self) -> None:
        for relay, target in self.relays:
            relay.leave(target)

    async def aftermath(self) -> Attestation | None:
        """What the relays say they sent again, against what the receivers' traces show to have come again."""
        await asyncio.sleep(SETTLE_S)
        self.stage.sight.look()
        extra = self._extra() - self.extra_before
        came = [self._came(target) for target in self.targets]
        signals, repeats = sum(signals for signals, _ in came), sum(repeats for _, repeats in came)
        measured: dict[str, int | str] = {"sent_again": extra, "received": signals, "received_again": repeats}
        return Attestation(repeats > 0 if extra else signals == 0, "relays' counters; repeats in the receivers' traces", measured, fired=extra > 0)

    def _extra(self) -> int:
        return sum(relay.counts(target).extra for relay, target in self.relays)

    def _came(self, target: str) -> tuple[int, int]:
        """How many such signals came to ``target``, and how many of them were the one before from the same sender once more."""
        events = self.stage.sight.nodes[target].received[self.received_before[target] :]
        signals = [event for event in events if carries(event.message, self.what)]
        last: dict[str, Message] = {}
        repeats = 0
        for signal_ in signals:
            repeats += last.get(signal_.sender) == signal_.message
            last[signal_.sender] = signal_.message
        return len(signals), repeats


# -- Processes -----------------------------------------------------------------------------------------------------------------------


def process_state(pid: int) -> str:
    """The kernel's letter for the process (``T`` is stopped); empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def is_stopped(pid: int) -> bool:
    return process_state(pid) == "T"


def is_gone(pid: int) -> bool:
    return identify(pid) is None


async def becomes(condition: Callable[..., bool], *of: object) -> bool:
    """Whether ``condition(*of)`` holds within `KERNEL_S`."""
    deadline = asyncio.get_running_loop().time() + KERNEL_S
    while not condition(*of):
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.002)
    return True


class NodeFault:
    """A fault of processes. An agent's pid is known from its trace: its process is its sidecar's."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        self.stage = stage
        self.name = entry.id
        self.targets = fault.targets

    def own(self, node: str) -> Identified | None:
        """The process of the node, which may be signalled; None if it has none. Raises `guard.OutOfBounds` should it be somebody else's."""
        pid = self.pid(node)
        return guard.own_process(pid, self.stage.ledger.story.opened.run) if pid else None

    def pid(self, node: str) -> int:
        """0 if the node has no process now."""
        if node in self.stage.fleet.nodes:
            return self.stage.fleet.pid(node) if self.stage.fleet.runs(node) else 0
        self.stage.sight.look()
        pid = self.stage.sight.nodes[node].pid
        return pid if pid and identify(pid) is not None else 0

    async def aftermath(self) -> Attestation | None:
        return None


class Pause(NodeFault):
    """SIGSTOP, and SIGCONT at the end; the node's clock runs on."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        self.stopped: dict[str, Identified] = {}
        self.entries: tuple[int, ...] = ()

    async def on(self) -> None:
        found = {node: identified for node in self.targets if (identified := self.own(node)) is not None}
        self.entries = self.stage.ledger.intend(*(Stopped(identified) for identified in found.values()))
        for node, identified in found.items():
            with contextlib.suppress(ProcessLookupError):
                os.kill(identified.pid, signal.SIGSTOP)
                self.stopped[node] = identified
                self.stage.sight.note("node-paused", node, {})

    async def attest(self) -> Attestation | None:
        states = {node: await becomes(is_stopped, identified.pid) for node, identified in self.stopped.items()}
        measured: dict[str, int | str] = {"stopped": sum(states.values()), "without_process": len(self.targets) - len(states)}
        return Attestation(all(states.values()), "state T in /proc/PID/stat", measured, fired=bool(states))

    async def off(self) -> None:
        for node, identified in self.stopped.items():
            if identify(identified.pid) == identified:
                os.kill(identified.pid, signal.SIGCONT)
                self.stage.sight.note("node-resumed", node, {})
        self.stage.ledger.settle(self.entries)


class Crash(NodeFault):
    """SIGKILL, and a new process after ``restart_after`` or at the heal; what was committed survives, since the host goes on."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        if fault.settings.get("power", 0):
            raise CapabilityMissing(f"{entry.id}: power: the live driver cannot take a host's power away")
        self.restart_after_ns = int(fault.settings["restart_after_ns"])
        self.killed: dict[str, tuple[int, int]] = {}  # node -> (pid, status that the kernel gave)

    async def on(self) -> None:
        for node in self.targets:
            found = self.own(node)
            if found is not None and node in self.stage.fleet.nodes:
                self.killed[node] = (found.pid, await self.stage.fleet.kill(node))
                await self._note_death(node)
            elif found is not None:  # an agent's: its sidecar sees the end of it
                os.kill(found.pid, signal.SIGKILL)
                self.killed[node] = (found.pid, -signal.SIGKILL if await becomes(is_gone, found.pid) else 0)

    async def attest(self) -> Attestation | None:
        statuses = [status for _, status in self.killed.values()]
        measured: dict[str, int | str] = {"killed": len(statuses), "without_process": len(self.targets) - len(statuses)}
        return Attestation(all(status == -signal.SIGKILL for status in statuses), "status from wait: SIGKILL", measured, fired=bool(statuses))

    async def off(self) -> None:
        """A crash is over in an instant; that the process is gone is what lasts."""

    async def aftermath(self) -> Attestation | None:
        """Boot again; an agent is its sidecar's to start."""
        again = [node for node in self.killed if node in self.stage.fleet.nodes]
        never = self.restart_after_ns < 0
        await self.stage.healing.within(None if never else self.restart_after_ns / NS)
        for node in again:
            if not self.stage.fleet.runs(node):
                self.stage.fleet.start(node)
        fresh = [await becomes(self._is_fresh, node) for node in again]
        return Attestation(all(fresh), "a new pid", {"started": sum(fresh)}) if again else None

    async def _note_death(self, node: str) -> None:
        """The node is dead, and a sidecar's agent with it: the kernel sees to that."""
        agent = node.replace("sidecar/", "agent/", 1)
        if agent != node and (pid := self.pid(agent)):
            await becomes(is_gone, pid)
        self.stage.sight.look()
        self.stage.sight.note_death(node)
        if agent != node:
            self.stage.sight.note_death(agent)

    def _is_fresh(self, node: str) -> bool:
        return self.pid(node) not in (0, self.killed[node][0])


INJECTIONS: dict[str, Callable[[Stage, Entry, Fault], Injection]] = {
    "partition": Partition,
    "delay": Delay,
    "duplicate": Duplicate,
    "pause": Pause,
    "crash": Crash,
}
