"""What the harness sees of a running cell: it reads every trace as it grows and turns steps into facts.

Owns the reading, the clock of the run, and the few things that faults have to know of nodes (their pids, what they were sent). The
meaning of a step is `harness.observe`'s, shared with the simulator.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from harness.history import Fact
from harness.judge import Judge
from harness.live.cell import Cell, Link
from harness.observe import Observer
from killswitch.core.events import Boot, ProcessExited, Receive, Send
from killswitch.live.trace import Entry, Raised, Released, Started, Step, TraceReader
from killswitch.live.transport import is_prohibition


class NodeSight:
    """One node, seen through its trace. ``lives``: the steps of each of its processes. ``orders`` and ``repeats``: order signals it received, and
    how many of them were the same again as the one before from that sender."""

    def __init__(self, reader: TraceReader, observer: Observer) -> None:
        self.reader = reader
        self.observer = observer
        self.pid = 0
        self.containment = ""
        self.alive = False
        self.lives: list[list[Step]] = []
        self.orders = 0
        self.repeats = 0
        self._last_order: dict[str, bytes] = {}

    def see(self, step: Step) -> None:
        if isinstance(step.event, Boot):
            self.lives.append([])
            self.alive = True
        self.lives[-1].append(step)
        if isinstance(step.event, Receive) and is_prohibition(step.event.message):
            signal = msgspec.msgpack.encode(step.event.message)
            self.orders += 1
            self.repeats += self._last_order.get(step.event.sender) == signal
            self._last_order[step.event.sender] = signal


class Sight:
    """All nodes. ``record`` takes facts as they are seen; ``on_send(at_ns, link)`` every message that a node sent to another."""

    def __init__(self, cell: Cell, judge: Judge, record: Callable[[Fact], None], on_send: Callable[[int, Link], None]) -> None:
        self._cell = cell
        self._record = record
        self._on_send = on_send
        self._began_ns = time.monotonic_ns()
        self._nodes: dict[str, NodeSight] = {}
        for node, deployment in cell.deployments.items():
            observer = Observer(node, deployment.config.agent, deployment.config.fleet, judge, record)
            self._nodes[node] = NodeSight(TraceReader(Path(deployment.trace)), observer)

    @property
    def nodes(self) -> Mapping[str, NodeSight]:
        return self._nodes

    def begin(self) -> None:
        """From here on the run counts."""
        self._began_ns = time.monotonic_ns()

    def now_ns(self) -> int:
        """Nanoseconds since the start of the run, on the clock that stamps every trace."""
        return time.monotonic_ns() - self._began_ns

    def look(self) -> None:
        """Take in what has been written since the last look."""
        for node, sight in self._nodes.items():
            for entry in sight.reader.read():
                self._take(node, sight, entry)

    def note(self, kind: str, node: str, body: dict[str, Any]) -> None:
        """Record a fact of ``node`` that happens to it from outside."""
        boottime_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._record(Fact(self.now_ns(), kind, node, self._cell.deployments[node].clock.reading_at(boottime_ns), body))

    def note_death(self, node: str) -> None:
        """The process of ``node`` is gone, if it had one; what it waited for will not come. Nothing that was committed is lost: the host lives."""
        sight = self._nodes[node]
        if sight.alive:
            sight.alive = False
            sight.observer.died()
            self.note("node-crashed", node, {"lost_records": 0, "power": False})

    def close(self) -> None:
        for sight in self._nodes.values():
            sight.reader.close()

    def _take(self, node: str, sight: NodeSight, entry: Entry) -> None:
        at_ns = max(0, entry.at_ns - self._began_ns)
        match entry:
            case Started():
                sight.pid, sight.containment = entry.pid, entry.containment
            case Step():
                sight.see(entry)
                sight.observer.step(at_ns, entry.clock_ns, entry.event, entry.effects)
                if isinstance(entry.event, ProcessExited):
                    self.note_death(f"agent/{sight.observer.agent}")
                for effect in entry.effects:
                    if isinstance(effect, Send) and not effect.after_lsn:
                        self._on_send(at_ns, (node, effect.to))
            case Released(effect=Send(to=to)):
                self._on_send(at_ns, (node, to))
            case Released():
                pass
            case Raised():
                self._record(Fact(at_ns, "step-raised", node, entry.clock_ns, {"error": entry.error}))
