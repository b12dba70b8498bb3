"""Planted bugs that nobody noticed when a stranger made them: old proofs, keys made anew, checkpoints off by one, records left out or doubled."""

from __future__ import annotations

from typing import Any

from harness.planted.bug import PlantedBug
from killswitch.core import agent as agents
from killswitch.core import audit, checkpoints, trust
from killswitch.core.agent import Agent
from killswitch.core.checkpoints import Checkpoint
from killswitch.core.events import Append, Record, Send, SetTimer, Signal, SignalKind, WriteCheckpoint
from killswitch.core.messages import NO_TOKEN, Evidence, Gate, Query, ResolveRequest, ResolveResult
from killswitch.core.outlet import parts, record
from killswitch.core.replica import orders as replica_orders
from killswitch.core.replica.state import Replica
from killswitch.core.sidecar import permits, recover
from killswitch.core.sidecar import state as sidecar_state
from killswitch.core.sidecar.state import Sidecar, send_replicas

_drain_over = sidecar_state.drain_over
_gate = sidecar_state.gate
_intend = agents.intend
_after_accept = replica_orders.after_accept
_fold_reaped = recover._fold_reaped
_on_resolve_request = permits.on_resolve_request
_on_resolve_result = agents.on_resolve_result


def stopped_once_is_stopped(state: Replica, agent: str, order: str) -> bool:
    return state.stopped.get(agent, NO_TOKEN) != NO_TOKEN


def prove_by_the_last_stop(state: Sidecar, order: str, reached: str, now_ns: int) -> None:
    token, _, checkpoint, in_doubt = state.last_stop
    evidence = Evidence(state.config.agent, token, order, reached, checkpoint, in_doubt)
    body = {"order": order, "stage": reached, "token": parts(token), "checkpoint": checkpoint, "in_doubt": in_doubt}
    lsn = record(state, "EVIDENCE", body, now_ns)
    signed = trust.sign_evidence(state.trust, state.config.node, evidence)
    state.awaiting[lsn] = ("evidence", signed)
    send_replicas(state, signed, after_lsn=lsn)


def prove_off_the_record(state: Sidecar, order: str, reached: str, now_ns: int) -> None:
    token, _, checkpoint, in_doubt = (state.token, "", state.checkpoint, ()) if state.process else state.last_stop
    signed = trust.sign_evidence(state.trust, state.config.node, Evidence(state.config.agent, token, order, reached, checkpoint, in_doubt))
    state.proved[order] = signed
    send_replicas(state, signed)


def drain_until_somebody_looks(state: Sidecar, now_ns: int) -> Gate:
    """Whoever kills at the deadline closes the gate then; why look at the clock twice."""
    stop_by_ns, state.stop_by_ns = state.stop_by_ns, None
    try:
        return _gate(state, now_ns)
    finally:
        state.stop_by_ns = stop_by_ns


def count_from_the_next(state: Agent, now_ns: int) -> None:
    if not state.checkpointing:
        state.checkpointing = True
        state.since_checkpoint = 0
        generation = checkpoints.next_generation(state.generation, state.whole_slot)
        body = checkpoints.seal(Checkpoint(generation, state.chain.seq + 1, state.ended, state.open))
        state.effects.append(WriteCheckpoint(generation, body))


def ask_nobody(state: Agent, now_ns: int) -> None:
    """The step has no result, so it is done again."""
    current = state.open[state.unresolved.pop(0)]
    current.key = ""
    state.phase = "idle"
    agents.go_on(state, now_ns)


def key_of_this_try(state: Agent, now_ns: int) -> None:
    """Each try has a key of its own, so that no two can be confused."""
    of_step, try_ = vars(agents)["key_of"], state.chain.seq
    vars(agents)["key_of"] = lambda task, step: of_step(f"{task}@{try_}", step)
    try:
        _intend(state, now_ns)
    finally:
        vars(agents)["key_of"] = of_step


def silence_means_no(state: Agent, message: ResolveResult, now_ns: int) -> None:
    status = "ABSENT" if message.status == "IN_DOUBT" else message.status
    _on_resolve_result(state, ResolveResult(message.key, status, message.result), now_ns)


