"""Faults of agents: programs that do not stop when they are asked to, lie about it, dawdle, fork, or die as they save.

Owns the switching, through the page of each agent (`harness.live.conduct_port`), and the measuring: what the kernel says of processes, what lies on
the disk, what sinks put on record, and the traces of both ends of an agent's way out, which have to differ in what the fault did between them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from harness.live import guard, refold
from harness.live.conduct_port import IGNORES, LIES_AND_LEAVES, LIES_AND_STAYS, ConductSwitch, Deeds
from harness.live.forked import CHILDREN
from harness.live.injections.family import BOOT_S, SETTLE_S, Attestation, CapabilityMissing, Stage, becomes
from harness.live.injections.switched import Switched
from harness.live.kernel import ignores_sigterm, is_gone, parent_of, session_of
from harness.live.wayward import NEVER_WRITTEN
from killswitch.core import checkpoints
from killswitch.core.events import CheckpointDurable, ProcessExited, Receive, Send, Spawn, Timer, WriteCheckpoint
from killswitch.core.messages import EffectRequest, Message, StopAck, StopRequest
from killswitch.live.checkpoint import SLOTS
from killswitch.live.trace import Step, monotonic_ns
from scenarios.deploy import host_of
from scenarios.schedule import Entry, Fault
from scenarios.units import MS_NS

LOOK_S = 0.005


class Misconduct(Switched[ConductSwitch]):
    """What agents do while their page says so."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault, stage.cell.conducts)
        self.for_ns = fault.for_ns

    async def begin(self) -> None:
        """Written down, and then seen by whoever was in the middle of something."""
        await asyncio.sleep(SETTLE_S / 10)
        self.began_ns = monotonic_ns()

    def steps(self, node: str) -> list[Step]:
        """What the node did while the fault was on."""
        self.stage.sight.look()
        lives = self.stage.sight.nodes[node].lives
        return [step for life in lives for step in life if self.began_ns <= step.at_ns <= (self.ended_ns or monotonic_ns())]

    def sent(self, node: str, kind: type[Message]) -> int:
        """How many messages of a kind the node's own machine sent meanwhile."""
        return sum(isinstance(effect, Send) and isinstance(effect.message, kind) for step in self.steps(node) for effect in step.effects)

    def received(self, node: str, sender: str, kind: type[Message]) -> list[Message]:
        events = (step.event for step in self.steps(node))
        return [event.message for event in events if isinstance(event, Receive) and event.sender == sender and isinstance(event.message, kind)]


