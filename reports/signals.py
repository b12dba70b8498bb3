"""Which fact led to which: the arrows of a timeline.

Owns the pairing of facts across nodes. A pair is *recorded* where both facts carry the same id, so that the history itself says it
(a lease round, an effect's key, an evidence); an order's way from node to node is *inferred* from who held it first, unless the
fact names its sender, and is drawn dashed.
"""

from __future__ import annotations

from typing import NamedTuple

from harness.history import Fact, History
from reports.words import duration, plain, short


class Signal(NamedTuple):
    """From the fact at index ``cause`` of the history to that at index ``effect``. ``form``: order, grant, effect or evidence."""

    cause: int
    effect: int
    form: str
    recorded: bool
    title: str


def signals(history: History) -> list[Signal]:
    """All arrows, in the order in which they arrive. Linear in the history."""
    found: list[Signal] = []
    grants: dict[object, list[int]] = {}
    waiting: dict[object, int] = {}
    holders: dict[str, dict[str, int]] = {}
    for index, fact in enumerate(history):
        body = fact.body
        match fact.kind:
            case "lease-granted":
                grants.setdefault((body.get("agent"), body.get("nonce")), []).append(index)
            case "lease-opened":
                causes = grants.pop((body.get("agent"), body.get("nonce")), [])
                found += [_signal(history, cause, index, "grant", True) for cause in causes]
            case "effect-admitted":
                waiting["effect", body.get("key"), _token(body.get("token"))] = index
            case "effect-applied" | "effect-rejected":
                found += _answered(history, waiting, ("effect", body.get("key"), _token(body.get("token"))), index, "effect")
            case "evidence-sent":
                waiting["evidence", body.get("order"), body.get("agent"), body.get("stage")] = index
            case "agent-status":
                found += _answered(history, waiting, ("evidence", body.get("order"), body.get("agent"), body.get("stage")), index, "evidence")
            case "order-requested":
                waiting["request", body.get("tenant"), short(body.get("scope")), body.get("gate"), body.get("life")] = index
            case "order-learned":
                found += _learned(history, waiting, holders.setdefault(str(body.get("order")), {}), index)
            case _:
                pass
    return found


def _learned(history: History, waiting: dict[object, int], holders: dict[str, int], index: int) -> list[Signal]:
    fact = history.facts[index]
    body = fact.body
    sender = body.get("sender")
    if sender in holders:
        cause: int | None = holders[str(sender)]
    elif holders:
        cause = next(iter(holders.values()))
    else:
        cause = waiting.get(("request", body.get("tenant"), short(body.get("scope")), body.get("gate"), body.get("life")))
    holders.setdefault(fact.node, index)
    if cause is None or history.facts[cause].node == fact.node:
        return []
    return [_signal(history, cause, index, "order", sender in holders)]


def _answered(history: History, waiting: dict[object, int], key: object, index: int, form: str) -> list[Signal]:
    cause = waiting.pop(key, None)
    return [] if cause is None else [_signal(history, cause, index, form, True)]


def _signal(history: History, cause: int, effect: int, form: str, recorded: bool) -> Signal:
    start, end = history.facts[cause], history.facts[effect]
    how = "" if recorded else ", inferred from who held it first"
    return Signal(cause, effect, form, recorded, f"{form}: {plain(start.node)} to {plain(end.node)}, {_lasted(start, end)}{how}")


def _lasted(start: Fact, end: Fact) -> str:
    return duration(end.at_ns - start.at_ns)


def _token(token: object) -> object:
    return tuple(token) if isinstance(token, list) else token
