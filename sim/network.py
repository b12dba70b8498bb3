"""The network between nodes: per-link latency, loss, duplication, reordering, delay and partition, each way on its own.

Owns when, and whether, and how often a message arrives. Must not know what is in it, beyond handing it on.

A link is one direction between two nodes. In itself it keeps order, as a connection does; faults make it lose, repeat, hold back or stop:

    blackhole, cut   what is sent or would arrive meanwhile is gone (a cut would also be noticed; the protocol needs no such notice)
    stall            it waits, as in TCP behind a silent firewall, and arrives when the link heals: late, in order
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from killswitch.core.messages import Message
from scenarios.schedule import LinkSpec
from sim.queue import Queue
from sim.tape import Tape

STALLED_MAX = 10_000
Deliver = Callable[[str, str, Message], None]


class Impairment:
    """What faults add to a link at the moment; chances in parts per million."""

    __slots__ = ("delay_ns", "duplicate_ppm", "fault", "loss_ppm", "reorder_ns", "reorder_ppm")

    def __init__(
        self, fault: str, *, delay_ns: int = 0, loss_ppm: int = 0, duplicate_ppm: int = 0, reorder_ppm: int = 0, reorder_ns: int = 0
    ) -> None:
        self.fault = fault
        self.delay_ns = delay_ns
        self.loss_ppm = loss_ppm
        self.duplicate_ppm = duplicate_ppm
        self.reorder_ppm = reorder_ppm
        self.reorder_ns = reorder_ns


class Link:
    """One direction. ``blocks``: {fault: shape} of the partitions on it; ``impairments``: what else is wrong with it."""

    __slots__ = ("blocks", "impairments", "last_at", "source", "stalled", "target")

    def __init__(self, source: str, target: str) -> None:
        self.source = source
        self.target = target
        self.last_at = 0
        self.blocks: dict[str, str] = {}
        self.impairments: dict[str, Impairment] = {}
        self.stalled: deque[Message] = deque()


class Network:
    """All links, made as they are first used. ``fired(fault)`` is told whenever a fault made a difference."""

    def __init__(self, queue: Queue, tape: Tape, spec: LinkSpec, deliver: Deliver, fired: Callable[[str], None]) -> None:
        self._queue = queue
        self._spec = spec
        self._deliver = deliver
        self._fired = fired
        self._jitter = tape.stream("network.jitter")
        self._loses = tape.chance("network.loss")
        self._repeats = tape.chance("network.duplicate")
        self._holds_back = tape.chance("network.reorder")
        self._hold_for = tape.stream("network.hold")
        self._links: dict[tuple[str, str], Link] = {}
        self._base = Impairment(
            "", loss_ppm=spec.loss_ppm, duplicate_ppm=spec.duplicate_ppm, reorder_ppm=spec.reorder_ppm, reorder_ns=spec.reorder_ns
        )
        self._perfect = not (spec.loss_ppm or spec.duplicate_ppm or spec.reorder_ppm)
        self.sent = 0

    def link(self, source: str, target: str) -> Link:
        found = self._links.get((source, target))
        if found is None:
            found = self._links[(source, target)] = Link(source, target)
        return found

    def send(self, source: str, target: str, message: Message) -> None:
        """Put a message on its way."""
        self.sent += 1
        link = self.link(source, target)
        if link.blocks:
            self._blocked(link, message)
        elif self._perfect and not link.impairments:
            self._carry(link, message, 0, in_order=True)
        else:
            self._impaired(link, message)

    def _carry(self, link: Link, message: Message, extra_ns: int, *, in_order: bool) -> None:
        at = self._queue.now + self._spec.latency_ns + self._jitter(self._spec.jitter_ns + 1) + extra_ns
        if in_order:
            at = link.last_at = max(at, link.last_at)
        self._queue.at(at, self._arrive, (link, message))

    def _impaired(self, link: Link, message: Message) -> None:
        """Roll for everything that is wrong with the link; its own chances first, then each fault's."""
        extra_ns, copies, in_order = 0, 1, True
        for impairment in (self._base, *link.impairments.values()):
            extra_ns += impairment.delay_ns
            if impairment.delay_ns:
                self._fired(impairment.fault)
            if self._loses(impairment.loss_ppm):
                self._fired(impairment.fault)
                return
            if self._repeats(impairment.duplicate_ppm):
                self._fired(impairment.fault)
                copies += 1
            if self._holds_back(impairment.reorder_ppm):
                self._fired(impairment.fault)
                extra_ns += self._hold_for(impairment.reorder_ns + 1)
                in_order = False
        for _ in range(copies):
            self._carry(link, message, extra_ns, in_order=in_order)

    def _arrive(self, journey: tuple[Link, Message]) -> None:
        link, message = journey
        if link.blocks:
            self._blocked(link, message)
        else:
            self._deliver(link.source, link.target, message)

    def _blocked(self, link: Link, message: Message) -> None:
        """What a partition does to a message: it waits if every partition on the link stalls, else it is gone."""
        for fault in link.blocks:
            self._fired(fault)
        if len(link.stalled) < STALLED_MAX and all(shape == "stall" for shape in link.blocks.values()):
            link.stalled.append(message)

    def block(self, source: str, target: str, fault: str, shape: str) -> None:
        link = self.link(source, target)
        link.blocks[fault] = shape
        if shape != "stall":
            link.stalled.clear()

    def unblock(self, source: str, target: str, fault: str) -> None:
        """Lift one partition; what stalled goes on its way once nothing else blocks the link."""
        link = self.link(source, target)
        link.blocks.pop(fault, None)
        while link.stalled and not link.blocks:
            self._carry(link, link.stalled.popleft(), 0, in_order=True)

    def impair(self, source: str, target: str, impairment: Impairment) -> None:
        self.link(source, target).impairments[impairment.fault] = impairment

    def mend(self, source: str, target: str, fault: str) -> None:
        self.link(source, target).impairments.pop(fault, None)
