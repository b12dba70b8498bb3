"""Planted bugs of leases: what they count from, how many grants make one, what a drain leaves of them, what outlives its start, what
is put on record of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from harness.planted.bug import PlantedBug
from killswitch.core import attempts, audit, intent, leases
from killswitch.core.certificates import ResumeCertificate
from killswitch.core.events import Record
from killswitch.core.intent import KnownOrder
from killswitch.core.messages import Gate, Order
from killswitch.core.outlet import record
from killswitch.core.sidecar import starts
from killswitch.core.sidecar import step as sidecar_step
from killswitch.core.sidecar.state import NEVER, Sidecar

ROUNDS_KEPT = 8

_drop_lease = starts.drop_lease
_may_vouch = starts.may_vouch
_learn = sidecar_step.learn


def lease_from_receipt(round_: leases.Round, now_ns: int) -> int:
    return now_ns + min(round_.grants.values())


def half_is_enough(grants: Mapping[str, int], quorum: int) -> bool:
    return len(grants) >= quorum - 1


def full_drain_lease(uncovered: Iterable[KnownOrder], seen_ns: Callable[[str], int | None], now_ns: int, lease_ns: int) -> int:
    return 0 if any(known.severity.gate is Gate.CLOSED for known in uncovered) else lease_ns


def grace_is_authority(state: Sidecar, gate: Gate, now_ns: int) -> bool:
    return gate is Gate.DRAIN or now_ns < state.lease_until_ns


def lease_survives_restart(records: tuple[Record, ...]) -> int:
    opened = [audit.content(record) for record in records if record.kind == "LEASE_OPENED"]
    return int(opened[-1]["until"]) if opened else NEVER


def one_more_to_be_sure(grants: Mapping[str, int], quorum: int) -> bool:
    return len(grants) > quorum


def whoever_promised_vouches(state: Sidecar, replica: str) -> bool:
    return _may_vouch(state, replica) and replica in state.ready


def whole_when_unknown(known: KnownOrder, seen_ns: int | None, now_ns: int) -> int:
    """The agent was promised its grace, whoever restarts."""
    return known.body.grace_ns if seen_ns is None else known.body.grace_ns - (now_ns - seen_ns)


def a_lease_is_the_sidecars(state: Sidecar) -> None:
    """It was granted for so long, and the time is not over."""
    until_ns = state.lease_until_ns
    _drop_lease(state)
    state.lease_until_ns = until_ns


def what_could_be_read(
    state: Sidecar, orders: tuple[Order, ...], certificates: tuple[ResumeCertificate, ...], sender: str, now_ns: int
) -> bool:  # fmt: skip
    """Whatever could be believed is learned."""
    _learn(state, orders, certificates, sender, now_ns)
    return True


def the_latest_eight(state: Sidecar, now_ns: int) -> None:
    """Who was not answered after so many more has asked in vain."""
    while len(state.rounds) >= ROUNDS_KEPT:
        del state.rounds[next(iter(state.rounds))]


def opened_once(state: Sidecar, kind: str, body: Mapping[str, object], now_ns: int) -> int:
    """That it holds leases is on record by then."""
    return 0 if kind == "LEASE_OPENED" and state.leased else record(state, kind, body, now_ns)


def put_off_is_taken_in(state: Sidecar, order: Order, now_ns: int) -> bool:
    """Its mark is on the way to the disk, and nobody has found fault with it."""
    identity = intent.content_id(order.raw)
    put_off = identity not in state.intent.orders and attempts.puts_off(state, order, "", now_ns)
    return put_off or sidecar_step.read_order(state, order, identity, now_ns)


BUGS = (
    PlantedBug("B01", "the lease counts from the receipt of the reply, not from the sending of the request", {"leases:until": lease_from_receipt},
               ("S19", "S1"), ("swarm-storm", "clock-extremes"), "easy"),
    PlantedBug("B02", "half of the replicas are enough for a lease: an effective order need not meet it", {"leases:enough": half_is_enough},
               ("S19", "S1"), ("minority-grants-nothing", "swarm-storm"), "easy"),
    PlantedBug("B04", "the drain lease is always a full one, however little grace is left", {"leases:span": full_drain_lease}, ("S7", "S1"),
               ("drain-near-its-end", "swarm-storm"), "medium"),
    PlantedBug("B05", "grace is authority by itself: draining needs no lease", {"sidecar.state:lease_live": grace_is_authority}, ("S1", "S19"),
               ("drain-near-its-end", "swarm-storm"), "easy"),
    PlantedBug("B09", "a lease is believed after a restart", {"sidecar.recover:recovered_lease": lease_survives_restart}, ("S23", "S19"),
               ("lease-believed-after-restart", "swarm-storm"), "medium"),
    PlantedBug("B88", "a lease takes one grant more than a quorum, which nobody notices while all replicas are there",
               {"leases:enough": one_more_to_be_sure}, ("L6",), ("half-healed-cell",), "medium"),
    PlantedBug("B128", "grants count of nobody but the replicas that promised the token", {"sidecar.starts:may_vouch": whoever_promised_vouches},
               ("L5",), ("half-healed-cell",), "medium"),
    PlantedBug("B171", "a replica that restarted takes the grace of a drain for whole", {"leases:drain_left": whole_when_unknown}, ("S19",),
               ("replicas-restarted-in-a-drain",), "easy"),
    PlantedBug("B174", "a lease outlives its start, and the next token runs under it", {"sidecar.starts:drop_lease": a_lease_is_the_sidecars},
               ("S19",), ("resumed-within-a-lease",), "easy"),
    PlantedBug("B405", "a grant counts whose orders could not be believed", {"sidecar.step:learn": what_could_be_read}, ("S19",),
               ("sidecar-behind-on-keys",), "easy"),
    PlantedBug("B431", "of the leases of one sidecar the first alone is on record as opened", {"sidecar.starts:record": opened_once}, ("S15",),
               ("swarm-storm",), "easy"),
    PlantedBug("B481", "a sidecar remembers its latest eight requests for a lease, however long one lasts",
               {"sidecar.starts:forget_rounds": the_latest_eight}, ("L5",), ("over-a-slow-network",), "easy"),
    PlantedBug("B509", "a grant counts that came with an order which waits for its mark", {"sidecar.step:learn_order": put_off_is_taken_in}, ("S19",),
               ("granted-beside-what-is-put-off",), "medium"),
)  # fmt: skip
