"""The network between nodes: per-link latency, loss, duplication, reordering, delay and partition, each way on its own.

Owns when, and whether, and how often a message arrives. Must not know what is in it, beyond handing it on.

A link is one direction between two nodes. In itself it keeps order, as a connection does, and no two messages arrive at the same instant, which
would leave their order to chance. Faults make it lose, repeat, hold back or stop:

    blackhole, cut, reset   what is sent or would arrive meanwhile is gone (an end would also be noticed; the protocol needs no such notice)
    stall                   it waits, as in TCP behind a silent firewall, and arrives when the link heals: late, in order

A packet that is lost is no message that is: TCP sends it again, so that the message is late, and whatever follows it on the link waits for it.

A link that carries only so many bytes a second, or small pieces with pauses, sends one message after the other, prohibitions first, each as long as
it is on the wire. One whose connections end after so many bytes loses the message in whose middle that is.

Each link draws from streams of its own, so that what goes over one shifts nothing on another.
"""

from __future__ import annotations

from collections.abc import Callable

from killswitch.core import codec
from killswitch.core.messages import Message
from scenarios.schedule import LinkSpec
from sim.lanes import SECOND_NS, Lanes
from sim.queue import Event, Lane, Queue
from sim.tape import BITS, Stream, Tape, happens

STALLED_MAX = 10_000
RESEND_NS = 200_000_000  # what TCP waits for an acknowledgement on a short path; twice as long each further time
RESENDS_MAX = 6  # after which it is through: a connection that waits longer has been given up and opened anew
HANDSHAKE_BYTES = 1400  # each way, of mutual TLS with the deployment's certificates


