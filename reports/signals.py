"""Which fact led to which: the arrows of a timeline.

Owns the pairing of facts across nodes. A pair is *recorded* where both facts carry the same id, so that the history itself says it
(a lease round, an effect's key, an evidence); an order's way from node to node is *inferred* from who held it first, unless the
fact names its sender, and is drawn dashed.
"""

from __future__ import annotations

from typing import NamedTuple

from harness.shared.history import Fact, History
from reports.words import duration, plain


class Signal(NamedTuple):
    """From the fact at index ``cause`` of the history to that at index ``effect``.

    ``form``: order, request, grant, effect or evidence. ``recorded``: the two facts themselves say that they belong together.
    """

    cause: int
    effect: int
    form: str
    recorded: bool
    title: str


# form -> the kinds of fact that begin it, those that end it, and the fields in which both agree.
_PAIRS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "request": (("lease-requested",), ("lease-granted", "lease-denied"), ("agent", "nonce")),
    "grant": (("lease-granted",), ("lease-opened",), ("agent", "nonce")),
    "effect": (("effect-admitted",), ("effect-applied", "effect-rejected"), ("key", "token")),
    "evidence": (("evidence-sent",), ("agent-status",), ("agent", "order", "stage")),
}
_BEGINS = {kind: form for form, (begins, _, _) in _PAIRS.items() for kind in begins}
_ENDS = {kind: form for form, (_, ends, _) in _PAIRS.items() for kind in ends}
_ASKED = ("tenant", "scope", "gate", "life")


def signals(history: History) -> list[Signal]:
    """All arrows, in the order in which they arrive. Linear in the history."""
    found: list[Signal] = []
    waiting: dict[tuple[str, ...], list[int]] = {}
    holders: dict[str, dict[str, int]] = {}  # order -> node -> the fact by which it learned it
    for index, fact in enumerate(history):
        if form := _ENDS.get(fact.kind):
            key = _key(form, fact, _PAIRS[form][2])
            causes = waiting.get(key, []) if form == "request" else waiting.pop(key, [])  # one request, many answers
            found += [_signal(history, cause, index, form, recorded=True) for cause in causes]
        if form := _BEGINS.get(fact.kind):
            key = _key(form, fact, _PAIRS[form][2])
            waiting[key] = [*waiting.get(key, []), index] if form == "grant" else [index]  # many grants, one lease
        elif fact.kind == "order-requested":
            waiting[_key("order", fact, _ASKED)] = [index]
        elif fact.kind == "order-learned":
            asked = waiting.get(_key("order", fact, _ASKED), [])
            found += _learned(history, asked, holders.setdefault(str(fact.body.get("order")), {}), index)
    return found


def _learned(history: History, asked: list[int], holders: dict[str, int], index: int) -> list[Signal]:
    """How an order came to a node: from its named sender, else, inferred, from its first holder, else from whoever asked for it."""
    fact = history.facts[index]
    sender = str(fact.body.get("sender"))
    causes = [holders[sender]] if sender in holders else list(holders.values())[:1] or asked
    holders.setdefault(fact.node, index)
    return [
        _signal(history, cause, index, "order", recorded=history.facts[cause].node == sender)
        for cause in causes
        if history.facts[cause].node != fact.node
    ]


def _signal(history: History, cause: int, effect: int, form: str, *, recorded: bool) -> Signal:
    start, end = history.facts[cause], history.facts[effect]
    how = "" if recorded else ", inferred from who held it first"
    title = f"{form}: {plain(start.node)} to {plain(end.node)}, {duration(end.at_ns - start.at_ns)}{how}"
    return Signal(cause, effect, form, recorded, title)


def _key(form: str, fact: Fact, fields: tuple[str, ...]) -> tuple[str, ...]:
    return (form, *(str(fact.body.get(name)) for name in fields))
