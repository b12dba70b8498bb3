"""Numbers with their units, exactly: durations, percentages, rates and ranges, from text to whole numbers and back.

Owns the only readings of ``250ms``, ``1%``, ``2/s`` and ``10s..20s``. Must not know what a number is for. Everything is integer
arithmetic: nanoseconds, parts per million, a period in nanoseconds. A float would round differently somewhere, some day.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

NS_PER_UNIT = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "min": 60_000_000_000, "h": 3_600_000_000_000}
SECOND_NS, MS_NS = NS_PER_UNIT["s"], NS_PER_UNIT["ms"]
MILLION = 1_000_000
PERCENT_PPM = MILLION // 100
BYTES_PER_UNIT = {"B": 1, "kB": 1_000, "MB": MILLION}

DURATION_PATTERN = r"[0-9]{1,12}(\.[0-9]{1,9})?(ns|us|ms|s|min|h)"
PERCENT_PATTERN = r"[0-9]{1,6}(\.[0-9]{1,4})?%"
RATE_PATTERN = r"[0-9]{1,6}(\.[0-9]{1,3})?/(s|min|h)"
COUNT_PATTERN = r"[0-9]{1,9}"
FREQUENCY_PATTERN = r"[0-9]{1,6}/s"
BYTE_RATE_PATTERN = r"[0-9]{1,6}(B|kB|MB)/s"

DIGITS_MAX = 18  # of a number that may be out of its range, and is then told so
RATE_DIGITS = 6
_NUMBER = re.compile(r"([+-]?)([0-9]+)(?:\.([0-9]+))?\s*([a-zA-Zµ%]*)")


class UnitError(ValueError):
    """A number that cannot be read: what is wrong, and what to write instead."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy


class Span(NamedTuple):
    """From ``low`` to ``high``, both included; a seed draws one value of it. Equal ends stand for one fixed value."""

    low: int
    high: int

    @property
    def fixed(self) -> bool:
        return self.low == self.high


def duration(value: object) -> int:
    """``250ms`` as nanoseconds, at least 0. Raises `UnitError`."""
    ns = signed_duration(value)
    if ns < 0:
        raise UnitError("a duration cannot be negative", "drop the minus sign")
    return ns


def signed_duration(value: object) -> int:
    """``-250ms`` or ``250ms`` as nanoseconds. Raises `UnitError`."""
    units = ", ".join(NS_PER_UNIT)
    if isinstance(value, int) and not isinstance(value, bool):
        raise UnitError("a duration without its unit", f"write the unit with it, for example {value}s or {value}ms")
    if not isinstance(value, str):
        raise UnitError("not a duration", f"write a number and a unit ({units}), for example 250ms")
    sign, whole, decimals, unit = _parts(value, f"write a number and a unit ({units}), for example 250ms", "not a duration")
    if unit == "":
        raise UnitError("a duration without its unit", f"write the unit with it, for example {value}s or {value}ms")
    if unit not in NS_PER_UNIT:
        meant = {"m": "min for minutes or ms for milliseconds", "sec": "s", "secs": "s", "µs": "us"}.get(unit, f"one of {units}")
        raise UnitError(f"unknown unit of time {unit!r}", f"use {meant}")
    return sign * _scaled(whole, decimals, NS_PER_UNIT[unit], "a duration finer than a nanosecond")


def percent(value: object) -> int:
    """``1.5%`` as parts per million, at least 0. Raises `UnitError`."""
    ppm = signed_percent(value)
    if ppm < 0:
        raise UnitError("a share cannot be negative", "drop the minus sign")
    return ppm


def signed_percent(value: object) -> int:
    """``-1.5%`` or ``1.5%`` as parts per million. Raises `UnitError`."""
    remedy = "write a number and a percent sign, for example 1% or 0.5%"
    if isinstance(value, int) and not isinstance(value, bool):
        raise UnitError("a percentage without its sign", f"write {value}% if that is meant")
    if not isinstance(value, str):
        raise UnitError("not a percentage", remedy)
    sign, whole, decimals, unit = _parts(value, remedy, "not a percentage")
    if unit != "%":
        raise UnitError("a percentage without its sign" if unit == "" else f"not a percentage, but a number of {unit!r}", remedy)
    return sign * _scaled(whole, decimals, PERCENT_PPM, "a percentage finer than one in a million")


def rate(value: object) -> int:
    """``2/s`` as the mean period in nanoseconds; ``0/s`` gives 0, which stands for never. Raises `UnitError`."""
    found = re.fullmatch(r"([+-]?[0-9]+)(?:\.([0-9]{1,3}))?\s*/\s*(s|min|h)", value.strip()) if isinstance(value, str) else None
    if found is None:
        raise UnitError("not a rate", "write how many in which time, for example 2/s, 0.5/s or 30/min")
    whole, decimals, unit = found[1], found[2] or "", found[3]
    if whole.startswith("-") or len(whole.lstrip("+0")) > RATE_DIGITS:
        raise UnitError("a rate out of its range", f"use 0/{unit} to {'9' * RATE_DIGITS}/{unit}")
    often = int(whole + decimals)
    return 0 if often == 0 else NS_PER_UNIT[unit] * 10 ** len(decimals) // often


