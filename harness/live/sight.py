"""What the harness sees of a running cell: it reads every trace as it grows and turns steps into facts.

Owns the reading, the clock of the run, and the few things that faults have to know of nodes (their pids, what they were sent). The
meaning of a step is `harness.shared.observe`'s, shared with the simulator.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.live.cell import Cell, Link
from harness.shared.doubles import COPY, watching
from harness.shared.history import Fact
from harness.shared.judge import Judge
from harness.shared.observe import Observer
from harness.shared.signals import ARRIVED, orders_of
from killswitch.core.events import Boot, ProcessExited, Receive, Send
from killswitch.core.keys import SUCCESSOR
from killswitch.live.trace import Entry, Raised, Released, Started, Step, TraceReader
from scenarios.deploy import hosted_by


class NodeSight:
    """One node, seen through its trace. ``lives``: the steps of each of its processes. ``received``: every message, over all of them."""

    def __init__(self, reader: TraceReader, observer: Observer) -> None:
        self.reader = reader
        self.observer = observer
        self.pid = 0
        self.containment = ""
        self.alive = False
        self.lives: list[list[Step]] = []
        self.received: list[Receive] = []
        self.joins_from: int | None = None  # the first of its lives that takes the place of one whose disk was lost

    def see(self, step: Step) -> None:
        if isinstance(step.event, Boot):
            self.lives.append([])
            self.alive = True
        self.lives[-1].append(step)
        if isinstance(step.event, Receive):
            self.received.append(step.event)


class Sight:
    """All nodes. ``record`` takes facts as they are seen; ``on_send`` the link of every message that a node sent."""

    def __init__(self, cell: Cell, judge: Judge, record: Callable[[Fact], None], on_send: Callable[[Link], None]) -> None:
        self._cell = cell
        self._record = record
        self._on_send = on_send
        self._began_ns = 0
        self.doubled = ""  # the sidecar whose host a fault has cloned, or is about to
        self._copied: set[str] = set()
        self._retired: set[str] = set()
        self._arrivals: set[tuple[str, int, bytes]] = set()
        self._nodes: dict[str, NodeSight] = {}
        for node, deployment in cell.deployments.items():
            observer = Observer(node, deployment.config.agent, judge, record)
            self._nodes[node] = NodeSight(TraceReader(Path(deployment.trace)), observer)

    @property
    def nodes(self) -> Mapping[str, NodeSight]:
        return self._nodes

    def begin(self) -> None:
        """From here on the run counts."""
        self._began_ns = time.monotonic_ns()

    def now_ns(self) -> int:
        """Nanoseconds since the start of the run, on the clock that stamps every trace; 0 before it."""
        return time.monotonic_ns() - self._began_ns if self._began_ns else 0

    def clock_ns(self, node: str) -> int:
        """What the own clock of ``node`` reads now."""
        return self._cell.clock(node).read_ns()

    def look(self) -> None:
        """Take in what has been written since the last look."""
        for node, sight in self._nodes.items():
            for entry in sight.reader.read():
                self._take(node, sight, entry)

    def note(self, kind: str, node: str, body: dict[str, Any]) -> None:
        """Record a fact of ``node`` that happens to it from outside."""
        self._record(Fact(self.now_ns(), kind, node, self.clock_ns(node), body))

    def note_death(self, node: str, *, lost_records: int = 0, power: bool = False) -> None:
        """The process of ``node`` is gone, if it had one, by loss of ``power`` or not. What was committed is there, but for ``lost_records``."""
        sight = self._nodes[node]
        if sight.alive:
            sight.alive = False
            self.note("node-crashed", node, {"lost_records": lost_records, "power": power})

    def double(self, *nodes: str) -> None:
        """From here on each of ``nodes`` has a copy, of which is known what is known of itself."""
        for node in nodes:
            self._copied.add(node)
            self._nodes[node + COPY].observer = watching(node + COPY, self._nodes[node].observer)

    def retire(self, *nodes: str) -> None:
        """These are gone for good, and what they left is nobody's."""
        self._retired.update(nodes)

    def standing(self) -> dict[str, NodeSight]:
        """All that ever ran and were not retired, as the history calls them."""
        return {node: sight for node, sight in self._nodes.items() if sight.lives and node not in self._retired}

    def answering_to(self, node: str) -> tuple[str, ...]:
        """Whoever goes by that name: one, or two while a copy of its host is beside it."""
        return tuple(name for name in ((node, node + COPY) if node in self._copied else (node,)) if name not in self._retired)

    def close(self) -> None:
        for sight in self._nodes.values():
            sight.reader.close()

    def _note_arrivals(self, at_ns: int, node: str, event: Receive, clock_ns: int) -> None:
        """An order under a key that is new: the node may not have heard of it, and has to obey all the same (D7). Once for each start of it."""
        for order in orders_of(event.message):
            mark = (node, len(self._nodes[node].lives), order.raw)
            if SUCCESSOR in order.signer and event.sender.startswith("replica/") and mark not in self._arrivals:
                self._arrivals.add(mark)
                body = {"order": hashlib.sha256(order.raw).hexdigest(), "sender": event.sender, "how": "under a new key"}
                self._record(Fact(at_ns, ARRIVED[node.partition("/")[0]], node, clock_ns, body))

    def _agent_ended(self, agent: str, at_ns: int) -> None:
        """Its sidecar has reaped it. What the agent wrote before comes first, though its trace may not have been read as far."""
        sight = self._nodes[agent]
        for entry in sight.reader.read():
            self._take(agent, sight, entry)
        if sight.lives and sight.lives[-1][0].at_ns < at_ns:
            self.note_death(agent)

    def _take(self, node: str, sight: NodeSight, entry: Entry) -> None:
        at_ns = max(0, entry.at_ns - self._began_ns)
        match entry:
            case Started():
                sight.pid, sight.containment = entry.pid, entry.containment
            case Step():
                sight.see(entry)
                if isinstance(entry.event, Receive) and node.partition("/")[0] in ARRIVED:
                    self._note_arrivals(at_ns, node, entry.event, entry.clock_ns)
                sight.observer.step(at_ns, entry.clock_ns, entry.event, entry.effects)
                if isinstance(entry.event, ProcessExited):
                    self._agent_ended(hosted_by(node), entry.at_ns)
                for effect in entry.effects:
                    if isinstance(effect, Send) and not effect.after_lsn:
                        self._on_send((node, effect.to))
            case Released(effect=Send(to=to)):
                self._on_send((node, to))
            case Released():
                pass
            case Raised():
                self._record(Fact(at_ns, "step-raised", node, entry.clock_ns, {"error": entry.error}))