def kill_off_the_record(state: Sidecar, now_ns: int) -> None:
    state.killing = True
    if now_ns >= state.next_kill_ns:
        state.next_kill_ns = now_ns + state.parameters.kill_retry_ns
        state.effects += [Signal(SignalKind.KILL), SetTimer("kill", state.next_kill_ns)]


def record_no_permits(state: Sidecar, now_ns: int) -> None:
    state.let_out = (0, bytes(32))


def decide_twice(state: Replica, order: str, now_ns: int) -> None:
    """Whoever watches an order puts down for whom."""
    _after_accept(state, order, now_ns)
    for each in [effect.record for effect in state.effects if isinstance(effect, Append) and effect.record.kind == "DECISION"]:
        record(state, "DECISION", audit.content(each), now_ns)


def in_doubt_no_more(state: Sidecar, entry: Record, body: dict[str, Any], now_ns: int) -> None:
    """That was before the restart."""
    _fold_reaped(state, entry, {**body, "in_doubt": ()}, now_ns)


def one_nonce_for_each_start(state: Sidecar, request: ResolveRequest, now_ns: int) -> None:
    """What an earlier start asked is told apart."""
    _on_resolve_request(state, request, now_ns)
    question = state.resolving.get(request.key)
    if question is not None:
        question.nonce = state.instance
        state.effects[-1] = Send(question.sink, Query(state.config.agent, request.key, question.nonce))


BUGS = (
    PlantedBug("B217", "a sidecar that restarted has forgotten what a stop left in doubt", {"sidecar.recover:_fold_reaped": in_doubt_no_more},
               ("S20",), ("swarm-storm", "clone-storm"), "medium"),
    PlantedBug("B218", "all questions of one start have one nonce", {"sidecar.permits:on_resolve_request": one_nonce_for_each_start}, ("S10",),
               ("in-doubt-until-the-sink-is-back", "swarm-storm"), "easy"),
    PlantedBug("B101", "an agent that was once proven stopped counts as stopped ever after", {"replica.state:is_stopped": stopped_once_is_stopped},
               ("L3",), ("stopped-resumed-and-stopped-again",), "easy"),
    PlantedBug("B102", "a proof names the start that was reaped last, whatever has started since", {"sidecar.proof:prove": prove_by_the_last_stop},
               ("S20",), ("stopped-resumed-and-stopped-again", "swarm-storm"), "easy"),
    PlantedBug("B103", "the gate does not look at the drain deadline: who kills will close it", {"sidecar.state:gate": drain_until_somebody_looks},
               ("S3",), ("asleep-past-its-drain",), "medium"),
    PlantedBug("B104", "a checkpoint counts one record too many", {"agent:write_checkpoint": count_from_the_next}, ("S12", "S15"),
               ("agent-dies-mid-checkpoint", "swarm-storm"), "easy"),
    PlantedBug("B105", "a step without a result is done again, under a key of its own",
               {"agent:resolve_next": ask_nobody, "agent:intend": key_of_this_try}, ("S9",), ("agent-dies-mid-checkpoint", "swarm-storm"), "easy"),
    PlantedBug("B106", "what nobody can say did not take place", {"agent:on_resolve_result": silence_means_no}, ("S10",),
               ("quiesce-with-work-in-flight", "swarm-storm"), "easy"),
    PlantedBug("B107", "proofs leave without a record", {"sidecar.proof:prove": prove_off_the_record}, ("S15", "S11"), ("swarm-storm",), "easy"),
    PlantedBug("B108", "kills are not put on record", {"sidecar.step:kill": kill_off_the_record}, ("S15",), ("swarm-storm",), "easy"),
    PlantedBug("B109", "effects that leave are not put on record", {"sidecar.permits:put_on_record": record_no_permits}, ("S15",),
               ("kill-with-effects-in-flight", "swarm-storm"), "easy"),
    PlantedBug("B110", "a ruling is put on record twice", {"replica.orders:after_accept": decide_twice}, ("S15",), ("swarm-storm",), "easy"),
)  # fmt: skip
