"""Who breaks a live cell, and who gives it orders: the timeline of a schedule, played against real processes.

Owns the course of each fault: armed at the start, on when its trigger comes, attested while it is on, off after its time or at the heal, and all
of that on record. One that was on and befell nobody is on record as that: it tried nothing. How a fault is made and measured is
`harness.live.injections`'.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

from harness.live.cell import Link
from harness.live.injections import INJECTIONS, Attestation, CapabilityMissing, Injection, Stage
from harness.live.injections.links import LinkFault
from harness.shared.history import Fact
from harness.shared.operations import command
from harness.shared.triggers import Triggers
from killswitch.live.upstream import Desk
from scenarios.deploy import OPERATOR
from scenarios.faults import FAULTS
from scenarios.schedule import Entry, Fault, Operation, Schedule
from scenarios.units import SECOND_NS


class Record(Protocol):
    """Takes a fact of the world, of now or of ``at_ns``."""

    def __call__(self, kind: str, body: dict[str, Any], at_ns: int | None = None) -> None: ...


class Nemesis:
    """Plays the timeline of one run. `failure`: why a fault could not be made, measured or taken off."""

    def __init__(self, schedule: Schedule, stage: Stage, desk: Desk, record: Record) -> None:
        self._stage = stage
        self._desk = desk
        self._record = record
        self._triggers = Triggers(schedule.timeline, schedule.parameters.lease_ns)
        self._timed = sorted(self._triggers.timed, key=lambda entry: entry[0])
        # Made before anything runs: what this driver cannot make is refused before a process has started.
        self._injections = {entry.id: make_injection(stage, entry) for entry in schedule.timeline if isinstance(entry.action, Fault)}
        self._links_on: dict[str, tuple[str, frozenset[Link]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._healing = False
        self.failure: BaseException | None = None
        self.fired: dict[str, int] = {}
        for entry in schedule.timeline:
            if isinstance(entry.action, Fault):
                record("fault-armed", {"fault": entry.id, "what": entry.action.what})

    def see(self, fact: Fact) -> None:
        """A fact was recorded: it may be what an entry waits for."""
        for delay_ns, entry in self._triggers.see(fact):
            self._timed.append((fact.at_ns + delay_ns, entry))
            self._timed.sort(key=lambda due: due[0])

    def on_send(self, link: Link) -> None:
        """A node sent something: a fault of that link befell it, if it is one that all meet."""
        for fault, (what, links) in self._links_on.items():
            if link in links:
                self._fire(fault, what)

    def poll(self) -> None:
        """Begin whatever is due now."""
        while self._timed and self._timed[0][0] <= self._stage.sight.now_ns():
            self._play(self._timed.pop(0)[1])
        if self._triggers.waiting:
            for entry in self._triggers.poll(self._stage.sight.clock_ns):
                self._play(entry)

    async def heal(self) -> None:
        """End every fault and bring back every node; nothing begins any more."""
        self._healing = True
        self._stage.healing.begin()
        while self._tasks and self.failure is None:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        if self.failure is None:
            self._record("healed", {})

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- Entries ---------------------------------------------------------------------------------------------------------------------

    def _play(self, entry: Entry) -> None:
        if isinstance(entry.action, Operation):
            self._record("operation-played", {"operation": entry.id, "what": entry.action.verb})
            self._desk.command(OPERATOR, command(entry.action))
        elif not self._healing:
            self._start(self._course(entry.id, entry.action, self._injections[entry.id]))

    async def _course(self, id_: str, fault: Fault, injection: Injection) -> None:
        """One fault from on to off, and what comes after."""
        named = {"fault": id_, "what": fault.what}
        begins_ns = self._stage.sight.now_ns()
        await injection.on()
        # Told once it is in force, since orders may wait for that; dated from before, since its first effects already belong to it.
        self._record("fault-on", {**named, "target": list(fault.targets) or [" -> ".join(link) for link in fault.links]}, begins_ns)
        self._stage.sight.look()  # what was sent until now did not meet it
        self._links_on[id_] = (fault.what, injection.met_by_all if isinstance(injection, LinkFault) else frozenset())
        until_ns = None if fault.for_ns is None else self._stage.sight.now_ns() + fault.for_ns
        measured = [await injection.attest()]
        self._note(id_, fault.what, measured[0])
        if FAULTS[fault.what].lasting:
            left_s = None if until_ns is None else max(0, until_ns - self._stage.sight.now_ns()) / SECOND_NS
            await self._stage.healing.within(left_s)
        self._stage.sight.look()  # what was sent until now met the fault
        await injection.off()
        del self._links_on[id_]
        self._record("fault-off", named)
        measured.append(await injection.aftermath())
        self._note(id_, fault.what, measured[1])
        if id_ not in self.fired and all(each is None or each.holds for each in measured):
            seen = {name: value for each in measured if each is not None for name, value in each.measured.items()}
            self._record("fault-idle", {**named, "measured": seen})

    def _note(self, id_: str, what: str, attestation: Attestation | None) -> None:
        if attestation is None:
            return
        kind = "fault-attested" if attestation.holds else "fault-unattested"
        self._record(kind, {"fault": id_, "how": attestation.how, "measured": attestation.measured})
        if attestation.fired:
            self._fire(id_, what)

    def _fire(self, id_: str, what: str) -> None:
        self.fired[id_] = self.fired.get(id_, 0) + 1
        if self.fired[id_] == 1:
            self._record("fault-fired", {"fault": id_, "what": what})

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and self.failure is None:
            self.failure = task.exception()


def make_injection(stage: Stage, entry: Entry) -> Injection:
    """What makes and measures the fault. Raises `CapabilityMissing` if this driver cannot."""
    fault = entry.action
    assert isinstance(fault, Fault)
    if fault.what not in INJECTIONS:
        raise CapabilityMissing(f"{entry.id}: the live driver has {', '.join(INJECTIONS)} (got {fault.what})")
    return INJECTIONS[fault.what](stage, entry, fault)
