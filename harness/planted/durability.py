"""Planted bugs of durability and of what is told: acknowledging too early, believing a failed sync, journals and checkpoints out of order."""

from __future__ import annotations

from typing import Any

from harness.planted.bug import PlantedBug
from killswitch.core import agent as agents
from killswitch.core import intent, journal, trust
from killswitch.core.agent import Agent
from killswitch.core.certificates import ResumeCertificate
from killswitch.core.checkpoints import OpenTask
from killswitch.core.events import AcknowledgeTask, DiskFailed, Durable, Exit, ProcessExited
from killswitch.core.intent import Identity, KnownCertificate, Severity
from killswitch.core.messages import Apply, Evidence, Order, OrderStatus, StopAck
from killswitch.core.outlet import record, send
from killswitch.core.replica import orders as replica_orders
from killswitch.core.replica.state import Replica
from killswitch.core.scopes import Scope
from killswitch.core.sidecar import permits
from killswitch.core.sidecar import step as sidecar_step
from killswitch.core.sidecar.state import Sidecar
from killswitch.core.sink import Sink

_after_accept = replica_orders.after_accept
_on_durable = sidecar_step.on_durable


def acknowledge_before_sync(state: Replica, order: str, now_ns: int) -> None:
    _after_accept(state, order, now_ns)
    replica_orders.note_durable(state, order, state.node, now_ns)


def failed_sync_is_fine(state: Sidecar, event: DiskFailed, now_ns: int) -> None:
    _on_durable(state, Durable(state.chain.seq), now_ns)


def prove_without_the_disk(state: Sidecar, order: str, reached: str, now_ns: int) -> None:
    """What a swallowed error comes to: the proof leaves as if its record were safe."""
    token, checkpoint = (state.token, state.checkpoint) if state.process else (state.last_stop[0], state.checkpoint)
    signed = trust.sign_evidence(state.trust, state.config.node, Evidence(state.config.agent, token, order, reached, checkpoint, ()))
    state.proved[order] = signed
    for replica in state.config.replicas:
        send(state, replica, signed)


def close_after_sync(state: Sidecar, order: Order, now_ns: int) -> bool:
    """The stop waits for the disk: the order is put on record first, and enforced when that is durable."""
    known = trust.read_order(state.trust, order)
    if known is None:
        return False
    if known.id in state.intent.orders or known.id in state.evidence_told or not intent.matches(known.body.tenant, known.body.scope, state.identity):
        return True
    state.evidence_told[known.id] = "waiting for the disk"
    body = {"raw": order.raw, "signer": order.signer, "signature": order.signature, "deadline": None}
    state.awaiting[record(state, "ORDER_LEARNED", body, now_ns)] = ("late order", known)
    return True


def durable_then_close(state: Sidecar, event: Durable, now_ns: int) -> None:
    for lsn in [lsn for lsn, (kind, _) in state.awaiting.items() if kind == "late order" and lsn <= event.lsn]:
        _, known = state.awaiting.pop(lsn)
        if isinstance(known, intent.KnownOrder):
            sidecar_step.start_grace(state, known, now_ns)
            intent.add_order(state.intent, known)
            permits.abort_forbidden(state, now_ns)
    _on_durable(state, event, now_ns)


def last_writer_wins(orders: Any) -> Severity:
    listed = list(orders)
    return listed[-1].severity if listed else intent.RUN


def always_effective(state: Replica, order: str) -> None:
    asker = state.asked.get(order)
    if asker is not None:
        send(state, asker[1], OrderStatus(asker[0], order, "EFFECTIVE", state.config.kill_quorum))


def lets_everything_in(state: Sink, message: Apply, now_ns: int) -> str:
    return ""


def effect_before_intent(state: Agent, now_ns: int) -> None:
    """The effect is asked for first, and written down when its answer is in."""
    current = state.current
    if current is None or (state.stopping and (current.done == 0 or not state.drain)):
        state.phase, state.current = "idle", None
        return
    current.key = journal.key_of(current.task.task, current.done)
    state.open[current.task.task] = current
    agents.ask(state, now_ns)


