"""The choice tape: streams that do not disturb each other, choices that can be fixed, and a benign zero."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from scenarios.schedule import Tape as TapeSpec
from sim.tape import BITS, PPM, Tape

WAYS = 1000


def draws(tape: Tape, name: str, count: int = 20) -> list[int]:
    choose = tape.stream(name)
    return [choose(WAYS) for _ in range(count)]


def test_the_same_seed_and_name_give_the_same_draws_and_others_do_not() -> None:
    one = draws(Tape(TapeSpec(seed="7")), "network.jitter")
    assert one == draws(Tape(TapeSpec(seed="7")), "network.jitter")
    assert one != draws(Tape(TapeSpec(seed="8")), "network.jitter")
    assert one != draws(Tape(TapeSpec(seed="7")), "ties")
    assert all(0 <= choice < WAYS for choice in one)


def test_the_draws_are_those_of_every_machine_and_python() -> None:
    """Golden: were these to change, every token in the world would replay another run."""
    assert draws(Tape(TapeSpec(seed="7")), "golden", 6) == [69, 508, 453, 842, 70, 415]
    bits = Tape(TapeSpec(seed="7")).bits("golden", 16)
    assert [bits() for _ in range(6)] == [39062, 55394, 24939, 62834, 54877, 63568]


def test_a_draw_in_one_stream_shifts_no_other() -> None:
    quiet, busy = Tape(TapeSpec(seed="7")), Tape(TapeSpec(seed="7"))
    draws(busy, "new stream", 100)
    assert draws(quiet, "ties") == draws(busy, "ties")


def test_a_stream_is_one_whoever_asks() -> None:
    tape = Tape(TapeSpec(seed="7"))
    first, second = tape.stream("ties"), tape.stream("ties")
    assert [first(WAYS), second(WAYS)] == draws(Tape(TapeSpec(seed="7")), "ties", 2)


@pytest.mark.parametrize("index", [0, 3, 19])
def test_fixing_one_choice_shifts_no_later_one(index: int) -> None:
    free = draws(Tape(TapeSpec(seed="7")), "ties")
    fixed = draws(Tape(TapeSpec(seed="7", fixed={"ties": {str(index): 5}})), "ties")
    assert fixed[index] == 5
    assert [choice for at, choice in enumerate(fixed) if at != index] == [choice for at, choice in enumerate(free) if at != index]


def test_bits_can_be_fixed_and_made_benign_too() -> None:
    free, fixed = Tape(TapeSpec(seed="7")).bits("ties", 16), Tape(TapeSpec(seed="7", fixed={"ties": {"1": 3}})).bits("ties", 16)
    drawn = [free() for _ in range(4)]
    assert [fixed() for _ in range(4)] == [drawn[0], 3, *drawn[2:]]
    benign = Tape(TapeSpec(seed="7", benign=("ties",))).bits("ties", 16)
    assert [benign() for _ in range(4)] == [0, 0, 0, 0]


def test_a_fixed_choice_that_does_not_exist_is_the_last_one_that_does() -> None:
    tape = Tape(TapeSpec(seed="7", fixed={"ties": {"0": 99}, "narrow": {"0": 99}}))
    assert tape.stream("ties")(3) == 2
    assert tape.bits("narrow", 2)() == 3


def test_a_benign_stream_chooses_zero_and_makes_nothing_happen() -> None:
    tape = Tape(TapeSpec(seed="7", benign=("network.loss",)))
    assert draws(tape, "network.loss") == [0] * 20
    stream = tape.light("network.loss", "a>b")
    assert not any(stream.happens(PPM - 1) for _ in range(100))


def test_a_light_stream_is_its_members_own_and_can_be_fixed_and_made_benign() -> None:
    """Golden, too."""

    def drawn(member: str = "a>b", **spec: object) -> list[int]:
        stream = Tape(TapeSpec(seed="7", **spec)).light("network.jitter", member)  # type: ignore[arg-type]  # a spec's own keywords
        return [stream.draw() for _ in range(4)]

    free = drawn()
    assert free == [744252302, 866238359, 258404006, 632162120]
    assert free != drawn("b>a")
    assert drawn(fixed={"network.jitter/a>b": {"1": 3}}) == [free[0], 3, *free[2:]]
    assert drawn(benign=("network.jitter",)) == drawn(benign=("network.jitter/a>b",)) == [0] * 4
    assert drawn(benign=("network.jitter/b>a",)) == free


def test_light_draws_are_even() -> None:
    stream = Tape(TapeSpec(seed="7")).light("network.jitter", "a>b")
    tenths = Counter(stream.draw() * 10 >> BITS for _ in range(10_000))
    assert set(tenths) == set(range(10))
    assert all(900 < count < 1100 for count in tenths.values())


def test_a_draw_says_nothing_of_the_next_one_nor_of_another_streams() -> None:
    one, other = (Tape(TapeSpec(seed="7")).light("network.jitter", member) for member in ("a>b", "b>a"))
    drawn = [(one.draw() * 10 >> BITS, other.draw() * 10 >> BITS) for _ in range(20_001)]
    in_turn = Counter((first, second) for (first, _), (second, _) in pairwise(drawn))
    side_by_side = Counter(drawn)
    for pairs in (in_turn, side_by_side):
        assert len(pairs) == 100
        assert all(140 < count < 260 for count in pairs.values())  # 200 of each, but for four times the usual deviation


def test_chances_are_in_parts_per_million_and_zero_draws_nothing() -> None:
    one, other = (Tape(TapeSpec(seed="7")).light("network.loss", "a>b") for _ in range(2))
    assert not any(one.happens(0) for _ in range(100))
    assert one.draw() == other.draw()
    assert all(one.happens(PPM) for _ in range(100))
    assert 4_500 < sum(one.happens(PPM // 2) for _ in range(10_000)) < 5_500
