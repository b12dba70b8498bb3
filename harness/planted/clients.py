"""Planted bugs of the client with which people ask: when it asks again, and whom."""

from __future__ import annotations

from harness.planted.bug import PlantedBug
from killswitch.core.bundles import RolloutStatus
from killswitch.core.messages import OrderStatus
from killswitch.core.operator import Operator, settle


def whoever_is_next(state: Operator, status: RolloutStatus, sender: str) -> None:
    """Every replica hears of it."""
    if state.errands.get(status.request) is None or status.stage != "ACCEPTED":
        settle(state, status.request)


def once_somebody_has_it(status: OrderStatus) -> bool:
    return True


BUGS = (
    PlantedBug("B271", "a rollout that one replica has accepted is asked after at the next", {"operator:on_rollout_status": whoever_is_next},
               ("S21",), ("asked-after-where-it-was-accepted", "policy-storm"), "easy"),
    PlantedBug("B280", "a client that was told ACCEPTED asks nobody else", {"operator:is_final": once_somebody_has_it}, ("L1",),
               ("accepted-where-nobody-listens",), "medium"),
)  # fmt: skip
