"""Planted bugs of clocks: wall clocks where none may be read, a clock that sleeps with its host, and doubts of one's own clock.

The core is given no wall clock, so a mistake that needs one reads that of the node it is made at, as `time.time` would on its host.
"""

from __future__ import annotations

from msgspec import structs

from harness.planted.bug import PlantedBug, as_if
from killswitch.core import drift, intent, trust
from killswitch.core.drift import ROUNDING, Monitor, Sight, Watch
from killswitch.core.intent import View
from killswitch.core.leases import PPM
from killswitch.core.messages import LeaseRequest, Order, OrderBody
from killswitch.core.replica import dispatch, grants
from killswitch.core.replica.state import Replica
from killswitch.core.sidecar import step as sidecar_step
from killswitch.core.sidecar.state import Sidecar
from killswitch.core.trust import Trust

RETENTION_MS = 3_600_000
VALID_MS = 180_000

_compare = drift.compare
_doubt = drift.doubt
_learn_order = sidecar_step.learn_order
_lease = grants.lease
_on_gossip_timer = dispatch.on_gossip_timer
_sign_order = trust.sign_order


def orders_are_kept_for_an_hour(state: Replica, now_ns: int) -> None:
    """A retention job: what is an hour old by the wall clock is done with."""
    wall_ms = B14.read_wall_ms(state.node)
    for order in list(state.intent.orders):
        if wall_ms - B14.notes.setdefault((state.node, order), wall_ms) > RETENTION_MS:
            del state.intent.orders[order]
            intent._changed(state.intent)
    _on_gossip_timer(state, now_ns)


def grace_ends_on_the_wall(state: Sidecar, now_ns: int) -> bool:
    """When a drain began, the end of its grace is worked out as a time of day."""
    if state.stop_by_ns is None:
        return False
    wall_ms = B15.read_wall_ms(state.config.node)
    key = (state.config.node, f"{state.instance}/{state.stop_by_ns}")
    return wall_ms >= B15.notes.setdefault(key, wall_ms + (state.stop_by_ns - now_ns) // 1_000_000)


def an_order_that_is_no_longer_valid_is_ignored(state: Sidecar, order: Order, now_ns: int) -> bool:
    known = intent.read_order(order)
    until = known.body.reason.rpartition("(valid until ")[2].rstrip(")") if known is not None else ""
    if until.isdecimal() and B16.read_wall_ms(state.config.node) > int(until):
        return True
    return _learn_order(state, order, now_ns)


def orders_are_valid_for_three_minutes(held: Trust, signer: str, body: OrderBody) -> Order:
    until_ms = B16.read_wall_ms(signer) + VALID_MS
    return _sign_order(held, signer, structs.replace(body, reason=f"{body.reason} (valid until {until_ms})"))


def one_peer_is_enough(state: drift.Doubting, tolerated: int, now_ns: int) -> bool:
    """If anybody disagrees, better be careful."""
    return _doubt(state, 0, now_ns)


def only_too_far(earlier: Sight, later: Sight, drift_ppm: int) -> bool:
    """Whoever ran further than the longest time allows broke the promise."""
    ran, longest = later.reading - earlier.reading, later.high - earlier.low
    return ran * (PPM - drift_ppm) > longest * (PPM + drift_ppm) + ROUNDING


def granted_in_doubt(state: Replica, request: LeaseRequest, view: View, now_ns: int) -> tuple[int, str]:
    """A lease is measured on the sidecar's clock, so what does this one matter."""
    with as_if(state.clock, "suspected", False):
        return _lease(state, request, view, now_ns)


def as_long_as_all_of_them(state: drift.Doubting, tolerated: int, now_ns: int) -> bool:
    """Once the first of them agrees again, fewer disagree."""
    began = _doubt(state, tolerated, now_ns)
    disagreeing = [watch.doubted_until_ns for watch in state.clock.watches.values() if now_ns < watch.doubted_until_ns]
    if len(disagreeing) > tolerated:
        state.clock.until_ns = min(disagreeing)
    return began


B14 = PlantedBug("B14", "a retention job on the wall clock drops orders that are an hour old",
                 {"replica.dispatch:on_gossip_timer": orders_are_kept_for_an_hour}, ("S25", "S4", "S24"),
                 ("wall-clock-jumps-in-a-drain",), "easy")  # fmt: skip
B15 = PlantedBug("B15", "the end of a grace is a time of day", {"sidecar.state:drain_over": grace_ends_on_the_wall}, ("S24", "L3", "L4"),
                 ("wall-clock-jumps-in-a-drain",), "easy")  # fmt: skip
B16 = PlantedBug("B16", "a kill is valid for three minutes of wall time",
                 {"trust:sign_order": orders_are_valid_for_three_minutes,
                  "sidecar.step:learn_order": an_order_that_is_no_longer_valid_is_ignored},
                 ("S24", "L1", "S1"), ("kill-while-clocks-are-off", "wall-clock-jumps-in-a-drain"), "easy")  # fmt: skip


def a_clock_is_a_clock(monitor: Monitor, peer: str, sight: Sight, drift_ppm: int, window_ns: int) -> None:
    """It is the same host, and its clock."""
    watch = monitor.watches.get(peer)
    if watch is None:
        monitor.watches[peer] = Watch(sight)
        return
    _compare(monitor, peer, structs.replace(sight, boot=watch.first.boot), drift_ppm, window_ns)


BUGS = (
    B14, B15, B16,
    PlantedBug("B42", "leases are measured on a clock that sleeps with its host", {}, ("S1", "S19"), ("lease-believed-after-a-suspend",), "easy",
               clock="CLOCK_MONOTONIC"),
    PlantedBug("B124", "a node doubts its own clock as soon as one peer disagrees with it", {"drift:doubt": one_peer_is_enough}, ("L5",),
               ("clock-suspected",), "easy"),
    PlantedBug("B146", "a clock that runs too fast is never suspected", {"drift:beyond": only_too_far}, ("L12",), ("clocks-that-run-away",), "easy"),
    PlantedBug("B156", "a replica that doubts its clock goes on granting", {"replica.grants:lease": granted_in_doubt}, ("S19",),
               ("clocks-that-run-away",), "easy"),
    PlantedBug("B208", "a doubt of one's clock ends with that of the first who disagreed", {"drift:doubt": as_long_as_all_of_them}, ("L12",),
               ("waits-begun-anew-after-a-doubt", "clock-suspected"), "easy"),
    PlantedBug("B275", "clocks are compared over a boot of the peer's host", {"drift:compare": a_clock_is_a_clock}, ("L5",),
               ("total-control-plane-loss",), "easy"),
)  # fmt: skip