def acknowledge_before_done(state: Agent, current: OpenTask, now_ns: int) -> None:
    state.effects.append(AcknowledgeTask(current.task.task, 0))
    state.phase = "finishing"
    state.awaiting[record(state, "DONE", {"task": current.task.task}, now_ns)] = ("DONE", current.task.task)


def leave_without_checkpoint(state: Agent, now_ns: int) -> None:
    """The final checkpoint is spoken of, and never waited for."""
    state.leaving = state.left = True
    send(state, state.sidecar, StopAck(state.generation + 1, tuple(sorted(state.open))))
    state.effects.append(Exit(0, 0))


def clean_whatever_flies(state: Sidecar, event: ProcessExited) -> tuple[bool, tuple[str, ...]]:
    return event.code == 0 or state.stopping, ()


def tenants_by_prefix(tenant: str, scope: Scope, identity: Identity) -> bool:
    if scope.kind == "global":
        return True
    if not identity.tenant.startswith(tenant):
        return False
    return scope.kind == "tenant" or scope.value == identity.agent or (scope.kind == "label" and scope.value in identity.labels)


def counts_signatures(held: trust.Trust, certificate: ResumeCertificate) -> KnownCertificate | None:
    known = intent.read_certificate(certificate)
    return known if known is not None and len(certificate.approvals) >= held.approvals else None


def drained_is_stopped(state: Sidecar, severity: Severity, at_gate: Any) -> str:
    return "STOPPED_CLEAN" if at_gate > 0 else ""


BUGS = (
    PlantedBug("B11", "a replica vouches for an order before its disk does", {"replica.orders:after_accept": acknowledge_before_sync},
               ("S20", "S11"), ("replica-power-loss", "swarm-storm"), "easy"),
    PlantedBug("B12", "a failed sync counts as a sync",
               {"sidecar.step:on_disk_failed": failed_sync_is_fine, "sidecar.proof:prove": prove_without_the_disk}, ("S11", "S4", "S20"),
               ("disk-fails-under-a-kill", "swarm-storm"), "medium"),
    PlantedBug("B13", "the stop waits for the disk", {"sidecar.step:learn_order": close_after_sync, "sidecar.step:on_durable": durable_then_close},
               ("S3", "S18", "L1", "S1"), ("swarm-storm",), "medium"),
    PlantedBug("B18", "the last order to be looked at is the one that counts", {"intent:in_force": last_writer_wins},
               ("S3", "S7", "S1", "L2"), ("isolate-then-soft", "swarm-storm"), "easy"),
    PlantedBug("B19", "every order is reported effective", {"replica.orders:tell_order": always_effective}, ("S20",), ("swarm-storm",), "easy"),
    PlantedBug("B21", "nothing stands between the check and the act: sinks let everything in", {"sink:refusal": lets_everything_in},
               ("S2",), ("paused-across-its-lease", "swarm-storm"), "medium"),
    PlantedBug("B22", "the effect comes before its intent", {"agent:intend": effect_before_intent}, ("S10",), ("swarm-storm",), "easy"),
    PlantedBug("B23", "upstream is told before the end is durable", {"agent:end": acknowledge_before_done}, ("S10",), ("swarm-storm",), "easy"),
    PlantedBug("B24", "a final checkpoint is spoken of before it exists", {"agent:begin_leaving": leave_without_checkpoint},
               ("S12", "S10"), ("soft-in-peace", "swarm-storm"), "easy"),
    PlantedBug("B25", "a stop is called clean whatever is in flight", {"sidecar.step:how_it_ended": clean_whatever_flies},
               ("S10", "S20"), ("quiesce-with-work-in-flight", "swarm-storm"), "medium"),
    PlantedBug("B26", "tenants are matched by prefix", {"intent:matches": tenants_by_prefix}, ("S14",), ("swarm-storm",), "easy"),
    PlantedBug("B43", "draining is reported as stopped", {"sidecar.proof:stage": drained_is_stopped}, ("S20", "S10"), ("soft-in-peace",), "easy"),
)  # fmt: skip
