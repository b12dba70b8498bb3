"""The types of single values in a scenario file, for pydantic: each reads the text a person writes and knows its JSON Schema.

Owns the join between ``units``, ``targets``, ``triggers`` and pydantic. Knows no key of a scenario.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from scenarios import targets, triggers, units
from scenarios.faults import DAY, DRIVERS, FAULTS, MECHANISMS
from scenarios.problems import known_or_meant
from scenarios.triggers import FactMatch, Moment, State
from scenarios.units import PERCENT_PPM, Span, UnitError

T = TypeVar("T")

ABOVE_LIMIT = 10**9
REQUIREMENTS = (*DRIVERS, *MECHANISMS)
WHOLE_PERCENT_PATTERN = r"[0-9]{1,6}(\.0{1,4})?%"
PERCENTILE_PATTERN = "p(50|90|95|99|100)"


class Form(BaseModel):
    """Base of every mapping in a file: unknown keys are errors, nothing is coerced, ``restart_after`` is written ``restart-after``."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, alias_generator=lambda name: name.rstrip("_").replace("_", "-"))


def custom_error(problem: str, remedy: str) -> PydanticCustomError:
    """An error that carries its own remedy through pydantic."""
    return PydanticCustomError("scenario", "{problem}", {"problem": problem, "remedy": remedy})


def reading(read: Callable[[object], T]) -> PlainValidator:
    """A validator from a reader that raises `UnitError`."""

    def validate(value: Any) -> T:
        try:
            return read(value)
        except UnitError as error:
            raise custom_error(error.problem, error.remedy) from error

    return PlainValidator(validate)


def ranged(one: Callable[[object], int]) -> PlainValidator:
    return reading(lambda value: units.span(value, one))


