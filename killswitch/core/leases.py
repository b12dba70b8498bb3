"""Quorum leases with leased drain: how long an agent may act, and how long one must wait to be sure that it cannot (protocol 2, D3, D4).

Owns the arithmetic of leases on both sides and the bounds that follow from it. Must not know messages, or whose clock it is given:
every time here is on the caller's own clock, and every span is a whole number of nanoseconds, rounded to the safe side.

The rule of safety: a lease counts from the moment its request was *sent*, on the requester's clock. Any q replicas intersect any k,
so if an order is held by k replicas, one of the granters of any later lease knows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from killswitch.core.intent import KnownOrder
from killswitch.core.machine import Parameters
from killswitch.core.messages import Gate

PPM = 1_000_000
ROUNDS_MAX = 1024  # of a lease's length, a sidecar keeps so many rounds at most: a round trip has to take fewer renewals


class Round:
    """One lease request to all replicas: when it was sent, and each replica's latest grant for exactly this nonce."""

    __slots__ = ("grants", "sent_ns")

    def __init__(self, sent_ns: int) -> None:
        self.sent_ns = sent_ns
        self.grants: dict[str, int] = {}


def quorums_intersect(replicas: int, kill_quorum: int, quorum: int) -> bool:
    """k + q > n and 2q > n: an effective order meets every lease, and two promises of a token meet."""
    return 0 < kill_quorum <= replicas and 0 < quorum <= replicas and kill_quorum + quorum > replicas and 2 * quorum > replicas


# -- the replica's side ---------------------------------------------------------------------------------------------------------------


def span(uncovered: Iterable[KnownOrder], seen_ns: Callable[[str], int | None], now_ns: int, lease_ns: int) -> int:
    """How long a replica may grant under the orders it knows: 0 denies. A drain is leased no longer than grace is left (D4).

    ``seen_ns`` gives when this replica first saw an order in this boot, or `None` if it cannot know: then nothing is left.
    """
    length = lease_ns
    for known in uncovered:
        if known.severity.gate is Gate.CLOSED:
            return 0
        if known.severity.gate is Gate.DRAIN:
            length = min(length, drain_left(known, seen_ns(known.id), now_ns))
    return max(length, 0)


def drain_left(known: KnownOrder, seen_ns: int | None, now_ns: int) -> int:
    """What is left of a soft order's grace on this replica's clock."""
    return 0 if seen_ns is None else known.body.grace_ns - (now_ns - seen_ns)


def time_to_stop_ns(known: KnownOrder, parameters: Parameters) -> int:
    """How long a process may take to stop by itself: its grace; with the gate shut, at least the time it takes to put a checkpoint down."""
    grace_ns = known.body.grace_ns
    return grace_ns if known.severity.gate is Gate.DRAIN else max(grace_ns, parameters.stop_timeout_ns)


def residue_ns(parameters: Parameters) -> int:
    """W: how long a replica waits on its own clock until no lease it may have granted can still be live anywhere (T4).

    L(1+rho)/(1-rho): its own clock may be fast while the sidecar's is slow.
    """
    return -(-parameters.lease_ns * (PPM + parameters.drift_ppm) // (PPM - parameters.drift_ppm))


# -- the sidecar's side ---------------------------------------------------------------------------------------------------------------


def enough(grants: Mapping[str, int], quorum: int) -> bool:
    """Whether grants of one round, one a replica, make a quorum."""
    return len(grants) >= quorum


def until(round_: Round, now_ns: int) -> int:
    """When the lease of a round ends: its shortest grant, counted from the request's send time.

    The answer must not depend on ``now_ns``, which is here because counting from it is the mistake one would make (B01).
    """
    return round_.sent_ns + min(round_.grants.values())


# -- the bounds that are promised (T1) ------------------------------------------------------------------------------------------------


def real_bound_ns(span_ns: int, drift_ppm: int) -> int:
    """The longest real time that a clock within the drift bound takes for a span: ceil(span / (1 - rho))."""
    return -(-span_ns * PPM // (PPM - drift_ppm))


def hard_bound_ns(parameters: Parameters) -> int:
    """T1 for HARD, ISOLATE and QUIESCE, and for new tasks under SOFT: L/(1-rho) after the order is effective."""
    return real_bound_ns(parameters.lease_ns, parameters.drift_ppm)


def soft_bound_ns(parameters: Parameters, grace_ns: int) -> int:
    """T1 for everything under SOFT: max(L, G)/(1-rho) after the order is effective."""
    return real_bound_ns(max(parameters.lease_ns, grace_ns), parameters.drift_ppm)