def count(value: object) -> int:
    """A whole number of things, at least 0. Raises `UnitError`."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and re.fullmatch(rf"[0-9]{{1,{DIGITS_MAX}}}", value):
        return int(value)
    raise UnitError("not a whole number of things", "write a number such as 3, or a range such as 1..4")


def frequency(value: object) -> int:
    """``200/s`` as a whole number a second; may be out of any range, and negative. Raises `UnitError`."""
    found = re.fullmatch(rf"([+-]?[0-9]{{1,{DIGITS_MAX}}})/s", value) if isinstance(value, str) else None
    if found is None:
        raise UnitError("not a whole number a second", "write for example 200/s")
    return int(found[1])


def byte_rate(value: object) -> int:
    """``20kB/s`` as bytes a second; may be out of any range, and negative. Raises `UnitError`."""
    found = re.fullmatch(rf"([+-]?[0-9]{{1,{DIGITS_MAX}}})(B|kB|MB)/s", value) if isinstance(value, str) else None
    if found is None:
        raise UnitError("not a number of bytes a second", "write for example 500B/s, 20kB/s or 1MB/s")
    return int(found[1]) * BYTES_PER_UNIT[found[2]]


def span(value: object, one: Callable[[object], int]) -> Span:
    """``low..high`` or one value, each read by ``one``. Raises `UnitError`."""
    if not isinstance(value, str) or ".." not in value:
        fixed = one(value)
        return Span(fixed, fixed)
    low_text, _, high_text = value.partition("..")
    low, high = (one(part.strip()) for part in (low_text, high_text))
    if low > high:
        raise UnitError("a range that runs backwards", f"write the smaller end first: {high_text.strip()}..{low_text.strip()}")
    return Span(low, high)


def duration_text(ns: int, places: int = 9) -> str:
    """Nanoseconds as a person writes them, for example ``1.5s``. ``places``: decimals kept, rounded up, so that a bound is not understated."""
    sign, size = ("-", -ns) if ns < 0 else ("", ns)
    unit = next((unit for unit in ("s", "ms", "us") if size >= NS_PER_UNIT[unit]), "s" if size == 0 else "ns")
    return f"{sign}{_decimal(size, NS_PER_UNIT[unit], places)}{unit}"


def percent_text(ppm: int) -> str:
    sign, size = ("-", -ppm) if ppm < 0 else ("", ppm)
    return f"{sign}{_decimal(size, PERCENT_PPM, 4)}%"


def frequency_text(per_s: int) -> str:
    return f"{per_s}/s"


def byte_rate_text(bytes_per_s: int) -> str:
    unit = next((unit for unit in ("MB", "kB") if bytes_per_s and bytes_per_s % BYTES_PER_UNIT[unit] == 0), "B")
    return f"{bytes_per_s // BYTES_PER_UNIT[unit]}{unit}/s"


def rate_text(period_ns: int) -> str:
    """A period as the rate that `rate` reads it from, for example ``3/s``."""
    if period_ns == 0:
        return "0/s"
    for unit in ("s", "min", "h"):
        often = NS_PER_UNIT[unit] // period_ns
        if often and NS_PER_UNIT[unit] // often == period_ns:
            return f"{often}/{unit}"
    return f"{_decimal(NS_PER_UNIT['h'], period_ns, 3)}/h"


def span_text(value: Span, one: Callable[[int], str]) -> str:
    return one(value.low) if value.fixed else f"{one(value.low)}..{one(value.high)}"


def _parts(value: str, remedy: str, problem: str) -> tuple[int, str, str, str]:
    found = _NUMBER.fullmatch(value.strip())
    if found is None:
        raise UnitError(problem, remedy)
    if len(found[2]) > 12:
        raise UnitError("a number too large to be meant", "use at most 12 digits before the point")
    return (-1 if found[1] == "-" else 1), found[2], found[3] or "", found[4]


def _scaled(whole: str, decimals: str, unit: int, too_fine: str) -> int:
    digits = decimals.rstrip("0")
    numerator, rest = divmod(int(whole + digits) * unit, 10 ** len(digits)) if len(digits) <= 12 else (0, 1)
    if rest:
        raise UnitError(too_fine, "use fewer decimals")
    return numerator


def _decimal(size: int, unit: int, places: int) -> str:
    scale: int = 10**places
    scaled = -(-size * scale // unit)
    whole, part = divmod(scaled, scale)
    digits = f"{part:0{places}d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)
