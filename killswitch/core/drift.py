"""The drift monitor: whether clocks still keep the promise on which every timed bound rests (protocol 2, A1 and T5).

Owns the comparison of one's own clock with those of others, from stamps that lease rounds and gossip carry anyway, and how long a doubt lasts. Must
not know what follows from a doubt: a sidecar isolates itself, a replica stops granting and declaring.

A *sight* is one reading of a peer's clock, taken between two readings of one's own: a reply was stamped after its request left and before it
arrived. Two sights bound how far either clock ran between them. If both clocks keep to the drift, then

    (1 - rho) / (1 + rho) * shortest  <=  how far the peer's clock ran  <=  (1 + rho) / (1 - rho) * longest

so a pair that breaks this has a clock that does not, whatever the network did. It does not say which: whoever disagrees with more peers than may
be wrong at once doubts himself. A drift just beyond the promise shows over a lease length only if the round trip is short beside it.
"""

from __future__ import annotations

from killswitch.core.leases import PPM
from typing import Protocol

from msgspec import Struct

from killswitch.core.audit import Chain
from killswitch.core.events import Effect
from killswitch.core.outlet import observe, record

NEVER = -(1 << 62)
ROUNDING = 4 * PPM  # each of the readings is a whole number of nanoseconds


class Sight(Struct, frozen=True):
    """The peer's clock, in its boot ``boot``, read ``reading`` when one's own read something from ``low`` to ``high``."""

    boot: str
    low: int
    high: int
    reading: int


class Watch:
    """What was seen of one peer's clock: where the comparison began, the last sight, and until when the two are in doubt."""

    __slots__ = ("doubted_until_ns", "first", "last")

    def __init__(self, sight: Sight) -> None:
        self.first = self.last = sight
        self.doubted_until_ns = NEVER


class Monitor:
    """What a node holds of clocks. ``suspected``: its own is in doubt, until ``until_ns`` at the least."""

    __slots__ = ("suspected", "until_ns", "watches")

    def __init__(self) -> None:
        self.watches: dict[str, Watch] = {}
        self.suspected = False
        self.until_ns = NEVER


class Doubting(Protocol):
    """A state that watches clocks, and puts its doubts on its log."""

    effects: list[Effect]
    chain: Chain
    clock: Monitor


def beyond(earlier: Sight, later: Sight, drift_ppm: int) -> bool:
    """Whether two sights prove that one of the two clocks broke the promise."""
    ran, longest, shortest = later.reading - earlier.reading, later.high - earlier.low, later.low - earlier.high
    too_far = ran * (PPM - drift_ppm) > longest * (PPM + drift_ppm) + ROUNDING
    return too_far or (shortest > 0 and ran * (PPM + drift_ppm) < shortest * (PPM - drift_ppm) - ROUNDING)


def compare(monitor: Monitor, peer: str, sight: Sight, drift_ppm: int, window_ns: int) -> None:
    """Take a sight of a peer's clock. A doubt lasts a window, and the comparison begins anew; so it does with each boot of the peer."""
    watch = monitor.watches.get(peer)
    if watch is None or watch.first.boot != sight.boot:
        monitor.watches[peer] = Watch(sight)
        return
    if sight.low < watch.last.low and sight.reading < watch.last.reading:
        return  # an answer that was overtaken
    if beyond(watch.first, sight, drift_ppm) or beyond(watch.last, sight, drift_ppm):
        watch.first, watch.doubted_until_ns = sight, sight.high + window_ns
    elif sight.low - watch.first.high > window_ns:
        watch.first = watch.last
    watch.last = sight


def doubt(state: Doubting, tolerated: int, now_ns: int) -> bool:
    """Whether one's own clock is in doubt from now on: more than ``tolerated`` peers disagree with it. Recorded when it begins."""
    disagreeing = [peer for peer, watch in state.clock.watches.items() if now_ns < watch.doubted_until_ns]
    if len(disagreeing) <= tolerated:
        return False
    state.clock.until_ns = max(state.clock.watches[peer].doubted_until_ns for peer in disagreeing)
    began, state.clock.suspected = not state.clock.suspected, True
    if began:
        record(state, "CLOCK_SUSPECT", {"peers": sorted(disagreeing)}, now_ns)
        observe(state, "clock-suspected", peers=sorted(disagreeing))
    return began


def trust_again(state: Doubting, now_ns: int) -> bool:
    """Whether a doubt is over just now: for a whole window no more peers than tolerated disagreed."""
    if not state.clock.suspected or now_ns < state.clock.until_ns:
        return False
    state.clock.suspected = False
    record(state, "CLOCK_TRUSTED", {}, now_ns)
    observe(state, "clock-trusted")
    return True
