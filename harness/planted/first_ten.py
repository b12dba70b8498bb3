"""The first ten planted bugs: leases, quorums, resumes, drains, grace, the lattice, restarts and waiting.

Each is the smallest replacement that makes the mistake as somebody would make it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from harness.planted.bug import PlantedBug
from killswitch.core import audit, intent, leases
from killswitch.core.events import Record
from killswitch.core.intent import Intent, KnownCertificate, KnownOrder, Severity
from killswitch.core.machine import Parameters
from killswitch.core.messages import Gate, Life
from killswitch.core.sidecar import step as sidecar_step
from killswitch.core.sidecar.state import NEVER, Sidecar


def lease_from_receipt(round_: leases.Round, now_ns: int) -> int:
    return now_ns + min(round_.grants.values())


def half_is_enough(grants: Mapping[str, int], quorum: int) -> bool:
    return len(grants) >= quorum - 1


def lifts_everything_older(known: Intent, certificate: KnownCertificate) -> set[str]:
    """As a register with an epoch would: whatever of the scope is known when the resume arrives counts as older than it."""
    body = certificate.body
    return set(body.covers) | {order.id for order in known.orders.values() if intent.includes(body.tenant, body.scope, order.body)}


def full_drain_lease(uncovered: Iterable[KnownOrder], seen_ns: Callable[[str], int | None], now_ns: int, lease_ns: int) -> int:
    return 0 if any(known.severity.gate is Gate.CLOSED for known in uncovered) else lease_ns


def grace_is_authority(state: Sidecar, gate: Gate, now_ns: int) -> bool:
    return gate is Gate.DRAIN or now_ns < state.lease_until_ns


def grace_starts_again(state: Sidecar, known: KnownOrder, now_ns: int) -> None:
    if known.severity.life is Life.STOP:
        sidecar_step.set_deadline(state, known.id, now_ns + known.body.grace_ns)
        state.stop_by_ns = None


def restart_restarts_grace(stored_ns: int, stored_boot: str, boot: str, order: KnownOrder, now_ns: int) -> int:
    return now_ns + order.body.grace_ns


def chain_of_severities(one: Severity, other: Severity) -> Severity:
    chain = (intent.RUN, intent.ISOLATE, intent.SOFT, intent.QUIESCE, intent.HARD)
    return max(one, other, key=chain.index)


def lease_survives_restart(records: tuple[Record, ...]) -> int:
    opened = [audit.content(record) for record in records if record.kind == "LEASE_OPENED"]
    return int(opened[-1]["until"]) if opened else NEVER


def waits_one_lease(parameters: Parameters) -> int:
    return parameters.lease_ns


BUGS = (
    PlantedBug(
        "B01", "the lease counts from the receipt of the reply, not from the sending of the request",
        {"leases:until": lease_from_receipt}, ("S19", "S1"), ("swarm-storm", "clock-extremes"), "easy",
    ),
    PlantedBug(
        "B02", "half of the replicas are enough for a lease: an effective order need not meet it",
        {"leases:enough": half_is_enough}, ("S19", "S1"), ("minority-grants-nothing", "swarm-storm"), "easy",
    ),
    PlantedBug(
        "B03", "a resume lifts whatever is older than it, not what it lists",
        {"intent:lifts": lifts_everything_older}, ("S7", "S6", "S1"), ("resume-race", "swarm-storm"), "medium",
    ),
    PlantedBug(
        "B04", "the drain lease is always a full one, however little grace is left",
        {"leases:span": full_drain_lease}, ("S7", "S1"), ("drain-near-its-end", "swarm-storm"), "medium",
    ),
    PlantedBug(
        "B05", "grace is authority by itself: draining needs no lease",
        {"sidecar.state:lease_live": grace_is_authority}, ("S1", "S19"), ("drain-near-its-end", "swarm-storm"), "easy",
    ),
    PlantedBug(
        "B06", "hearing of a soft order again starts its grace again",
        {"sidecar.step:start_grace": grace_starts_again}, ("S18",), ("duplicated-and-reordered-signals", "swarm-storm"), "easy",
    ),
    PlantedBug(
        "B07", "a restart of the sidecar starts the grace again",
        {"sidecar.recover:recovered_deadline": restart_restarts_grace}, ("S18",), ("sidecar-crash-mid-drain", "swarm-storm"), "easy",
    ),
    PlantedBug(
        "B08", "severities are a chain: SOFT after ISOLATE opens the gate to what is in flight",
        {"intent:join": chain_of_severities}, ("S3", "S1", "S5"), ("isolate-then-soft", "swarm-storm"), "easy",
    ),
    PlantedBug(
        "B09", "a lease is believed after a restart",
        {"sidecar.recover:recovered_lease": lease_survives_restart}, ("S23", "S19"), ("lease-believed-after-restart", "swarm-storm"), "medium",
    ),
    PlantedBug(
        "B10", "an agent is presumed stopped after one lease length, as if all clocks ran alike",
        {"leases:residue_ns": waits_one_lease}, ("S20", "S8"), ("presumed-too-early", "clock-extremes", "swarm-storm"), "hard",
    ),
)  # fmt: skip
