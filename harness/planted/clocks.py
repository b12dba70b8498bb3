"""Planted bugs of time: wall clocks where none may be read, a clock that sleeps with its host, waits and stops that a restart forgets, and what
does not come back before everybody does.

The core is given no wall clock, so a mistake that needs one reads that of the node it is made at, as `time.time` would on its host.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import structs

from harness.planted.bug import PlantedBug
from killswitch.core import drift, intent, leases, trust
from killswitch.core.events import Record
from killswitch.core.intent import KnownCertificate, KnownOrder
from killswitch.core.messages import COUNTER_MAX, Order, OrderBody
from killswitch.core.replica import dispatch
from killswitch.core.replica.state import Draft, Replica, concerned, residue_ns
from killswitch.core.sidecar import recover, standby
from killswitch.core.sidecar import state as sidecar_state
from killswitch.core.sidecar import step as sidecar_step
from killswitch.core.sidecar.state import Sidecar
from killswitch.core.stamps import Reading
from killswitch.core.trust import Trust

RETENTION_MS = 3_600_000
VALID_MS = 180_000

_doubt = drift.doubt
_drain_over = sidecar_state.drain_over
_follow = standby.follow
_local_stop = standby.local_stop
_fold_order = recover._fold_order
_learn_order = sidecar_step.learn_order
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


def orders_are_valid_for_three_minutes(held: Trust, signer: str, body: OrderBody) -> Order:
    until_ms = B16.read_wall_ms(signer) + VALID_MS
    return _sign_order(held, signer, structs.replace(body, reason=f"{body.reason} (valid until {until_ms})"))


def an_order_that_is_no_longer_valid_is_ignored(state: Sidecar, order: Order, now_ns: int) -> bool:
    known = intent.read_order(order)
    until = known.body.reason.rpartition("(valid until ")[2].rstrip(")") if known is not None else ""
    if until.isdecimal() and B16.read_wall_ms(state.config.node) > int(until):
        return True
    return _learn_order(state, order, now_ns)


def waits_from_the_dawn_of_time(state: Replica, known: KnownOrder) -> int:
    """After a restart the order is an old one, and all that might have been granted before it is long out."""
    residue = max((residue_ns(state, agent) for agent in concerned(state, known)), default=0)
    return state.seen.get(known.id, -(leases.PPM**2)) + residue


def one_more_to_be_sure(grants: Mapping[str, int], quorum: int) -> bool:
    return len(grants) > quorum


def ones_own_stop_is_forgotten(state: Sidecar, entry: Record, body: dict[str, object], now_ns: int) -> None:
    """A stop that this sidecar gave itself was for the process that ran then."""
    if body["signer"] != state.config.node:
        _fold_order(state, entry, body, now_ns)


def each_spell_counts_anew(state: Sidecar, mode: str, now_ns: int) -> None:
    """The lease came back, and with it all is well."""
    if state.standing.since_ns is None:
        state.standing.stood_ns = 0
    _follow(state, mode, now_ns)


def one_stop_for_all_spells(state: Sidecar) -> Order:
    """The order of a sidecar for its own agent needs no number: there is only the one."""
    known = intent.read_order(_local_stop(state))
    assert known is not None
    return trust.sign_order(state.trust, state.config.node, structs.replace(known.body, nonce=f"{state.config.node}/standby"))


def one_peer_is_enough(state: drift.Doubting, tolerated: int, now_ns: int) -> bool:
    """If anybody disagrees, better be careful."""
    return _doubt(state, 0, now_ns)


def as_long_as_all_of_them(state: drift.Doubting, tolerated: int, now_ns: int) -> bool:
    """Once the first of them agrees again, fewer disagree."""
    began = _doubt(state, tolerated, now_ns)
    disagreeing = [watch.doubted_until_ns for watch in state.clock.watches.values() if now_ns < watch.doubted_until_ns]
    if len(disagreeing) > tolerated:
        state.clock.until_ns = min(disagreeing)
    return began


def signed_is_for_ever(state: Replica, known: KnownCertificate) -> int | None:
    """Approvers have signed, and signatures do not age."""
    return COUNTER_MAX


def any_boot_will_do(state: Replica, known: KnownCertificate) -> int | None:
    """The number is there; that the clock it was read off began anew since is overlooked."""
    return next((each.clock_ns for each in known.body.ends if each.replica == state.node), None)


def on_a_true_clock(state: Replica, draft: Draft, now_ns: int) -> tuple[Reading, ...]:
    """Whose clock is not true?"""
    read = {**draft.read, state.node: Reading(state.node, state.boot, now_ns)}
    return tuple(structs.replace(each, clock_ns=each.clock_ns + state.parameters.approval_ns) for _, each in sorted(read.items()))


B14 = PlantedBug(
    "B14", "a retention job on the wall clock drops orders that are an hour old", {"replica.dispatch:on_gossip_timer": orders_are_kept_for_an_hour},
    ("S25", "S4", "S24"), ("wall-clock-jumps-in-a-drain",), "easy",
)  # fmt: skip
B15 = PlantedBug(
    "B15", "the end of a grace is a time of day", {"sidecar.state:drain_over": grace_ends_on_the_wall}, ("S24", "L3", "L4"),
    ("wall-clock-jumps-in-a-drain",), "easy",
)  # fmt: skip
B16 = PlantedBug(
    "B16", "a kill is valid for three minutes of wall time",
    {"trust:sign_order": orders_are_valid_for_three_minutes, "sidecar.step:learn_order": an_order_that_is_no_longer_valid_is_ignored},
    ("S24", "L1", "S1"), ("kill-while-clocks-are-off", "wall-clock-jumps-in-a-drain"), "easy",
)  # fmt: skip

BUGS = (
    B14, B15, B16,
    PlantedBug(
        "B42", "leases are measured on a clock that sleeps with its host", {}, ("S1", "S19"), ("lease-believed-after-a-suspend",), "easy",
        clock="CLOCK_MONOTONIC",
    ),
    PlantedBug(
        "B86", "a restarted replica counts its wait as over", {"replica.orders:presumption_due_ns": waits_from_the_dawn_of_time}, ("S20", "S8"),
        ("wait-restarted-with-its-replica",), "medium",
    ),
    PlantedBug(
        "B88", "a lease takes one grant more than a quorum, which nobody notices while all replicas are there",
        {"leases:enough": one_more_to_be_sure}, ("L6",), ("half-healed-cell",), "medium",
    ),
    PlantedBug(
        "B87", "a stop for a standby that was too long does not survive a restart of the sidecar",
        {"sidecar.recover:_fold_order": ones_own_stop_is_forgotten}, ("S4", "S25"), ("flapping-standby-ends-in-a-stop",), "easy",
    ),
    PlantedBug("B134", "an approval never ends", {"replica.resumes:end_here": signed_is_for_ever}, ("S13",), ("approved-too-late",), "easy"),
    PlantedBug(
        "B135", "the end of an approval is believed after a reboot", {"replica.resumes:end_here": any_boot_will_do}, ("S13",),
        ("approved-too-late",), "medium",
    ),
    PlantedBug(
        "B136", "the end of an approval leaves no margin for drift", {"replica.resumes:ends": on_a_true_clock}, ("S13",),
        ("approved-too-late",), "medium",
    ),
    PlantedBug(
        "B124", "a node doubts its own clock as soon as one peer disagrees with it", {"drift:doubt": one_peer_is_enough}, ("L5",),
        ("clock-suspected",), "easy",
    ),
    PlantedBug(
        "B208", "a doubt of one's clock ends with that of the first who disagreed", {"drift:doubt": as_long_as_all_of_them}, ("L12",),
        ("clock-suspected", "waits-begun-anew-after-a-doubt"), "easy",
    ),
    PlantedBug(
        "B89", "the time on standby is counted anew with each spell", {"sidecar.standby:follow": each_spell_counts_anew}, ("L11",),
        ("flapping-standby-ends-in-a-stop",), "easy",
    ),
    PlantedBug(
        "B90", "a sidecar's own stop is the same order each time, so the certificate for the first lifts them all",
        {"sidecar.standby:local_stop": one_stop_for_all_spells}, ("L11",), ("standby-again-after-a-resume",), "medium",
    ),
)  # fmt: skip
