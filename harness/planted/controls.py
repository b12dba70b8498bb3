"""Equivalent controls: changes that break nothing. Flagging one is a false alarm of the harness."""

from __future__ import annotations

from harness.planted.bug import PlantedBug
from killswitch.core.intent import KnownCertificate
from killswitch.core.messages import Order, ResumeCertificate
from killswitch.core.replica.state import Replica


def push_nothing(state: Replica, orders: tuple[Order, ...], certificates: tuple[ResumeCertificate, ...]) -> None:
    """What a push would have brought comes with the next lease reply."""


def nothing_is_missing(state: Replica, known: KnownCertificate) -> tuple[str, ...]:
    """A certificate that misses an order lifts what it lists, and no more: safety does not rest on asking for more (D1)."""
    return ()


CONTROLS = (
    PlantedBug(
        "C01", "replicas push nothing to sidecars", {"replica.dispatch:push": push_nothing}, scenarios=("swarm-storm", "kill-during-partition")
    ),
    PlantedBug("C02", "NEEDS_CONTEXT is never answered", {"replica.resumes:unshown": nothing_is_missing}, scenarios=("swarm-storm", "resume-race")),
)
