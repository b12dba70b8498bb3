"""Faults of processes: they die, or stand still. The kernel's word attests them.

Owns signals. Whom a signal may be sent to is `harness.live.guard`'s. A host that sleeps loses its links as well: `harness.live.injections.sleep`.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Mapping

from harness.live import guard
from harness.live.injections.family import BOOT_S, Attestation, Stage, becomes
from harness.live.kernel import is_gone, stands_still
from harness.live.ledger import File, Stopped
from killswitch.core.events import Boot
from killswitch.live.process import Identified, identify
from killswitch.live.trace import Step, monotonic_ns
from scenarios.deploy import host_of, hosted_by
from scenarios.schedule import Entry, Fault
from scenarios.units import SECOND_NS

BOOT_READS_MAX_NS = 50_000_000  # what a clock reads when its host has just come back


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


class Standstill:
    """Processes that a fault keeps stopped. Several faults may keep one; the last to let go continues it."""

    def __init__(self, stage: Stage, holder: str) -> None:
        self._stage = stage
        self._holder = holder
        self._entries: tuple[int, ...] = ()
        self.held: dict[str, Identified] = {}

    def begin(self, processes: Mapping[str, Identified]) -> None:
        """SIGSTOP to these, of nodes."""
        self._entries = self._stage.ledger.intend(*map(Stopped, processes.values()))
        for node, identified in processes.items():
            with contextlib.suppress(ProcessLookupError):
                os.kill(identified.pid, signal.SIGSTOP)
                self.held[node] = identified
                self._stage.holds.setdefault(identified, set()).add(self._holder)

    def end(self) -> list[str]:
        """SIGCONT to those that nothing else holds; which nodes' they were."""
        continued = []
        for node, identified in self.held.items():
            self._stage.holds[identified].discard(self._holder)
            if not self._stage.holds[identified] and identify(identified.pid) == identified:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(identified.pid, signal.SIGCONT)
                    continued.append(node)
        self._stage.ledger.settle(self._entries)
        return continued


class Pause(NodeFault):
    """SIGSTOP, and SIGCONT at the end; the node's clock runs on."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        self.standstill = Standstill(stage, self.name)

    async def on(self) -> None:
        self.standstill.begin({node: identified for node in self.targets if (identified := self.own(node)) is not None})
        for node in self.standstill.held:
            self.stage.sight.note("node-paused", node, {})

    async def attest(self) -> Attestation | None:
        """A process that a kill has reached before it could be looked at is none that stands still, nor one that goes on."""
        pids = [identified.pid for identified in self.standstill.held.values()]
        still = [await becomes(stands_still, pid) for pid in pids]
        gone = sum(map(is_gone, pids))
        stopped = sum(still) - gone
        measured: dict[str, int | str] = {"stopped": stopped, "without_process": len(self.targets) - len(pids) + gone}
        return Attestation(all(still), "state T in /proc/PID/stat", measured, fired=stopped > 0)

    async def off(self) -> None:
        for node in self.standstill.end():
            self.stage.sight.note("node-resumed", node, {})


class Crash(NodeFault):
    """SIGKILL, and a new process after ``restart_after`` or at the heal; what was committed survives. With ``power`` all that runs on the host
    dies, and whoever boots there next finds another boot and a clock that began anew."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        self.power = bool(fault.settings.get("power", 0))
        if self.power:
            self.targets = tuple(dict.fromkeys(map(host_of, fault.targets)))
        self.restart_after_ns = int(fault.settings["restart_after_ns"])
        self.killed: dict[str, tuple[int, int]] = {}  # node -> (pid, status that the kernel gave)
        self.boots: dict[str, tuple[str, int]] = {}  # of hosts without power: node -> (the boot that ended, when)

    async def on(self) -> None:
        for node in self.targets:
            await self._kill(node)
            if self.power:
                self._boot_anew(node)

    async def _kill(self, node: str) -> None:
        found = self.own(node)
        if found is not None and node in self.stage.fleet.nodes:
            self.killed[node] = (found.pid, await self.stage.fleet.kill(node))
            await self.note_death(node)
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
        never = self.restart_after_ns < 0
        await self.stage.healing.within(None if never else self.restart_after_ns / SECOND_NS)
        again = [node for node in self.killed if node in self.stage.fleet.nodes and not self.stage.fleet.is_retired(node)]
        for node in again:
            if not self.stage.fleet.runs(node):
                self.stage.fleet.start(node)
        fresh = [await becomes(self._is_fresh, node) for node in again]
        if not again or not self.power:
            return Attestation(all(fresh), "a new pid", {"started": sum(fresh)}) if again else None
        anew = [await becomes(self._booted_anew, node, within_s=BOOT_S) for node in again]
        how = "a new pid; another boot and a clock that began anew, in its trace"
        return Attestation(all(fresh + anew), how, {"started": sum(fresh), "anew": sum(anew)})

    async def note_death(self, node: str) -> None:
        """The node is dead, and a sidecar's agent with it: the kernel sees to that."""
        agent = hosted_by(node)
        if agent != node and (pid := self.pid(agent)):
            await becomes(is_gone, pid)
        self.stage.sight.look()
        self.stage.sight.note_death(node, power=self.power)
        if agent != node:
            self.stage.sight.note_death(agent, power=self.power)

    def _boot_anew(self, node: str) -> None:
        """Nothing of the host runs any more: what it counted is over."""
        self.stage.fleet.end_tree(node)
        clock = self.stage.cell.clocks[node]
        self.stage.ledger.intend(File(str(clock.path.resolve())))
        lives = self.stage.sight.nodes[node].lives
        self.boots[node] = (boot_of(lives[-1][0]) if lives else "", monotonic_ns())
        clock.restart(random.Random(f"{self.stage.seed}/{self.name}/{node}").randrange(BOOT_READS_MAX_NS))

    def _is_fresh(self, node: str) -> bool:
        return self.pid(node) not in (0, self.killed[node][0])

    def _booted_anew(self, node: str) -> bool:
        self.stage.sight.look()
        ended, at_ns = self.boots[node]
        boots = [life[0] for life in self.stage.sight.nodes[node].lives if life[0].at_ns > at_ns]
        return bool(boots) and boot_of(boots[0]) != ended and boots[0].clock_ns <= BOOT_READS_MAX_NS + 2 * (boots[0].at_ns - at_ns)


def boot_of(step: Step) -> str:
    assert isinstance(step.event, Boot), "the first step of every life"
    return step.event.boot
