"""Planted bugs of the client with which people ask: when it asks again, and whom."""

from __future__ import annotations

from harness.planted.bug import PlantedBug
from killswitch.core.messages import OrderStatus


def once_somebody_has_it(status: OrderStatus) -> bool:
    return True


BUGS = (
    PlantedBug("B280", "a client that was told ACCEPTED asks nobody else", {"operator:is_final": once_somebody_has_it}, ("L1",),
               ("accepted-where-nobody-listens",), "medium"),
)  # fmt: skip
