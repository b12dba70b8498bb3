"""Links: in order and on time by themselves, and what loss, duplication, reordering, delay and each shape of partition make of that."""

from __future__ import annotations

from collections import Counter

import pytest

from killswitch.core import codec
from killswitch.core.messages import Message, StopAck, UnknownProhibition
from scenarios.schedule import LinkSpec
from scenarios.schedule import Tape as TapeSpec
from sim.network import HANDSHAKE_BYTES, Delivery, Impairment, Network
from sim.queue import TIE_BITS, Queue
from sim.tape import PPM, Tape

MS = 1_000_000
PERFECT = LinkSpec(latency_ns=2 * MS, jitter_ns=MS)


class Bench:
    """A network of two ends; ``arrived``: (time, source, number) of each message; ``fired``: how often each fault did something;
    ``unread``: what came that was no such message."""

    def __init__(self, spec: LinkSpec = PERFECT, seed: str = "7") -> None:
        tape = Tape(TapeSpec(seed=seed))
        self.queue = Queue(tape.bits("ties", TIE_BITS))
        self.arrived: list[tuple[int, str, int]] = []
        self.fired: Counter[str] = Counter()
        self.unread: list[Message] = []
        self.network = Network(self.queue, tape, spec, self._deliver, lambda fault: self.fired.update([fault]))

    def _deliver(self, delivery: Delivery) -> None:
        if isinstance(delivery.message, StopAck):
            self.arrived.append((self.queue.now, delivery.link.source, delivery.message.checkpoint))
        else:
            self.unread.append(delivery.message)

    def send(self, *numbers: int, source: str = "a", target: str = "b") -> None:
        for number in numbers:
            self.network.send(source, target, StopAck(number, ()))

    def send_at(self, at_ns: int, *numbers: int) -> None:
        self.queue.at(at_ns, lambda _: self.send(*numbers))

    def play(self, until: int = 1000 * MS) -> list[int]:
        """The numbers in the order of their arrival."""
        self.queue.play(until)
        return [number for _, _, number in self.arrived]


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_a_link_keeps_order_and_latency(seed: str) -> None:
    bench = Bench(seed=seed)
    for start in range(0, 100, 10):
        bench.send_at(start * 1000, *range(start, start + 10))
    assert bench.play() == list(range(100))
    assert all(2 * MS <= at <= 3 * MS + 100_000 for at, _, _ in bench.arrived)
    times = [at for at, _, _ in bench.arrived]
    assert len(set(times)) == 100  # at one instant, order would be left to a draw


