"""Planted bugs of load: shared queues and limits, tries without pauses, records without a share."""

from __future__ import annotations

from harness.planted.bug import PlantedBug
from killswitch.core.messages import Message
from killswitch.core.policy import Request
from killswitch.core.replica import rollouts
from killswitch.core.replica.state import Replica
from killswitch.core.rollout import Answer
from killswitch.core.traffic import USUAL


def one_share_for_all(sender: str) -> str:
    return "everybody"


def one_queue_for_all(message: Message, peer: str) -> tuple[int, str]:
    return USUAL, "everybody"


def no_pause(tries: int, base_ns: int, jitter: str) -> int:
    return base_ns


def record_every_refusal(state: Replica, request: str, asked: Request, answer: Answer, sender: str, now_ns: int) -> None:
    rollouts.record_decision(state, request, asked, answer, now_ns)


BUGS = (
    PlantedBug("B27", "all tenants have one share between them", {"traffic:share_of": one_share_for_all}, ("L8",), ("one-tenant-floods",), "easy"),
    PlantedBug("B38", "a kill waits behind telemetry, and nobody pauses between tries",
               {"traffic:lane": one_queue_for_all, "traffic:pause_ns": no_pause}, ("L8",),
               ("one-tenant-floods", "reconnect-storm-under-a-kill"), "medium"),
    PlantedBug("B44", "every refusal is put on record", {"replica.rollouts:record_refusal": record_every_refusal}, ("L8",),
               ("one-tenant-floods",), "easy"),
)  # fmt: skip