def _text(pattern: str, *examples: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^({pattern})$", "examples": list(examples)})


def _range_of(pattern: str) -> str:
    return rf"{pattern}(\.\.{pattern})?"


def duration(value: object) -> int:
    """A duration of at most a day: no sum of such leaves what a clock or the wire can hold. Raises `UnitError`."""
    ns = units.duration(value)
    if ns > DAY:
        raise UnitError("longer than a day", "use at most 24h")
    return ns


def duration_or_none(value: object) -> Span | None:
    """``none`` is None. Raises `UnitError`."""
    return None if value == "none" else units.span(value, duration)


def under(value: object) -> int:
    """``under 12s`` as nanoseconds. Raises `UnitError`."""
    return duration(_limit(value, "under", "under 12s"))


def above(value: object) -> int:
    """``above 0`` as a number. Raises `UnitError`."""
    number = units.count(_limit(value, "above", "above 0"))
    if number > ABOVE_LIMIT:
        raise UnitError("a limit that is never reached", f"use at most {ABOVE_LIMIT}")
    return number


def _limit(value: object, relation: str, example: str) -> str:
    if isinstance(value, str) and value.startswith(f"{relation} "):
        return value.removeprefix(relation).strip()
    raise UnitError("not a limit", f"write for example {example}")


def scope(value: object) -> tuple[str, str]:
    """``agent acme/1``, ``tenant acme``, ``label tier=gold`` or ``global`` as kind and value. Raises `UnitError`."""
    kind, _, rest = (" ".join(value.split()) if isinstance(value, str) else "").partition(" ")
    shapes = {"agent": targets.AGENT_PATTERN, "tenant": targets.NAME_PATTERN, "label": LABEL_PATTERN, "global": ""}
    examples = "agent acme/1, tenant acme, label tier=gold (with `tenant:` beside it) or global"
    if kind not in shapes:
        raise UnitError("not a scope", f"write {examples}")
    if not re.fullmatch(shapes[kind], rest):
        raise UnitError(f"not a scope of kind {kind}", f"write {examples}")
    return kind, rest


def whole_percent(value: object) -> int:
    """``50%`` as parts per million. Raises `UnitError`."""
    ppm = units.percent(value)
    if ppm % PERCENT_PPM:
        raise UnitError("finer than a whole percent", f"write {ppm // PERCENT_PPM}% or {ppm // PERCENT_PPM + 1}%")
    return ppm


def invariant(value: object) -> str:
    """An id such as S1 that runs of a scenario are judged by. Raises `UnitError`."""
    if value in OF_TWINS:
        raise UnitError(f"{value} is about two runs, and no run of its own shows it", "leave it out: `haltproof run --twins` judges it")
    return _known(value, INVARIANTS, "unknown invariant", "docs/invariants.md")


def fault_name(value: object) -> str:
    """A name of the fault reference. Raises `UnitError`."""
    return _known(value, tuple(FAULTS), "unknown fault")


def requirement(value: object) -> str:
    """A driver or a mechanism. Raises `UnitError`."""
    return _known(value, REQUIREMENTS, "nothing that a host or a driver could have is called so")


def _known(value: object, known: tuple[str, ...], problem: str, listed: str = "docs/scenarios.md") -> str:
    if value not in known:
        raise UnitError(problem, known_or_meant(value, known, listed))
    return str(value)


def listing(problem: str, remedy: str, everything: str = "") -> BeforeValidator:
    """Before a list of words, each of which is judged by itself, so that all that is wrong in it is told at once. ``everything``: the word, if there
    is one, that stands for the empty list, which is then not written otherwise."""

    def validate(value: Any) -> Any:
        if everything and value == everything:
            return ()
        if not isinstance(value, tuple) or (everything and not value):
            raise custom_error(problem, remedy)
        return value

    return BeforeValidator(validate)


def seeds(value: object) -> Span:
    """``20`` as the seeds 1..20, or a range such as ``100..199``. Raises `UnitError`."""
    span = units.span(value, units.count)
    return Span(1, span.high) if isinstance(value, int) else span


LABEL_PATTERN = r"[a-z][a-z0-9-]{0,31}=[A-Za-z0-9._-]{1,63}"
SCOPE_PATTERN = rf"agent {targets.AGENT_PATTERN}|tenant {targets.NAME_PATTERN}|label {LABEL_PATTERN}|global"
OF_TWINS = ("S24",)
INVARIANTS = tuple(each for each in (*(f"S{number}" for number in range(1, 29)), *(f"L{number}" for number in range(1, 15))) if each not in OF_TWINS)

Duration = Annotated[int, reading(duration), _text(units.DURATION_PATTERN, "250ms", "5s")]
DurationSpan = Annotated[Span, ranged(duration), _text(_range_of(units.DURATION_PATTERN), "5s", "10s..20s")]
SignedDurationSpan = Annotated[Span, ranged(units.signed_duration), _text(_range_of(f"[+-]?{units.DURATION_PATTERN}"), "-2s", "-1s..1s")]
DurationOrNone = Annotated[Span | None, reading(duration_or_none), _text(f"none|{_range_of(units.DURATION_PATTERN)}", "1s", "none")]
Percent = Annotated[int, reading(units.percent), _text(units.PERCENT_PATTERN, "1%")]
PercentSpan = Annotated[Span, ranged(units.percent), _text(_range_of(units.PERCENT_PATTERN), "5%", "0%..20%")]
WholePercentSpan = Annotated[Span, ranged(whole_percent), _text(_range_of(WHOLE_PERCENT_PATTERN), "50%", "10%..20%")]
SignedPercentSpan = Annotated[Span, ranged(units.signed_percent), _text(_range_of(f"[+-]?{units.PERCENT_PATTERN}"), "-10%", "-30%..30%")]
Rate = Annotated[int, reading(units.rate), _text(units.RATE_PATTERN, "2/s", "30/min")]
FrequencySpan = Annotated[Span, ranged(units.frequency), _text(_range_of(units.FREQUENCY_PATTERN), "200/s", "50/s..200/s")]
ByteRateSpan = Annotated[Span, ranged(units.byte_rate), _text(_range_of(units.BYTE_RATE_PATTERN), "20kB/s")]
_COUNT_SCHEMA = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": f"^({_range_of(units.COUNT_PATTERN)})$"}]}
CountSpan = Annotated[Span, ranged(units.count), WithJsonSchema({**_COUNT_SCHEMA, "examples": [3, "1..4"]})]
Seeds = Annotated[Span, reading(seeds), WithJsonSchema({**_COUNT_SCHEMA, "examples": [20, "100..199"]})]
Under = Annotated[int, reading(under), _text(f"under +{units.DURATION_PATTERN}", "under 12s")]
Above = Annotated[int, reading(above), _text(f"above +{units.COUNT_PATTERN}", "above 0")]
Scope = Annotated[tuple[str, str], reading(scope), _text(SCOPE_PATTERN, "agent acme/1", "tenant acme", "label tier=gold", "global")]
_WORD_SCHEMA = {"type": "string", "pattern": f"^({targets.WORD_PATTERN})$", "examples": ["replicas", "sidecar acme/1", "rest"]}
Words = Annotated[
    tuple[targets.Word, ...],
    reading(targets.words),
    WithJsonSchema({"anyOf": [_WORD_SCHEMA, {"type": "array", "minItems": 1, "items": _WORD_SCHEMA}]}),
]
After = Annotated[Moment | FactMatch, reading(triggers.after), _text(triggers.AFTER_PATTERN, "partition.on", "hard.effective", "order-durable")]
When = Annotated[State, reading(triggers.when), _text(triggers.WHEN_PATTERN, "lease.left(acme/1) < 5%", "mode(acme/1) is DRAINING")]
FactKind = Annotated[FactMatch, reading(triggers.fact), _text(triggers.FACT_PATTERN, "lease-lost", "gate-changed(mode=DRAINING)")]
Invariants = Annotated[
    tuple[Annotated[str, reading(invariant)], ...],
    listing("not a list of invariants", "write all, or a list such as [S1, S6, L1]", everything="all"),
    WithJsonSchema({"anyOf": [{"const": "all"}, {"type": "array", "minItems": 1, "items": {"enum": list(INVARIANTS)}}]}),
]
Requirements = Annotated[
    tuple[Annotated[str, reading(requirement)], ...],
    listing("not a list of requirements", "write a list such as [live, cgroup]"),
    WithJsonSchema({"type": "array", "items": {"enum": list(REQUIREMENTS)}}),
]
FaultNames = Annotated[
    tuple[Annotated[str, reading(fault_name)], ...],
    listing("not a list of faults", "write a list such as [partition, crash]"),
    WithJsonSchema({"type": "array", "items": {"enum": list(FAULTS)}}),
]
Name = Annotated[str, Field(pattern=f"^{targets.NAME_PATTERN}$")]
EntryId = Annotated[str, Field(pattern=f"^{triggers.ID_PATTERN}$")]
Text = Annotated[str, Field(min_length=1, max_length=500)]
