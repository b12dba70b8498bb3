"""The agenda: order in time, ties that are choices, lanes that keep order, and an end before which everything is played."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator

import pytest

from scenarios.schedule import Tape as TapeSpec
from sim.network import Link
from sim.queue import SLOT_NS, TIE_BITS, Act, Queue, collector_at_rest
from sim.tape import Tape


def queue_with(ties: Iterable[int] = ()) -> Queue:
    """A queue whose ties are as told, and then all alike."""
    told: Iterator[int] = iter(ties)
    return Queue(lambda: next(told, 0))


def test_things_are_done_in_order_of_time_at_their_time() -> None:
    queue = queue_with()
    done: list[tuple[int, str]] = []
    for at, name in ((30, "c"), (10, "a"), (20, "b")):
        queue.at(at, lambda what: done.append((queue.now, what)), name)
    queue.play(100)
    assert done == [(10, "a"), (20, "b"), (30, "c")]
    assert queue.now == 100


def test_what_happens_at_one_instant_is_ordered_by_the_draw_and_then_by_who_came_first() -> None:
    for ties, expected in (([], "abc"), ([2, 1, 0], "cba"), ([1, 0, 1], "bac")):
        queue = queue_with(ties)
        done: list[str] = []
        for name in "abc":
            queue.at(5, done.append, name)
        queue.play(6)
        assert "".join(done) == expected


def test_an_act_can_ask_for_more_even_now() -> None:
    queue = queue_with()
    done: list[int] = []

    def again(count: int) -> None:
        done.append(queue.now)
        if count:
            queue.at(queue.now, again, count - 1)

    queue.at(7, again, 2)
    queue.play(8)
    assert done == [7, 7, 7]


def test_a_lot_is_drawn_by_what_shares_its_instant_and_once() -> None:
    drawn: list[int] = []
    queue = Queue(lambda: drawn.append(queue.now) or 0)  # type: ignore[func-returns-value]  # `or 0` is what the draw is
    for at in (1, 2, 2, 2, 3):
        queue.at(at, lambda _: None)
    queue.play(10)
    assert len(drawn) == 3


def test_what_is_put_on_at_an_instant_competes_with_what_is_left_of_it() -> None:
    queue = queue_with([1, 5, 3])
    done: list[str] = []

    def first(_: object) -> None:
        done.append("first")
        queue.at(queue.now, done.append, "late, with a smaller lot")

    queue.at(5, first)
    queue.at(5, done.append, "second")
    queue.play(6)
    assert done == ["first", "late, with a smaller lot", "second"]


@pytest.mark.parametrize("tie", [0, (1 << TIE_BITS) - 1])
def test_the_end_comes_before_everything_of_its_own_instant(tie: int) -> None:
    queue = queue_with([tie])
    done: list[str] = []
    queue.at(10, done.append, "at the end")
    queue.play(10)
    assert done == []
    queue.play(11)
    assert done == ["at the end"]


def test_playing_up_to_now_plays_nothing() -> None:
    queue = queue_with()
    queue.play(10)
    queue.play(10)
    queue.play(3)
    assert queue.now == 10


def fail(_: object) -> None:
    raise KeyError("mine")


def test_what_an_act_raises_comes_out() -> None:
    queue = queue_with()
    queue.at(1, fail)
    with pytest.raises(KeyError, match="mine"):
        queue.play(2)


@pytest.mark.parametrize("slot_ns", [1, 2, 1_000])
def test_what_is_left_when_an_act_raises_can_be_played_to_an_end_of_its_own(slot_ns: int) -> None:
    queue = Queue(lambda: 0, slot_ns)
    done: list[int] = []
    queue.at(1, fail)
    queue.at(4, done.append, 4)
    with pytest.raises(KeyError, match="mine"):
        queue.play(3)
    queue.play(5)
    assert (queue.now, done) == (5, [4])


def test_a_lane_keeps_order_whatever_the_delays_and_ties_say() -> None:
    queue = queue_with([9, 0, 5, 3])
    lane = Link("a", "b", [])
    done: list[tuple[int, str]] = []
    for after_ns, name in ((10, "a"), (10, "b"), (4, "c"), (20, "d")):
        queue.follow(lane, after_ns, Act.of(lambda what: done.append((queue.now, what)), name))
    queue.play(100)
    assert done == [(10, "a"), (11, "b"), (12, "c"), (20, "d")]


def test_the_collector_rests_inside_and_only_there() -> None:
    assert gc.isenabled()
    with collector_at_rest():
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with collector_at_rest():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize("slot_ns", [1, 7, 100, 1000, 1 << 60])
def test_slots_change_no_order(slot_ns: int) -> None:
    def played(slot_ns: int) -> list[tuple[int, int]]:
        tape = Tape(TapeSpec(seed="7"))
        queue, after = Queue(tape.bits("ties", TIE_BITS), slot_ns), tape.stream("after")
        seen: list[tuple[int, int]] = []

        def act(number: int) -> None:
            seen.append((queue.now, number))
            if number < 2_000:  # a few at once, some soon, some late
                queue.at(queue.now + after(4) * after(400), act, number + 50)

        for number in range(50):
            queue.at(after(300), act, number)
        for until in range(0, 100_000, 333):
            queue.play(until)
        return seen

    assert len(played(slot_ns)) == 2_050
    assert played(slot_ns) == played(SLOT_NS)
