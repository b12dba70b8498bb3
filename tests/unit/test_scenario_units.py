"""Numbers with their units are read exactly, or refused with what to write instead."""

from __future__ import annotations

import pytest

from scenarios import units
from scenarios.dice import Dice
from scenarios.units import Span, UnitError


@pytest.mark.parametrize(
    ("text", "ns"),
    [("0s", 0), ("1ns", 1), ("250ms", 250_000_000), ("1.5s", 1_500_000_000), ("0.000000001s", 1), ("2min", 120_000_000_000), ("1h", 3600 * 10**9)],
)
def test_a_duration_is_read_to_the_nanosecond(text: str, ns: int) -> None:
    assert units.duration(text) == ns


@pytest.mark.parametrize(
    ("value", "problem", "remedy"),
    [
        (5, "a duration without its unit", "write the unit with it, for example 5s or 5ms"),
        ("5", "a duration without its unit", "write the unit with it, for example 5s or 5ms"),
        ("5m", "unknown unit of time 'm'", "use min for minutes or ms for milliseconds"),
        ("5 fortnights", "unknown unit of time 'fortnights'", "use one of ns, us, ms, s, min, h"),
        ("-1s", "a duration cannot be negative", "drop the minus sign"),
        ("0.1ns", "a duration finer than a nanosecond", "use fewer decimals"),
        ("9999999999999s", "a number too large to be meant", "use at most 12 digits before the point"),
        ("soon", "not a duration", "write a number and a unit (ns, us, ms, s, min, h), for example 250ms"),
        (True, "not a duration", "write a number and a unit (ns, us, ms, s, min, h), for example 250ms"),
        (None, "not a duration", "write a number and a unit (ns, us, ms, s, min, h), for example 250ms"),
    ],
)
def test_what_is_no_duration_is_refused_with_a_remedy(value: object, problem: str, remedy: str) -> None:
    with pytest.raises(UnitError) as refused:
        units.duration(value)
    assert (refused.value.problem, refused.value.remedy) == (problem, remedy)


def test_percentages_are_parts_per_million() -> None:
    assert [units.percent("1%"), units.percent("0.0001%"), units.signed_percent("-30%")] == [10_000, 1, -300_000]
    for wrong in (1, "1", "1s", "-1%", "0.00001%"):
        with pytest.raises(UnitError):
            units.percent(wrong)


@pytest.mark.parametrize("text", ["2/s", "3/s", "30/min", "7/h", "1/h", "0/s"])
def test_a_rate_is_written_as_it_was_read(text: str) -> None:
    assert units.rate_text(units.rate(text)) == text


def test_a_fraction_of_a_task_a_second_is_a_period() -> None:
    assert units.rate("0.5/s") == 2_000_000_000
    with pytest.raises(UnitError, match="not a rate"):
        units.rate("2")


def test_a_range_has_two_ends_in_order() -> None:
    assert units.span("10s..20s", units.duration) == Span(10_000_000_000, 20_000_000_000)
    assert units.span("-1s..1s", units.signed_duration) == Span(-1_000_000_000, 1_000_000_000)
    assert units.span(3, units.count) == Span(3, 3)
    with pytest.raises(UnitError, match=r"write the smaller end first: 10s\.\.20s"):
        units.span("20s..10s", units.duration)
    with pytest.raises(UnitError, match="without its unit"):
        units.span("10..20s", units.duration)


@pytest.mark.parametrize("ns", [0, 1, 999, 1_000, 1_500_000, 250_000_000, 5_050_505_051, -2_000_000_000])
def test_a_duration_is_written_so_that_it_reads_back(ns: int) -> None:
    assert units.signed_duration(units.duration_text(ns)) == ns


def test_a_shortened_bound_is_never_understated() -> None:
    assert units.duration_text(5_050_505_051, places=3) == "5.051s"
    assert units.duration_text(5_050_000_001, places=3) == "5.051s"


def test_streams_are_the_same_for_ever() -> None:
    """Golden: checked by hand on CPython 3.11.7, 3.12.1 and 3.13.0. A change here changes what every replay token means."""
    dice = Dice("golden", 7)
    stream = dice.stream("a")
    assert [stream.below(1000) for _ in range(6)] == [459, 260, 511, 690, 472, 144]
    assert (stream.some("abcdefgh", 3), stream.within(Span(-5, 5)), stream.pick("xyz")) == (("b", "c", "f"), -5, "y")
    assert dice.once("b", Span(0, 10**12)) == 207_451_549_240


def test_a_stream_does_not_see_other_purposes() -> None:
    alone = Dice("x", 1).stream("b").below(10**9)
    dice = Dice("x", 1)
    dice.stream("a").below(10**9)
    assert dice.stream("b").below(10**9) == alone != Dice("x", 2).stream("b").below(10**9)


def test_drawing_from_nothing_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="nothing to draw from"):
        Dice("x", 1).stream("a").below(0)