class Deaf(Misconduct):
    """Asked to stop, it works on; a liar says that it has. The kernel says that SIGTERM does nothing to it."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        self.how = {"": IGNORES, "leaves": LIES_AND_LEAVES, "stays": LIES_AND_STAYS}[str(fault.settings.get("how", ""))]

    async def on(self) -> None:
        self.intend()
        for switch in self.switches.values():
            switch.misunderstand(self.name, self.how)
        await self.begin()

    async def attest(self) -> Attestation | None:
        pids = [pid for node in self.targets if (pid := self.pid(node))]
        deaf = [await becomes(ignores_sigterm, pid, within_s=BOOT_S) for pid in pids]
        measured: dict[str, int | str] = {"deaf": sum(deaf), "without_process": len(self.targets) - len(pids)}
        return Attestation(all(deaf), "SIGTERM is ignored, by /proc/PID/status", measured)

    async def aftermath(self) -> Attestation | None:
        asked = sum(self.sent(host_of(node), StopRequest) for node in self.targets)
        heard = sum(len(self.received(node, host_of(node), StopRequest)) for node in self.targets)
        told = [message for node in self.targets for message in self.received(host_of(node), node, StopAck)]
        lies = sum(isinstance(message, StopAck) and message.checkpoint == NEVER_WRITTEN for message in told)
        measured: dict[str, int | str] = {"asked": asked, "heard": heard, "lies": lies}
        fired = asked > 0 if self.how == IGNORES else lies > 0
        return Attestation(not heard, "stops and answers to them, in the traces of both", measured, fired=fired)


class Dawdle(Misconduct):
    """Whatever the agent does takes it longer: no timer is taken sooner after the step before it than that."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        self.by_ns = int(fault.settings["by_ns"])

    async def on(self) -> None:
        self.intend()
        for switch in self.switches.values():
            switch.slow(self.name, self.by_ns)
        await self.begin()

    async def aftermath(self) -> Attestation | None:
        late_ns = [gap_ns for node in self.targets for gap_ns in self._pauses(node)]
        measured: dict[str, int | str] = {"timers": len(late_ns), "least_ms": min(late_ns, default=0) // MS_NS}
        return Attestation(all(late >= self.by_ns for late in late_ns), "from step to timer, in the agents' traces", measured, fired=bool(late_ns))

    def _pauses(self, node: str) -> Iterator[int]:
        for earlier, later in pairwise(self.steps(node)):
            if isinstance(later.event, Timer):
                yield later.at_ns - earlier.at_ns


class Fork(Misconduct):
    """It has two children, one of them in a session of its own, that say again what it says and knock at its sinks."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        self.sinks = sorted({sink for node in fault.targets for sink in stage.cell.deployments[node].config.sinks})
        self.refused_before = 0

    async def on(self) -> None:
        self.intend()
        self.refused_before = self._refused()
        for switch in self.switches.values():
            switch.fork(self.name)
        await self.begin()

    async def attest(self) -> Attestation | None:
        parents = [node for node in self.targets if self.pid(node)]
        forked = [await becomes(self._has_forked, node, within_s=BOOT_S) or not self.pid(node) for node in parents]
        measured: dict[str, int | str] = {"forked": sum(forked), "without_process": len(self.targets) - len(parents)}
        return Attestation(all(forked), "children and their sessions, by /proc/PID/stat", measured)

    async def off(self) -> None:
        await super().off()
        for child in self._children():
            await self._end(child.pid)

    async def aftermath(self) -> Attestation | None:
        """None of them lives, none was heard after its parent's end, and no sink let one in."""
        living = sum(not is_gone(child.pid) for child in self._children())
        again = posthumous = 0
        for node in self.targets:
            again += len(self.received(host_of(node), node, EffectRequest)) - self.sent(node, EffectRequest)
            posthumous += self._after_its_end(node)
        knocked = sum(child.knocked for child in self._children())
        refused = self._refused() - self.refused_before
        measured: dict[str, int | str] = {
            "came_again": again, "after_its_end": posthumous, "knocked": knocked, "refused": refused, "living": living,
        }  # fmt: skip
        holds = not living and not posthumous and (refused > 0 or not knocked)
        return Attestation(holds, "the sidecar's trace beside the agent's, the sinks' access logs, /proc", measured, fired=again > 0 or refused > 0)

    def _has_forked(self, node: str) -> bool:
        """Children of this very process, and one of them in another session than it."""
        parent = self.pid(node)
        pids = [child.pid for child in self.switches[node].children()]
        return all(parent == parent_of(pid) for pid in pids) and [session_of(pid) for pid in pids] == [parent, pids[1]] and len(pids) == CHILDREN

    def _children(self) -> list[Deeds]:
        """Those that ran last, of every agent."""
        return [child for switch in self.switches.values() for child in switch.children() if child.pid]

    async def _end(self, pid: int) -> None:
        """Called off it ends by itself; if not, it is killed."""
        if not await becomes(is_gone, pid) and guard.own_process(pid, self.stage.ledger.story.opened.run) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            await becomes(is_gone, pid)

    def _after_its_end(self, node: str) -> int:
        """Requests that the sidecar took from an agent that it knew to be gone."""
        count, gone = 0, False
        for step in self.steps(host_of(node)):
            gone = gone and not any(isinstance(effect, Spawn) for effect in step.effects)
            gone = gone or isinstance(step.event, ProcessExited)
            count += gone and isinstance(step.event, Receive) and step.event.sender == node and isinstance(step.event.message, EffectRequest)
        return count

    def _refused(self) -> int:
        """How many strangers the sinks have put on record as turned away."""
        logs = (Path(self.stage.cell.deployments[sink].directory, "access.db") for sink in self.sinks)
        return sum(len(refold.on_disk(log)) for log in logs if log.exists())


class DieSaving(Misconduct):
    """SIGKILL from within, at one step of the next checkpoint. What lies on the disk then is read before the next start can write over it."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        if fault.settings.get("power", 0):
            raise CapabilityMissing(f"{entry.id}: power: the live driver takes a host's power away by a crash only")
        self.after = str(fault.settings["after"])
        self.found: dict[str, bool] = {}
        self.died_before: dict[str, int] = {}

    async def on(self) -> None:
        self.intend()
        for node, switch in self.switches.items():
            self.died_before[node] = switch.counts()[1]  # now: the very next checkpoint may be the one
            switch.die_after(self.name, self.after)
        await self.begin()

    async def attest(self) -> Attestation | None:
        """Waits for the deaths, for as long as the fault is on: the disk has to be read soon."""
        while len(self.found) < len(self.targets) and not self.stage.healing.begun and not self._is_over():
            for node in self.targets:
                if node not in self.found and self.switches[node].counts()[1] > self.died_before[node]:
                    self.found[node] = await self._died_saving(node)
            await asyncio.sleep(LOOK_S)
        measured: dict[str, int | str] = {"died": len(self.found), "as_told": sum(self.found.values())}
        how = "the agent's slots on the disk; its last step, in its trace; the status that the kernel gave, in its sidecar's"
        return Attestation(all(self.found.values()), how, measured, fired=bool(self.found))

    def _is_over(self) -> bool:
        return self.for_ns is not None and monotonic_ns() > self.began_ns + self.for_ns

    async def _died_saving(self, node: str) -> bool:
        """The last thing it did was to write a checkpoint, which came exactly so far, and nobody heard of it."""
        home = Path(self.stage.cell.deployments[node].directory, "checkpoints")
        self.stage.sight.look()
        life = self.stage.sight.nodes[node].lives[-1]
        begun = [effect.generation for step in life for effect in step.effects if isinstance(effect, WriteCheckpoint)]
        if not begun:
            return False  # its trace knows of no checkpoint: nothing to hold the disk against
        told = any(isinstance(step.event, CheckpointDurable) and step.event.generation == begun[-1] for step in life)
        slot = home / f"slot{begun[-1] % SLOTS}"
        draft = generation_in(slot.with_suffix(".tmp")), generation_in(slot)
        as_far = draft[0] == begun[-1] != draft[1] if self.after == "written" else draft == (0, begun[-1])
        return as_far and not told and await becomes(self._was_killed, node)

    def _was_killed(self, node: str) -> bool:
        exits = [step.event for step in self.steps(host_of(node)) if isinstance(step.event, ProcessExited)]
        return any(each.code == -signal.SIGKILL for each in exits)


def generation_in(slot: Path) -> int:
    """Of the whole checkpoint that a file holds; 0 if there is none."""
    held = checkpoints.unseal(slot.read_bytes()) if slot.exists() else None
    return held.generation if held is not None else 0
