"""What a fault of a scenario is aimed at, and how hard: its targets, the links between them, and the limits of its settings.

Owns the rules of one fault in its file. Knows the fault reference, and nothing of triggers, operations or quorums (``checks`` does).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from scenarios.document import Complaint, Steps
from scenarios.faults import Aim, FaultKind, Setting, Shape, writer
from scenarios.model import FaultForm
from scenarios.targets import REST, Roster, Word, role
from scenarios.units import Span


def settings(kind: FaultKind, form: FaultForm, at: Steps) -> Iterator[Complaint]:
    """What is wrong with the settings of a fault at ``at``."""
    for setting in kind.settings:
        value = form.get(setting.name)
        if isinstance(value, Span) and not fits(value, setting):
            yield Complaint((*at, setting.name), "out of its limits", f"use {limits_text(setting)}")
    if kind.lasting and isinstance(lasts := form.get("for"), Span) and lasts.low == 0:
        yield Complaint((*at, "for"), "lasts no time at all", "leave it out to last until all is healed", "0s")


def fits(value: Span, setting: Setting) -> bool:
    """Whether all that may be drawn lies within the limits of a setting."""
    return setting.limits.low <= value.low and value.high <= setting.limits.high


def limits_text(setting: Setting) -> str:
    """The limits of a setting as a person would write them."""
    low, high = setting.limits
    write = writer(setting.unit)
    return f"{write(low)}..{write(high)}"


def targets(kind: FaultKind, form: FaultForm, at: Steps, roster: Roster) -> Iterator[Complaint]:
    """What is wrong with what a fault at ``at`` is aimed at."""
    if kind.aim is Aim.LINKS:
        yield from _links(kind, form, at, roster)
        return
    key = "to" if kind.aim is Aim.SIGNALS else "nodes"
    if REST in form.get(key):
        yield Complaint((*at, key), "`rest` of what?", "name the nodes; rest belongs into between, or to, of a fault on links")
        return
    yield from _group(kind, form, (*at, key), form.get(key), roster)
    yield from _without(kind, form, at, form.get(key), roster)


def _without(kind: FaultKind, form: FaultForm, at: Steps, words: tuple[Word, ...], roster: Roster) -> Iterator[Complaint]:
    """A setting that names what some of the nodes do not have."""
    roles = {role(node) for word in words for node in roster.matching(word)}
    for setting in kind.settings:
        for choice, holder in setting.only:
            others = sorted(roles & set(kind.roles) - {holder})
            if form.get(setting.name) == choice and others:
                yield Complaint((*at, setting.name), f"a {others[0]} has no {choice}", f"aim it at nodes of the role {holder} only")


def _group(kind: FaultKind, form: FaultForm, at: Steps, words: tuple[Word, ...], roster: Roster) -> Iterator[Complaint]:
    for number, word in enumerate(words):
        if word == REST:
            continue
        found = roster.matching(word)
        here = (*at, number) if len(words) > 1 else at
        if not found and not form.allow_empty:
            yield Complaint(here, "matches no node", f"the nodes are {_some(roster)}; or allow-empty: true", repr(str(word)))
        if found and role(found[0]) not in kind.roles:
            problem = f"{kind.name} cannot hit nodes of the role {role(found[0])}"
            remedy = f"aim it at one of {', '.join(kind.roles)}"
            if role(found[0]) == "agent" and kind.aim is not Aim.NODES:
                remedy += ": an agent speaks only to its own sidecar, on one host"
            yield Complaint(here, problem, remedy, repr(str(word)))


def _some(roster: Roster) -> str:
    words = [node.replace("/", " ", 1) for node in roster.nodes]
    return ", ".join(words) if len(words) <= 12 else ", ".join((*words[:11], f"and {len(words) - 11} more"))


def _links(kind: FaultKind, form: FaultForm, at: Steps, roster: Roster) -> Iterator[Complaint]:
    between, start, end = form.get("between"), form.get("from"), form.get("to")
    if between is not None and (start or end):
        yield Complaint((*at, "from" if start else "to"), "`between` and `from`/`to` exclude each other", "keep one of them")
        return
    if between is None and bool(start) != bool(end):
        yield Complaint((*at, "from" if start else "to"), "only one end", f"add `{'to' if start else 'from'}`, or use between")
        return
    if between is None and not start:
        if not kind.everywhere:
            yield Complaint(at, "no sides", "add for example between: [replicas, sidecar acme/1]")
        return
    groups: tuple[tuple[Word, ...], ...] = between if between is not None else (start, end)
    keys: list[Steps] = [(*at, "between", number) for number in range(len(groups))] if between else [(*at, "from"), (*at, "to")]
    before = 0
    for key, group in zip(keys, groups, strict=True):
        for complaint in _group(kind, form, key, group, roster):
            before += 1
            yield complaint
    if sum(REST in group for group in groups) > 1:
        yield Complaint(keys[-1], "`rest` on more than one side", "name the nodes of all sides but one")
    elif not before and not form.allow_empty:
        yield from _crossing(kind, form, keys, roster.sides(groups), at, roster)


def _crossing(kind: FaultKind, form: FaultForm, keys: list[Steps], sides: list[tuple[str, ...]], at: Steps, roster: Roster) -> Iterator[Complaint]:
    twice = [node for node, times in Counter(node for side in sides for node in side).items() if times > 1]
    if twice and form.get("between") is not None:
        yield Complaint(keys[-1], "a node on two sides", "let each node stand on one side only", repr(twice[0].replace("/", " ", 1)))
        return
    if not links(kind, form, roster):
        if kind.shape is not Shape.BETWEEN:
            yield Complaint(at, "cuts no link", "a ring takes four sides or more, majorities three, and links between those that are apart")
            return
        remedy = "sidecars speak to replicas and to their tenant's sinks, replicas to all but agents; or allow-empty: true"
        yield Complaint(at, "no link joins the sides", remedy)


def links(kind: FaultKind, form: FaultForm, roster: Roster) -> tuple[tuple[str, str], ...]:
    """The directed links that a fault on links hits: all of them if it names none."""
    between, start, end = form.get("between"), form.get("from"), form.get("to")
    if between is not None:
        return SHAPES[kind.shape](roster, roster.sides(between))
    if start is None or end is None:
        return roster.links
    sources, targets = roster.sides((start, end))
    return roster.one_way(sources, targets)


SHAPES: dict[Shape, Callable[[Roster, list[tuple[str, ...]]], tuple[tuple[str, str], ...]]] = {
    Shape.BETWEEN: Roster.between, Shape.RING: Roster.ring, Shape.MAJORITIES: Roster.majorities,
}  # fmt: skip
