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
from heapq import heappush

from killswitch.core import codec
from killswitch.core.messages import Message
from scenarios.schedule import LinkSpec
from sim.lanes import SECOND_NS, Lanes
from sim.queue import Event, Queue, too_many
from sim.tape import BITS, INCREMENT, LOWER_BITS, MASK, MULTIPLIER, Stream, Tape

STALLED_MAX = 10_000
RESEND_NS = 200_000_000  # what TCP waits for an acknowledgement on a short path; twice as long each further time
RESENDS_MAX = 6  # after which it is through: a connection that waits longer has been given up and opened anew
HANDSHAKE_BYTES = 1400  # each way, of mutual TLS with the deployment's certificates


Spoils = Callable[[str, str, Message], Message | None]


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
        spoils: Spoils | None = None,
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

    ``jitter``: what the link draws from in place of its own stream, if a schedule made that benign or fixed some of its draws.
    ``wrong``: the impairments, with those that all links have, as they are rolled for; ``narrow``: those of them by which a message takes its time
    on the wire; ``weighed``: whether anything hangs on how large messages are. ``landed`` and ``stalled`` wait for the heal: what was under way when
    the link stalled, and what was sent since.
    """

    __slots__ = ("blocks", "impairments", "jitter", "landed", "luck", "narrow", "stalled", "waiting", "weighed", "wrong")

    def __init__(self, wrong: tuple[Impairment, ...], jitter: Stream | None = None) -> None:
        self.jitter = jitter
        self.luck: Luck | None = None
        self.blocks: dict[str, str] = {}
        self.impairments: dict[str, Impairment] = {}
        self.wrong: tuple[Impairment, ...] = wrong
        self.narrow: tuple[Impairment, ...] = ()
        self.weighed = False
        self.landed: list[Delivery] = []
        self.stalled: list[Delivery] = []
        self.waiting: Lanes | None = None  # for their turn, while the link is narrow


class Link(Stream):
    """One direction, which keeps order, and the stream of its jitter. A fleet has very many of them.

    ``trouble``: None until something is wrong with it; ``arrivals``: the callback of what arrives, a list that all links to its target share.
    """

    __slots__ = ("arrivals", "last_at", "source", "target", "trouble")

    def __init__(self, source: str, target: str, arrivals: Arrivals) -> None:
        self.state = 0
        self.last_at = 0
        self.source = source
        self.target = target
        self.trouble: Trouble | None = None
        self.arrivals = arrivals


class Links:
    """Every link, made when it is first asked for. ``made``: {source: {target: link}}; ``wrong``: what is wrong with all of them, if anything.

    ``deliver`` is handed what arrives at a node, until a link to it is blocked for the first time: from then on ``look`` is, which sees to that.
    """

    def __init__(self, tape: Tape, wrong: tuple[Impairment, ...], deliver: Deliver, look: Deliver) -> None:
        self.made: dict[str, dict[str, Link]] = {}
        self._tape = tape
        self._wrong = wrong
        self._deliver, self._look = deliver, look
        self._arrivals: dict[str, Arrivals] = {}  # by target

    def make(self, source: str, target: str) -> Link:
        """A link that there was not yet."""
        jitter = self._tape.light("network.jitter", stream_of(source, target))
        arrivals = self._arrivals.setdefault(target, [self._deliver])
        link = Link(source, target, arrivals)
        self.made.setdefault(source, {})[target] = link
        if type(jitter) is Stream:
            link.state = jitter.state
            link.trouble = Trouble(self._wrong) if self._wrong else None
        else:
            link.trouble = Trouble(self._wrong, jitter)
        return link

    def trouble(self, source: str, target: str) -> Trouble:
        """What is wrong with a link, to be made worse or better."""
        link = self.made.get(source, {}).get(target) or self.make(source, target)
        if link.trouble is None:
            link.trouble = Trouble(self._wrong)
        return link.trouble

    def block(self, source: str, target: str, fault: str, shape: str) -> Trouble:
        """A partition on a link, whatever is under way on it."""
        trouble = self.trouble(source, target)
        trouble.blocks[fault] = shape
        self._arrivals[target][0] = self._look
        return trouble

    def impair(self, source: str, target: str, fault: str, impairment: Impairment | None) -> None:
        """What a fault makes of a link: None mends it."""
        trouble = self.trouble(source, target)
        if impairment is None:
            trouble.impairments.pop(fault, None)
        else:
            trouble.impairments[fault] = impairment
        trouble.wrong = (*self._wrong, *trouble.impairments.values())
        trouble.narrow = tuple(each for each in trouble.wrong if each.is_narrow)
        trouble.weighed = any(each.is_narrow or each.cut_bytes for each in trouble.wrong)
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
Arrivals = list[Deliver]  # of one


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
        wrong = (own,) if spec.loss_ppm or spec.duplicate_ppm or spec.reorder_ppm else ()
        self._links = Links(tape, wrong, deliver, self._look)
        self._made = self._links.made

    def send(self, source: str, target: str, message: Message, stamp: int = 0) -> None:
        """Put a message on its way. Raises `TooMuch`."""
        try:
            link = self._made[source][target]
        except KeyError:
            link = self._links.make(source, target)
        delivery = Delivery(link.arrivals, link, message, stamp)
        after_ns = self._latency_ns
        if link.trouble is not None:
            extra_ns = self._troubled(delivery, link.trouble)
            if extra_ns is None:
                return
            after_ns += extra_ns
        # What `_carry` does, without its calls of `Stream.draw` and `Queue.follow`: nearly every message comes by here.
        queue = self._queue
        link.state = state = link.state * MULTIPLIER + INCREMENT & MASK
        time = queue.now + after_ns + ((state >> LOWER_BITS) * self._jitter_ways >> BITS)
        if time <= link.last_at:
            time = link.last_at + 1
        link.last_at = time
        try:
            entry = (time, 0, queue.number(), delivery)
        except StopIteration:
            raise too_many() from None
        if time < queue.slot_end:
            heappush(queue.heap, entry)
        else:
            queue.lay_aside(entry)

    def _carry(self, delivery: Delivery, trouble: Trouble, extra_ns: int, *, in_order: bool) -> None:
        """Put a message on its way that something happened to, or could have."""
        link = delivery.link
        after_ns = self._latency_ns + ((trouble.jitter or link).draw() * self._jitter_ways >> BITS) + extra_ns
        if in_order:
            self._queue.follow(link, after_ns, delivery)
        else:
            self._queue.push(self._queue.now + after_ns, delivery)

    def _troubled(self, delivery: Delivery, trouble: Trouble) -> int | None:
        """Roll for everything that is wrong with the link; its own chances first, then each fault's.

        How late that makes a message that goes on its way all the same; None if there is none, or if more than that became of it.
        """
        if trouble.blocks:
            self._blocked(trouble, delivery, trouble.stalled)
            return None
        if not trouble.wrong and trouble.jitter is None:
            return 0
        link = delivery.link
        luck = trouble.luck
        if luck is None:
            luck = trouble.luck = Luck(self._tape, stream_of(link.source, link.target))
        size = size_of(delivery) if trouble.weighed else 0  # as it was said, whatever is made of it on the way
        extra_ns, copies, in_order = 0, 1, True
        for impairment in trouble.wrong:
            if impairment.spoils is not None and not self._gets_through(impairment.spoils, delivery):
                return None
            if impairment.delay_ns:
                self._fired(impairment.fault)
                extra_ns += impairment.delay_ns
            if impairment.cut_bytes and self._ends(luck, impairment, size):
                return None
            if impairment.loss_ppm and luck.lost.happens(impairment.loss_ppm):
                self._fired(impairment.fault)
                return None
            if impairment.resend_ppm:
                extra_ns += self._resent_ns(luck, impairment)
            if impairment.duplicate_ppm and luck.repeated.happens(impairment.duplicate_ppm):
                self._fired(impairment.fault)
                copies += 1
            if impairment.reorder_ppm and luck.held.happens(impairment.reorder_ppm):
                self._fired(impairment.fault)
                extra_ns += luck.held_for.draw() * (impairment.reorder_ns + 1) >> BITS
                in_order = False
        if copies == 1 and in_order and not trouble.narrow and trouble.jitter is None:
            return extra_ns
        for _ in range(copies):
            if trouble.narrow:
                self._queue_up(delivery, trouble, size, extra_ns)
            else:
                self._carry(delivery, trouble, extra_ns, in_order=in_order)
        return None

    def _gets_through(self, spoils: Spoils, delivery: Delivery) -> bool:
        """Whether anything is left of a message; if so, it is what arrives."""
        found = spoils(delivery.link.source, delivery.link.target, delivery.message)
        if found is not None:
            delivery.message = found
        return found is not None

    def _resent_ns(self, luck: Luck, impairment: Impairment) -> int:
        """How late a message is because its packet was lost, perhaps more than once."""
        late_ns, wait_ns = 0, RESEND_NS
        for _ in range(RESENDS_MAX):
            if not luck.resent.happens(impairment.resend_ppm):
                break
            self._fired(impairment.fault)
            late_ns, wait_ns = late_ns + wait_ns, 2 * wait_ns
        return late_ns

    def _ends(self, luck: Luck, impairment: Impairment, size: int) -> bool:
        """Whether the connection ends in the middle of a message of ``size`` bytes; the next one finds it opened anew."""
        carried = luck.carried.get(impairment.fault, HANDSHAKE_BYTES) + size
        ends = carried > impairment.cut_bytes
        luck.carried[impairment.fault] = HANDSHAKE_BYTES if ends else carried
        if ends:
            self._fired(impairment.fault)
        return ends

    # -- links that carry only so much

    def _queue_up(self, delivery: Delivery, trouble: Trouble, size: int, extra_ns: int) -> None:
        """Let a message wait for its turn, and then be late as well; nothing overtakes but what is urgent."""
        for impairment in trouble.narrow:
            self._fired(impairment.fault)
        if trouble.waiting is None:
            trouble.waiting = Lanes()
            self._transmit(trouble, delivery, size, extra_ns)
        else:
            trouble.waiting.put(delivery.message, delivery.link.target, (delivery, size, extra_ns))

    def _transmit(self, trouble: Trouble, delivery: Delivery, size: int, extra_ns: int) -> None:
        wire_ns = max((impairment.wire_ns(size) for impairment in trouble.narrow), default=0)
        self._queue.at(self._queue.now + wire_ns, self._transmitted, (trouble, delivery, extra_ns))

    def _transmitted(self, journey: tuple[Trouble, Delivery, int]) -> None:
        """The last byte has left: the message is under way like any other, and the next may begin."""
        trouble, delivery, extra_ns = journey
        if trouble.blocks:
            self._blocked(trouble, delivery, trouble.stalled)
        else:
            self._carry(delivery, trouble, extra_ns, in_order=True)
        if trouble.waiting is not None and trouble.waiting.waiting:
            self._transmit(trouble, *trouble.waiting.take())
        else:
            trouble.waiting = None

    def _look(self, delivery: Delivery) -> None:
        """Hand a message over unless a partition has come meanwhile."""
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
        trouble = self._links.block(source, target, fault, shape)
        if shape != "stall":
            trouble.landed.clear()
            trouble.stalled.clear()

    def blocked(self, fault: str) -> list[tuple[str, str]]:
        """The links that a fault blocks."""
        links = (link for made in self._made.values() for link in made.values())
        return [(link.source, link.target) for link in links if link.trouble is not None and fault in link.trouble.blocks]

    def unblock(self, source: str, target: str, fault: str) -> None:
        """Lift one partition; what waits goes on its way, in the order in which it was sent, once nothing else blocks the link."""
        trouble = self._links.trouble(source, target)
        trouble.blocks.pop(fault, None)
        if not trouble.blocks:
            for delivery in (*trouble.landed, *trouble.stalled):
                self._carry(delivery, trouble, 0, in_order=True)
            trouble.landed.clear()
            trouble.stalled.clear()

    def impair(self, source: str, target: str, impairment: Impairment) -> None:
        self._links.impair(source, target, impairment.fault, impairment)

    def mend(self, source: str, target: str, fault: str) -> None:
        self._links.impair(source, target, fault, None)
