"""Planted bugs of what makes a request the same as another: each takes a part of it for all of it, or the same for another."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import structs

from harness.planted.bug import PlantedBug
from killswitch.core import intent, trust
from killswitch.core.intent import KnownOrder
from killswitch.core.messages import Order, OrderBody, OrderRequest
from killswitch.core.replica import orders
from killswitch.core.replica.state import Replica
from killswitch.core.trust import Trust

MadeOf = Callable[[Replica, OrderRequest, tuple[KnownOrder, ...]], list[KnownOrder]]

_order_before = orders.order_before
_sign_order = trust.sign_order


def by_its_name(state: Replica, request: OrderRequest, named: tuple[KnownOrder, ...]) -> list[KnownOrder]:
    """An idempotency key is a key."""
    return list(named)


def by(*parts: str) -> MadeOf:
    """So much of its content tells what somebody wants."""

    def made_of(state: Replica, request: OrderRequest, named: tuple[KnownOrder, ...]) -> list[KnownOrder]:
        return [known for known in named if all(getattr(known.body, part) == getattr(request, part) for part in parts)]

    return made_of


def whatever_was_lifted(state: Replica, request: OrderRequest) -> KnownOrder | None:
    """Where what was asked for under a name was lifted, that name stops nothing any more."""
    named = intent.named(state.intent, orders.nonce_of(request))
    return _order_before(state, request) or next((known for known in named if known.id in state.intent.lifted), None)


def each_its_own(own: Trust, node: str, body: OrderBody) -> Order:
    """Whoever lets a request in makes its order, and says so in it."""
    return _sign_order(own, node, body if body.parent else structs.replace(body, nonce=f"{node}/{body.nonce}"))


BUGS = (
    PlantedBug("B490", "a name names one request, whatever is asked for", {"replica.orders:made_of": by_its_name}, ("S20",),
               ("one-name-for-several-requests",), "easy"),
    PlantedBug("B491", "a request is the same whatever its grace and severity",
               {"replica.orders:made_of": by("tenant", "scope", "reason", "cleanup")}, ("S20",), ("one-name-for-several-requests",), "easy"),
    PlantedBug("B492", "a request is the same whatever its reason and cleanup",
               {"replica.orders:made_of": by("tenant", "scope", "gate", "life", "grace_ns")}, ("S20",), ("one-name-for-several-requests",), "easy"),
    PlantedBug("B493", "a request is the same wherever it is to stop",
               {"replica.orders:made_of": by("tenant", "gate", "life", "grace_ns", "reason", "cleanup")}, ("S20",),
               ("one-name-for-several-requests",), "easy"),
    PlantedBug("B494", "what is asked for under a name of which anything was lifted counts as lifted",
               {"replica.orders:order_before": whatever_was_lifted}, ("S20",), ("one-name-for-several-requests",), "easy"),
    PlantedBug("B494b", "each replica that is asked makes an order of its own", {"trust:sign_order": each_its_own}, ("L8",),
               ("asked-again-where-it-is-known",), "easy"),
)  # fmt: skip
