"""A message that nothing happens to takes a way of its own through the network, for speed: it must come to the same as the long way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from killswitch.core.messages import StopAck
from scenarios.schedule import LinkSpec
from scenarios.schedule import Tape as TapeSpec
from sim.network import Delivery, Impairment, Network, Trouble
from sim.queue import TIE_BITS, Queue
from sim.tape import PPM, Tape

MS = 1_000_000
NODES = ("a", "b", "c")
Sending = tuple[int, str, str]  # how long after the one before, from whom, to whom


class LongWay(Network):
    """Carries whatever is sent as it would what something happened to."""

    def send(self, source: str, target: str, message: StopAck, stamp: int = 0) -> None:  # type: ignore[override]
        self._links.trouble(source, target)
        super().send(source, target, message, stamp)

    def _troubled(self, delivery: Delivery, trouble: Trouble) -> int | None:
        extra_ns = super()._troubled(delivery, trouble)
        if extra_ns is not None:
            self._carry(delivery, trouble, extra_ns, in_order=True)
        return None


def told(way: type[Network], spec: LinkSpec, slot_ns: int, delay_ns: int, sendings: list[Sending]) -> tuple[list[object], list[object]]:
    """What was on the agenda when all was sent, and what arrived: (time, link, number) of each."""
    tape = Tape(TapeSpec(seed="7"))
    queue = Queue(tape.bits("ties", TIE_BITS), slot_ns)
    arrived: list[object] = []
    network = way(queue, tape, spec, lambda it: arrived.append((queue.now, it.link.source, it.link.target, it.message)), lambda _: None)
    if delay_ns:
        network.impair("a", "b", Impairment("late", delay_ns=delay_ns))
    at_ns = 0
    for number, (after_ns, source, target) in enumerate(sendings):
        at_ns += after_ns
        queue.at(at_ns, lambda it: network.send(it[0], it[1], StopAck(it[2], ())), (source, target, number))
    queue.play(at_ns + 1)
    waiting = [*queue.heap, *(entry for laid in queue._later.values() for entry in laid)]
    agenda = sorted((*entry[:3], entry[3].link.source, entry[3].link.target, entry[3].link.last_at, entry[3].link.state)
                    for entry in waiting if isinstance(entry[3], Delivery))  # fmt: skip
    queue.play(at_ns + 10_000 * MS)
    return list(agenda), arrived


CHANCES = st.sampled_from((0, 0, PPM // 4))
SPECS = st.builds(
    LinkSpec,
    latency_ns=st.integers(0, 3 * MS), jitter_ns=st.one_of(st.just(0), st.integers(0, 3 * MS)),
    loss_ppm=CHANCES, duplicate_ppm=CHANCES, reorder_ppm=CHANCES, reorder_ns=st.integers(0, 9 * MS),
)  # fmt: skip
SENDINGS = st.lists(st.tuples(st.one_of(st.just(0), st.integers(0, 2 * MS)), st.sampled_from(NODES), st.sampled_from(NODES)), min_size=1, max_size=40)


@given(SPECS, st.integers(1, 5 * MS), st.one_of(st.just(0), st.integers(1, 9 * MS)), SENDINGS)
def test_what_nothing_happens_to_comes_when_it_would_come_the_long_way(spec: LinkSpec, slot_ns: int, delay_ns: int, sendings: list[Sending]) -> None:
    short, long = (told(way, spec, slot_ns, delay_ns, sendings) for way in (Network, LongWay))
    assert short == long
    if not (spec.loss_ppm or spec.duplicate_ppm):
        assert len(short[1]) == len(sendings)