def test_the_traffic_of_one_link_shifts_nothing_on_another() -> None:
    quiet, busy = Bench(), Bench()
    for bench in (quiet, busy):
        for link in (("a", "b"), ("c", "d")):
            bench.network.impair(*link, Impairment("rough", loss_ppm=PPM // 4, duplicate_ppm=PPM // 4, reorder_ppm=PPM // 4, reorder_ns=MS))
        bench.send_at(MS, *range(100))
    busy.queue.at(MS, lambda _: busy.send(*range(100), source="c", target="d"))
    quiet.play()
    busy.play()
    assert [entry for entry in busy.arrived if entry[1] == "a"] == quiet.arrived
    assert len(busy.arrived) > len(quiet.arrived) + 50


def test_two_directions_are_two_links() -> None:
    bench = Bench()
    bench.network.block("a", "b", "cut", "blackhole")
    bench.send(1)
    bench.send(2, source="b", target="a")
    assert bench.play() == [2]
    assert bench.arrived[0][1] == "b"


@pytest.mark.parametrize("shape", ["blackhole", "cut", "reset"])
def test_what_a_partition_swallows_is_gone_under_way_or_not(shape: str) -> None:
    bench = Bench()
    bench.send(1)
    bench.queue.at(MS, lambda _: bench.network.block("a", "b", "f", shape))
    bench.send_at(5 * MS, 2)
    bench.queue.at(9 * MS, lambda _: bench.network.unblock("a", "b", "f"))
    bench.send_at(10 * MS, 3)
    assert bench.play() == [3]
    assert bench.fired == {"f": 2}


def test_a_stall_keeps_what_was_under_way_and_what_was_sent_in_the_order_of_sending() -> None:
    bench = Bench(LinkSpec(latency_ns=10 * MS, jitter_ns=0))
    bench.send(1, 2)
    bench.queue.at(MS, lambda _: bench.network.block("a", "b", "f", "stall"))
    bench.send_at(2 * MS, 3)  # waits at once, while 1 and 2 are still under way
    bench.send_at(30 * MS, 4)
    bench.queue.at(50 * MS, lambda _: bench.network.unblock("a", "b", "f"))
    bench.send_at(51 * MS, 5)
    assert bench.play() == [1, 2, 3, 4, 5]
    assert bench.arrived[0][0] == 60 * MS
    assert bench.fired == {"f": 4}


def test_a_stall_that_ends_while_something_is_under_way_lets_that_go_first() -> None:
    bench = Bench(LinkSpec(latency_ns=10 * MS, jitter_ns=0))
    bench.send(1)
    bench.queue.at(MS, lambda _: bench.network.block("a", "b", "f", "stall"))
    bench.send_at(2 * MS, 2)
    bench.queue.at(3 * MS, lambda _: bench.network.unblock("a", "b", "f"))
    assert bench.play() == [1, 2]


def test_a_blackhole_over_a_stall_swallows_what_waited() -> None:
    bench = Bench()
    bench.network.block("a", "b", "first", "stall")
    bench.send(1)
    bench.network.block("a", "b", "second", "blackhole")
    bench.send(2)
    bench.network.unblock("a", "b", "second")
    bench.send(3)
    bench.network.unblock("a", "b", "first")
    assert bench.play() == [3]


def test_a_link_is_free_when_the_last_of_its_partitions_is_lifted() -> None:
    bench = Bench()
    for fault in ("first", "second"):
        bench.network.block("a", "b", fault, "stall")
    bench.send(1)
    bench.network.unblock("a", "b", "first")
    assert bench.play(100 * MS) == []
    bench.network.unblock("a", "b", "second")
    bench.network.unblock("a", "b", "never was")
    assert bench.play(200 * MS) == [1]


def test_loss_loses_about_its_share_and_says_so() -> None:
    bench = Bench()
    bench.network.impair("a", "b", Impairment("f", loss_ppm=PPM // 4))
    bench.send(*range(2000))
    arrived = bench.play()
    assert arrived == sorted(arrived)
    assert len(arrived) + bench.fired["f"] == 2000
    assert 400 < bench.fired["f"] < 600


def test_duplication_delivers_twice_and_says_so() -> None:
    bench = Bench()
    bench.network.impair("a", "b", Impairment("f", duplicate_ppm=PPM // 4))
    bench.send(*range(1000))
    arrived = Counter(bench.play())
    assert set(arrived) == set(range(1000))
    assert sum(arrived.values()) - 1000 == bench.fired["f"] > 200
    assert max(arrived.values()) == 2


def test_reordering_lets_later_messages_overtake() -> None:
    bench = Bench()
    bench.network.impair("a", "b", Impairment("f", reorder_ppm=PPM // 4, reorder_ns=20 * MS))
    for number in range(400):
        bench.send_at(number * MS, number)
    arrived = bench.play()
    assert sorted(arrived) == list(range(400))
    assert arrived != list(range(400))
    assert bench.fired["f"] > 50
    assert max(at - number * MS for at, _, number in bench.arrived) <= 23 * MS


def test_delay_comes_on_top_and_ends_with_its_fault() -> None:
    bench = Bench(LinkSpec(latency_ns=2 * MS, jitter_ns=0))
    bench.network.impair("a", "b", Impairment("slow", delay_ns=30 * MS))
    bench.network.impair("a", "b", Impairment("slower", delay_ns=100 * MS))
    bench.send(1)
    bench.queue.at(200 * MS, lambda _: bench.network.mend("a", "b", "slower"))
    bench.send_at(300 * MS, 2)
    bench.queue.at(400 * MS, lambda _: bench.network.mend("a", "b", "slow"))
    bench.send_at(500 * MS, 3)
    bench.play()
    assert [at for at, _, _ in bench.arrived] == [132 * MS, 332 * MS, 502 * MS]
    assert bench.fired == {"slow": 2, "slower": 1}


def test_the_networks_own_nature_is_no_fault() -> None:
    bench = Bench(LinkSpec(latency_ns=MS, jitter_ns=0, loss_ppm=PPM // 2))
    bench.send(*range(100))
    assert 20 < len(bench.play()) < 80
    assert set(bench.fired) == {""}


def test_an_impairment_of_one_link_draws_nothing_for_others() -> None:
    calm, rough = Bench(), Bench()
    rough.network.impair("c", "d", Impairment("f", loss_ppm=PPM // 2))
    for bench in (calm, rough):
        bench.send(*range(50))
        bench.play()
    assert calm.arrived == rough.arrived


def test_pieces_make_a_message_as_late_as_all_of_its_pieces_and_the_next_one_waits() -> None:
    size = len(codec.encode(StopAck(1, ()), "a", "b", ""))
    bench = Bench(LinkSpec(latency_ns=2 * MS, jitter_ns=0))
    bench.network.impair("a", "b", Impairment("f", piece_bytes=size // 2 + 1, pause_ns=10 * MS))
    bench.send(1, 2)
    bench.queue.at(300 * MS, lambda _: bench.network.mend("a", "b", "f"))
    bench.send_at(400 * MS, 3)
    assert bench.play() == [1, 2, 3]
    assert [at for at, _, _ in bench.arrived] == [22 * MS, 42 * MS, 402 * MS]
    assert bench.fired == {"f": 2}


def test_a_packet_that_is_lost_is_late_and_what_follows_waits_for_it() -> None:
    bench = Bench(LinkSpec(latency_ns=2 * MS, jitter_ns=0))
    bench.network.impair("a", "b", Impairment("f", resend_ppm=PPM // 2))
    for number in range(20):
        bench.send_at(20_000 * MS * number, number, 100 + number)
    sent = [number for first in range(20) for number in (first, 100 + first)]
    assert bench.play(400_000 * MS) == sent
    late_ms = [(at // MS - 2) % 20_000 for at, _, number in bench.arrived if number < 100]
    assert set(late_ms) > {0, 200, 600} and set(late_ms) <= {0, 200, 600, 1400, 3000, 6200, 12_600}
    after_ms = [(at // MS - 2) % 20_000 for at, _, number in bench.arrived if number >= 100]
    assert all(first <= second for first, second in zip(late_ms, after_ms, strict=True))
    bench.network.impair("a", "b", Impairment("f", resend_ppm=PPM))
    bench.send(1000)
    bench.play(500_000 * MS)
    assert bench.arrived[-1][0] == 400_000 * MS + 2 * MS + 12_600 * MS  # nothing is lost for good


def test_a_message_that_is_late_is_so_on_a_narrow_link_too() -> None:
    bench = Bench(LinkSpec(latency_ns=2 * MS, jitter_ns=0))
    bench.network.impair("a", "b", Impairment("narrow", piece_bytes=1000, pause_ns=10 * MS))
    bench.network.impair("a", "b", Impairment("slow", delay_ns=100 * MS))
    bench.send(1, 2)
    assert bench.play() == [1, 2]
    assert [at for at, _, _ in bench.arrived] == [112 * MS, 122 * MS]


def test_a_connection_that_ends_after_so_many_bytes_loses_the_message_in_the_middle_and_carries_as_many_again() -> None:
    size = len(codec.encode(StopAck(1, ()), "a", "b", ""))
    bench = Bench()
    bench.network.impair("a", "b", Impairment("f", cut_bytes=HANDSHAKE_BYTES + 3 * size))
    bench.send(*range(1, 10))
    assert bench.play() == [1, 2, 3, 5, 6, 7, 9]
    assert bench.fired == {"f": 2}
    bench.network.mend("a", "b", "f")
    bench.network.impair("a", "b", Impairment("f", cut_bytes=HANDSHAKE_BYTES + 3 * size))
    bench.send(11, 12, 13, 14)
    assert bench.play(2000 * MS)[7:] == [11, 12, 13]  # one that is on again counts anew


def test_a_message_takes_the_time_of_what_was_said_whatever_is_made_of_it() -> None:
    """What nobody can read has no bytes of its own."""
    bench = Bench()
    bench.network.impair("a", "b", Impairment("narrow", bytes_per_s=1_000_000))
    bench.network.impair("a", "b", Impairment("closing", cut_bytes=1 << 20))
    unread = UnknownProhibition(2, 1, "a", "of a later version")
    bench.network.impair("a", "b", Impairment("versions", spoils=lambda source, target, message: unread))
    bench.send(1, 2)
    bench.play()
    assert bench.unread == [unread, unread]