class Impairment:
    """What faults add to a link at the moment; chances in parts per million. ``spoils``: what becomes of a message from one node to another, None if
    it is lost. ``cut_bytes``: what a connection carries before it ends."""

    __slots__ = (
        "bytes_per_s", "cut_bytes", "delay_ns", "duplicate_ppm", "fault", "loss_ppm", "pause_ns", "piece_bytes", "reorder_ns", "reorder_ppm",
        "resend_ppm", "spoils",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913  # a fault sets one or two of them
        self,
        fault: str,
        *,
        delay_ns: int = 0,
        loss_ppm: int = 0,
        resend_ppm: int = 0,
        duplicate_ppm: int = 0,
        reorder_ppm: int = 0,
        reorder_ns: int = 0,
        bytes_per_s: int = 0,
        piece_bytes: int = 0,
        pause_ns: int = 0,
        cut_bytes: int = 0,
        spoils: Callable[[str, str, Message], Message | None] | None = None,
    ) -> None:
        self.fault = fault
        self.spoils = spoils
        self.delay_ns = delay_ns
        self.loss_ppm = loss_ppm
        self.resend_ppm = resend_ppm
        self.duplicate_ppm = duplicate_ppm
        self.reorder_ppm = reorder_ppm
        self.reorder_ns = reorder_ns
        self.bytes_per_s = bytes_per_s
        self.piece_bytes = piece_bytes
        self.pause_ns = pause_ns
        self.cut_bytes = cut_bytes

    @property
    def is_narrow(self) -> bool:
        """Whether a message is on the wire for a time, in which no other is."""
        return bool(self.bytes_per_s or self.piece_bytes)

    def wire_ns(self, size: int) -> int:
        """How long so many bytes are on the wire."""
        if self.piece_bytes:
            return -(-size // self.piece_bytes) * self.pause_ns
        return size * SECOND_NS // self.bytes_per_s


class Luck:
    """What a link draws from once something is wrong with it, and what faults count on it."""

    __slots__ = ("carried", "held", "held_for", "lost", "repeated", "resent")

    def __init__(self, tape: Tape, link: str) -> None:
        self.carried: dict[str, int] = {}  # by the connection that is open, for each fault that will end it
        self.lost = tape.light("network.loss", link)
        self.repeated = tape.light("network.duplicate", link)
        self.resent = tape.light("network.resend", link)
        self.held = tape.light("network.reorder", link)
        self.held_for = tape.light("network.hold", link)


class Trouble:
    """What faults make of a link. ``blocks``: {fault: shape} of the partitions on it; ``impairments``: what else is wrong with it.

    ``wrong``: the impairments, with those that all links have, as they are rolled for; ``narrow``: those of them by which a message takes its time
    on the wire. ``landed`` and ``stalled`` wait for the heal: what was under way when the link stalled, and what was sent since.
    """

    __slots__ = ("blocks", "impairments", "landed", "luck", "narrow", "stalled", "waiting", "wrong")

    def __init__(self, wrong: tuple[Impairment, ...]) -> None:
        self.luck: Luck | None = None
        self.blocks: dict[str, str] = {}
        self.impairments: dict[str, Impairment] = {}
        self.wrong: tuple[Impairment, ...] = wrong
        self.narrow: tuple[Impairment, ...] = ()
        self.landed: list[Delivery] = []
        self.stalled: list[Delivery] = []
        self.waiting: Lanes | None = None  # for their turn, while the link is narrow


class Link(Lane):
    """One direction. ``jitter`` draws `BITS` bits. ``trouble``: None until something is wrong with it, for a fleet has very many links."""

    __slots__ = ("jitter", "source", "target", "trouble")

    def __init__(self, source: str, target: str, jitter: Stream, trouble: Trouble | None) -> None:
        super().__init__()
        self.source = source
        self.target = target
        self.jitter = jitter
        self.trouble = trouble


class Links(dict[tuple[str, str], Link]):
    """Every link by its ends, made when it is first asked for. ``wrong``: what is wrong with all of them, if anything."""

    def __init__(self, tape: Tape, wrong: tuple[Impairment, ...]) -> None:
        super().__init__()
        self._tape = tape
        self._wrong = wrong

    def __missing__(self, ends: tuple[str, str]) -> Link:
        jitter = self._tape.light("network.jitter", stream_of(*ends))
        link = self[ends] = Link(*ends, jitter, Trouble(self._wrong) if self._wrong else None)
        return link

    def trouble(self, source: str, target: str) -> Trouble:
        """What is wrong with a link, to be made worse or better."""
        link = self[source, target]
        if link.trouble is None:
            link.trouble = Trouble(self._wrong)
        return link.trouble

    def impair(self, source: str, target: str, fault: str, impairment: Impairment | None) -> None:
        """What a fault makes of a link: None mends it."""
        trouble = self.trouble(source, target)
        if impairment is None:
            trouble.impairments.pop(fault, None)
        else:
            trouble.impairments[fault] = impairment
        trouble.wrong = (*self._wrong, *trouble.impairments.values())
        trouble.narrow = tuple(each for each in trouble.wrong if each.is_narrow)
        if trouble.luck is not None:
            trouble.luck.carried.pop(fault, None)


def stream_of(source: str, target: str) -> str:
    """What a link is called on the tape."""
    return f"{source}>{target}"


class Delivery(Event):
    """A message under way. ``stamp``: of its sender's clock, which goes with it wherever it goes."""

    link: Link
    message: Message
    stamp: int


Deliver = Callable[[Delivery], None]


def size_of(delivery: Delivery) -> int:
    """How many bytes a message is on the wire, tenant and all left out of its header."""
    return len(codec.encode(delivery.message, delivery.link.source, delivery.link.target, ""))


class Network:
    """Everything between the nodes. ``fired(fault)`` is told whenever a fault made a difference."""

    def __init__(self, queue: Queue, tape: Tape, spec: LinkSpec, deliver: Deliver, fired: Callable[[str], None]) -> None:
        self._queue = queue
        self._latency_ns = spec.latency_ns
        self._deliver = deliver
        self._fired = fired
        self._tape = tape
        self._jitter_ways = spec.jitter_ns + 1
        own = Impairment("", loss_ppm=spec.loss_ppm, duplicate_ppm=spec.duplicate_ppm, reorder_ppm=spec.reorder_ppm, reorder_ns=spec.reorder_ns)
        self._links = Links(tape, (own,) if spec.loss_ppm or spec.duplicate_ppm or spec.reorder_ppm else ())
        self._arrivals = (self._arrive,)
        self.sent = 0

    def send(self, source: str, target: str, message: Message, stamp: int = 0) -> None:
        """Put a message on its way."""
        self.sent += 1
        link = self._links[source, target]
        delivery = Delivery(self._arrivals, link, message, stamp)
        trouble = link.trouble
        if trouble is not None and (trouble.blocks or trouble.wrong):
            self._troubled(delivery, trouble)
        else:
            after_ns = self._latency_ns + (link.jitter.draw() * self._jitter_ways >> BITS)
            self._queue.follow(link, after_ns, delivery)

    def _carry(self, delivery: Delivery, extra_ns: int, *, in_order: bool) -> None:
        """Put a message on its way that something happened to."""
        link = delivery.link
        after_ns = self._latency_ns + (link.jitter.draw() * self._jitter_ways >> BITS) + extra_ns
        if in_order:
            self._queue.follow(link, after_ns, delivery)
        else:
            self._queue.push(self._queue.now + after_ns, delivery)

    def _troubled(self, delivery: Delivery, trouble: Trouble) -> None:
        """Roll for everything that is wrong with the link; its own chances first, then each fault's."""
        if trouble.blocks:
            self._blocked(trouble, delivery, trouble.stalled)
            return
        link = delivery.link
        luck = trouble.luck
        if luck is None:
            luck = trouble.luck = Luck(self._tape, stream_of(link.source, link.target))
        extra_ns, copies, in_order = 0, 1, True
        for impairment in trouble.wrong:
            if impairment.spoils is not None:
                found = impairment.spoils(link.source, link.target, delivery.message)
                if found is None:
                    return
                delivery.message = found
            if impairment.delay_ns:
                self._fired(impairment.fault)
                extra_ns += impairment.delay_ns
            if impairment.cut_bytes and self._ends(luck, impairment, delivery):
                return
            if impairment.loss_ppm and happens(luck.lost, impairment.loss_ppm):
                self._fired(impairment.fault)
                return
            if impairment.resend_ppm:
                extra_ns += self._resent_ns(luck, impairment)
            if impairment.duplicate_ppm and happens(luck.repeated, impairment.duplicate_ppm):
                self._fired(impairment.fault)
                copies += 1
            if impairment.reorder_ppm and happens(luck.held, impairment.reorder_ppm):
                self._fired(impairment.fault)
                extra_ns += luck.held_for.draw() * (impairment.reorder_ns + 1) >> BITS
                in_order = False
        for _ in range(copies):
            if trouble.narrow:
                self._queue_up(delivery, trouble, extra_ns)
            else:
                self._carry(delivery, extra_ns, in_order=in_order)

    def _resent_ns(self, luck: Luck, impairment: Impairment) -> int:
        """How late a message is because its packet was lost, perhaps more than once."""
        late_ns, wait_ns = 0, RESEND_NS
        for _ in range(RESENDS_MAX):
            if not happens(luck.resent, impairment.resend_ppm):
                break
            self._fired(impairment.fault)
            late_ns, wait_ns = late_ns + wait_ns, 2 * wait_ns
        return late_ns

    def _ends(self, luck: Luck, impairment: Impairment, delivery: Delivery) -> bool:
        """Whether the connection ends in the middle of this message; the next one finds it opened anew."""
        carried = luck.carried.get(impairment.fault, HANDSHAKE_BYTES) + size_of(delivery)
        ends = carried > impairment.cut_bytes
        luck.carried[impairment.fault] = HANDSHAKE_BYTES if ends else carried
        if ends:
            self._fired(impairment.fault)
        return ends

    # -- links that carry only so much

    def _queue_up(self, delivery: Delivery, trouble: Trouble, extra_ns: int) -> None:
        """Let a message wait for its turn, and then be late as well; nothing overtakes but what is urgent."""
        for impairment in trouble.narrow:
            self._fired(impairment.fault)
        if trouble.waiting is None:
            trouble.waiting = Lanes()
            self._transmit(trouble, delivery, extra_ns)
        else:
            trouble.waiting.put(delivery.message, delivery.link.target, (delivery, extra_ns))

    def _transmit(self, trouble: Trouble, delivery: Delivery, extra_ns: int) -> None:
        size = size_of(delivery) if trouble.narrow else 0
        wire_ns = max((impairment.wire_ns(size) for impairment in trouble.narrow), default=0)
        self._queue.at(self._queue.now + wire_ns, self._transmitted, (trouble, delivery, extra_ns))

    def _transmitted(self, journey: tuple[Trouble, Delivery, int]) -> None:
        """The last byte has left: the message is under way like any other, and the next may begin."""
        trouble, delivery, extra_ns = journey
        if trouble.blocks:
            self._blocked(trouble, delivery, trouble.stalled)
        else:
            self._carry(delivery, extra_ns, in_order=True)
        if trouble.waiting is not None and trouble.waiting.waiting:
            self._transmit(trouble, *trouble.waiting.take())
        else:
            trouble.waiting = None

    def _arrive(self, delivery: Delivery) -> None:
        trouble = delivery.link.trouble
        if trouble is not None and trouble.blocks:
            self._blocked(trouble, delivery, trouble.landed)
        else:
            self._deliver(delivery)

    def _blocked(self, trouble: Trouble, delivery: Delivery, waiting: list[Delivery]) -> None:
        """What a partition does to a message: it waits if every partition on the link stalls, else it is gone."""
        for fault in trouble.blocks:
            self._fired(fault)
        if len(waiting) < STALLED_MAX and all(shape == "stall" for shape in trouble.blocks.values()):
            waiting.append(delivery)

    def block(self, source: str, target: str, fault: str, shape: str) -> None:
        trouble = self._links.trouble(source, target)
        trouble.blocks[fault] = shape
        if shape != "stall":
            trouble.landed.clear()
            trouble.stalled.clear()

    def blocked(self, fault: str) -> list[tuple[str, str]]:
        """The links that a fault blocks."""
        return [ends for ends, link in self._links.items() if link.trouble is not None and fault in link.trouble.blocks]

    def unblock(self, source: str, target: str, fault: str) -> None:
        """Lift one partition; what waits goes on its way, in the order in which it was sent, once nothing else blocks the link."""
        trouble = self._links.trouble(source, target)
        trouble.blocks.pop(fault, None)
        if not trouble.blocks:
            for delivery in (*trouble.landed, *trouble.stalled):
                self._carry(delivery, 0, in_order=True)
            trouble.landed.clear()
            trouble.stalled.clear()

    def impair(self, source: str, target: str, impairment: Impairment) -> None:
        self._links.impair(source, target, impairment.fault, impairment)

    def mend(self, source: str, target: str, fault: str) -> None:
        self._links.impair(source, target, fault, None)
