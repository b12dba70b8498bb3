"""The small expressions of a scenario: ``after: partition.on``, ``when: lease.left(acme/1) < 5%``, ``reached: lease-denied(why=...)``.

Owns their grammar, and checks kinds of fact and their fields against the history's vocabulary. What an expression refers to in its own
file (an entry's id) is resolved elsewhere (``checks``, ``draw``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from harness.shared.history import VOCABULARY
from killswitch.core.bundles import Stage
from killswitch.core.messages import ASK_ANOTHER, Gate, Life
from scenarios import units
from scenarios.faults import FAULTS
from scenarios.problems import known_or_meant
from scenarios.targets import AGENT_PATTERN
from scenarios.units import UnitError

ID_PATTERN = r"[a-z][a-z0-9-]{0,63}"
FACT_PATTERN = r"[a-z-]+(\(.*\))?"
AFTER_PATTERN = rf"({ID_PATTERN}\.(on|off|played|accepted|effective)|{FACT_PATTERN})"
WHEN_PATTERN = rf"((lease|drain)\.left\({AGENT_PATTERN}\) *< *{units.PERCENT_PATTERN}|(gate|mode)\({AGENT_PATTERN}\) +is +[A-Z]+)"

MODES = ("BOOT", "STANDBY", "RUNNING", "DRAINING", "QUIESCING", "KILLING", "STOPPED")
NAMED_GATES = ("gate-changed", "gate-recorded")
_PROOFS = ("GATE_CLOSED", "DRAINING", "KILL_FAILED", "STOPPED_CLEAN", "STOPPED_FORCED")
_TOLD = ("ACCEPTED", "EFFECTIVE", "ALREADY_COVERED", "NEEDS_KEYS", "REFUSED")
_STAGES = {
    "order-status": _TOLD, "cell-status": _TOLD, "agent-status": (*_PROOFS, "FENCED", "PRESUMED_STOPPED"),
    "resume-status": ("ACCEPTED", "NEEDS_CONTEXT", "NOTHING_TO_COVER", "EXPIRED", "REFUSED", ASK_ANOTHER),
    "rollout-status": ("ACCEPTED", "EFFECTIVE", "SUPERSEDED", "REFUSED"), "rollout-told": ("ACCEPTED", "EFFECTIVE", "SUPERSEDED"),
    **dict.fromkeys(("evidence-recorded", "evidence-durable", "evidence-taken", "evidence-sent"), _PROOFS),
    **dict.fromkeys(("rollout-requested", "rollout-durable", "rollout-changed"), tuple(Stage)),
}  # fmt: skip
_CLASSES = ("new", "inflight", "undo")
FAULT_MOMENTS = ("on", "off")
ORDER_MOMENTS = ("played", "accepted", "effective")
WHEN_REMEDY = "write lease.left(acme/1) < 5%, drain.left(acme/1) < 5%, gate(acme/1) is DRAIN or mode(acme/1) is DRAINING"

FieldValue = str | int | bool


class FactMatch(NamedTuple):
    """A kind of fact, and the values that some of its fields must have (``node`` stands for the fact's node)."""

    kind: str
    where: tuple[tuple[str, FieldValue], ...] = ()

    def holds(self, kind: str, node: str, body: Mapping[str, Any]) -> bool:
        """Whether a fact of this kind, at this node, with these fields is meant."""
        return kind == self.kind and all((node if field == "node" else body.get(field)) == value for field, value in self.where)

    def __str__(self) -> str:
        conditions = ", ".join(f"{field}={str(value).lower() if isinstance(value, bool) else value}" for field, value in self.where)
        return f"{self.kind}({conditions})" if conditions else self.kind


class Moment(NamedTuple):
    """A moment of another entry of the file: ``partition.on`` is the moment ``on`` of the entry that ``partition`` names."""

    entry: str
    moment: str

    def __str__(self) -> str:
        return f"{self.entry}.{self.moment}"


class State(NamedTuple):
    """A state of the protocol to wait for, in the form of `Trigger.when`."""

    quantity: str
    agent: str
    comparison: str
    value: str

    def __str__(self) -> str:
        value = units.percent_text(int(self.value)) if self.comparison == "<" else self.value
        return f"{self.quantity}({self.agent}) {self.comparison} {value}"


def after(value: object) -> Moment | FactMatch:
    """Read what an entry comes after. Raises `UnitError`."""
    text = value.strip() if isinstance(value, str) else ""
    found = re.fullmatch(rf"({ID_PATTERN})\.([a-z]+)", text)
    if found is None:
        return fact(value)
    if found[2] not in (*FAULT_MOMENTS, *ORDER_MOMENTS):
        raise UnitError(f"unknown moment {found[2]!r}", known_or_meant(found[2], (*FAULT_MOMENTS, *ORDER_MOMENTS)))
    return Moment(found[1], found[2])


def fact(value: object) -> FactMatch:
    """Read a kind of fact with, perhaps, values of its fields: ``gate-changed(mode=DRAINING)``. Raises `UnitError`."""
    found = re.fullmatch(r"([A-Za-z-]+)\s*(?:\((.*)\))?", value.strip()) if isinstance(value, str) else None
    if isinstance(value, str) and value.count("(") > value.count(")"):
        raise UnitError("not closed", "put it in quotes: within { } or [ ] of YAML, a comma ends the value")
    if found is None:
        raise UnitError("not a kind of fact", "write a kind of the history, for example order-durable or gate-changed(mode=DRAINING)")
    kind = found[1]
    if kind not in VOCABULARY:
        raise UnitError("unknown kind of fact", known_or_meant(kind, VOCABULARY))
    fields = (*VOCABULARY[kind][0], "node")
    where = tuple(_condition(kind, part, fields) for part in found[2].split(",")) if found[2] else ()
    return FactMatch(kind, where)


def _condition(kind: str, part: str, fields: tuple[str, ...]) -> tuple[str, FieldValue]:
    name, equals, text = (piece.strip() for piece in part.partition("="))
    if not equals or not text:
        raise UnitError(f"{part.strip()!r} is not field=value", "write for example node=replica/1")
    if name not in fields:
        raise UnitError(f"unknown field {name!r} of this fact", known_or_meant(name, fields))
    return name, _field_value(kind, name, text)


def _field_value(kind: str, name: str, text: str) -> FieldValue:
    """As the history holds it: flags are true or false, and the severity of orders and intents is two numbers (a gate's own facts name it)."""
    known = values(kind, name)
    if known and text not in known and not text.isdecimal():  # some fields hold the number of a name
        raise UnitError(f"unknown {name} {text!r} of this fact", known_or_meant(text, known))
    if kind not in NAMED_GATES and name == "gate" and text in Gate.__members__:
        return int(Gate[text])
    if name == "life" and text in Life.__members__:
        return int(Life[text])
    if text in ("true", "false"):
        return text == "true"
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else text


def values(kind: str, field: str) -> tuple[str, ...]:
    """All names that a field of a kind of fact may hold; empty where they are no closed list."""
    if kind in ("fault-armed", "fault-on", "fault-fired", "fault-off") and field == "what":
        return tuple(FAULTS)
    listed = {"mode": MODES, "gate": tuple(Gate.__members__), "life": tuple(Life.__members__), "cls": _CLASSES, "stage": _STAGES.get(kind, ())}
    return listed.get(field, ())


def when(value: object) -> State:
    """Read a state of the protocol to wait for. Raises `UnitError`."""
    text = value.strip() if isinstance(value, str) else ""
    found = re.fullmatch(rf"([a-z.]+)\(({AGENT_PATTERN})\)\s*(<|is)\s*(\S+)", text)
    if found is None:
        raise UnitError("not a state to wait for", WHEN_REMEDY)
    quantity, agent, comparison, wanted = found[1], found[2], found[3], found[4]
    if quantity in ("lease.left", "drain.left") and comparison == "<":
        return State(quantity, agent, comparison, str(units.percent(wanted)))
    known = {"gate": tuple(Gate.__members__), "mode": MODES}.get(quantity)
    if known is None or comparison != "is":
        raise UnitError("not a state to wait for", WHEN_REMEDY)
    if wanted not in known:
        raise UnitError(f"unknown {quantity} {wanted!r}", known_or_meant(wanted, known))
    return State(quantity, agent, comparison, wanted)
