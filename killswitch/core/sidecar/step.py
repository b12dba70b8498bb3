"""The sidecar's step: one input in, its effects out (protocol 3.6, 3.10).

Owns learning, the process's life, and the order of things within a step. After every input the same `settle` looks at the facts and
does whatever they call for, so that no path can forget to.

    stop = act, persist, ack: an order changes the gate in memory in the step that receives it, before its record is appended.
    go = persist, act, ack: a certificate, a token, a start act only when `Durable` covers their record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import structs

from killswitch.core.certificates import ResumeCertificate
from killswitch.core.heads import Cosigned, ForkProof
from killswitch.core.keychanges import KeysetNews
from killswitch.core import attempts, boot, checkpoints, drift, intent, keysets, leases, publication, traffic, trust
from killswitch.core.events import (
    Boot, DiskFailed, DiskFreed, DiskFull, Durable, Effect, Input, ProcessExited, Receive, SetTimer, Signal, SignalKind, Timer,
)  # fmt: skip
from killswitch.core.intent import KnownCertificate, KnownOrder
from killswitch.core.messages import (
    COUNTER_MAX, NO_TOKEN, ApplyResult, Challenge, EffectRequest, Evidence, FenceAck, Gate, LeaseReply, Life, Order, OrderPush, QueryResult,
    ResolveRequest, StartReply, StopRequest, Token, UnknownProhibition,
)  # fmt: skip
from killswitch.core.outlet import observe, parts, record, send
from killswitch.core.sidecar import floors, permits, proof, recover, returns, standby, starts
from killswitch.core.sidecar import state as sidecar
from killswitch.core.sidecar.state import NEVER, Sidecar, Standing, agent_node


def step(state: Sidecar, event: Input, now_ns: int) -> list[Effect]:
    """Take one input at ``now_ns`` on the sidecar's clock. Total, deterministic."""
    state.effects = []
    handler = _HANDLERS.get(type(event))
    if handler is not None and (state.booted or type(event) is Boot):
        handler(state, event, now_ns)
        settle(state, now_ns)
    return state.effects


# -- learning --------------------------------------------------------------------------------------------------------------------------


def learn(state: Sidecar, orders: tuple[Order, ...], certificates: tuple[ResumeCertificate, ...], sender: str, now_ns: int) -> bool:
    """Take in what arrived; idempotent, and indifferent to its order (S5). Whether every order in it was believed."""
    doubted = [order for order in orders if not learn_order(state, order, now_ns)]
    for order in doubted:
        floors.withhold(state, order, sender, now_ns)
    for certificate in certificates:
        learn_certificate(state, certificate, now_ns)
    return not doubted


def learn_order(state: Sidecar, order: Order, now_ns: int) -> bool:
    """Act first: by the time this returns, nothing that the order forbids can leave. False if it is not to be believed."""
    identity = intent.content_id(order.raw)
    if identity not in state.intent.orders and attempts.puts_off(state, order, "", now_ns):
        return attempts.is_quarantined(state, identity)
    return read_order(state, order, identity, now_ns)


def read_order(state: Sidecar, order: Order, identity: str, now_ns: int) -> bool:
    """Verify an order and do what it says, in one step."""
    known = state.intent.orders.get(identity) or trust.read_order(state.trust, order)
    if known is None:
        observe(state, "order-rejected", why="not authentic", sender=order.signer)
    concerned = known is not None and intent.matches(known.body.tenant, known.body.scope, state.identity)
    attempts.outlived(state, identity, now_ns, on_record=concerned)
    if known is None or not concerned:
        return known is not None
    start_grace(state, known, now_ns)
    if not intent.add_order(state.intent, known):
        return True
    permits.abort_forbidden(state, now_ns)
    body = {"raw": order.raw, "signer": order.signer, "signature": order.signature, "deadline": state.deadlines.get(known.id)}
    record(state, "ORDER_LEARNED", body, now_ns)
    return True


def start_grace(state: Sidecar, known: KnownOrder, now_ns: int) -> None:
    """A stop's grace runs from when it was first learned. Hearing of it again changes nothing (S18)."""
    if known.severity.life is Life.STOP and known.id not in state.deadlines:
        set_deadline(state, known.id, now_ns + leases.time_to_stop_ns(known, state.parameters))


def set_deadline(state: Sidecar, order: str, deadline_ns: int) -> None:
    state.deadlines[order] = deadline_ns
    observe(state, "drain-deadline", agent=state.config.agent, order=order, deadline_ns=deadline_ns, boot=state.boot)


def learn_certificate(state: Sidecar, certificate: ResumeCertificate, now_ns: int) -> None:
    """A permission: verified here again, whoever handed it on, and without force until it is durable. Without room for it it comes again."""
    if state.disk_full or intent.content_id(certificate.raw) in state.intent.certificates:
        return
    known = trust.read_certificate(state.trust, certificate)
    if known is None:
        observe(state, "certificate-rejected", why="not enough valid approvals", sender="")
        return
    intent.add_certificate(state.intent, known)
    approvals = [[approval.approver, approval.signature] for approval in certificate.approvals]
    state.awaiting[record(state, "CERT_ACCEPTED", {"raw": certificate.raw, "approvals": approvals}, now_ns)] = ("certificate", known)


def on_durable(state: Sidecar, event: Durable, now_ns: int) -> None:
    """What waited for its record may happen now."""
    state.chain.made_durable(event.lsn)
    for lsn in [lsn for lsn in state.awaiting if lsn <= event.lsn]:
        kind, subject = state.awaiting.pop(lsn)
        if kind == "certificate" and isinstance(subject, KnownCertificate):
            intent.put_in_force(state.intent, subject.id)
            proof.forget_lifted(state)
            floors.release(state)
        elif kind == "token" and isinstance(subject, Token):
            starts.open_token(state, subject, now_ns)
        elif kind == "spawn" and isinstance(subject, Token):
            starts.spawn(state, subject)
        elif kind == "evidence" and isinstance(subject, Evidence):
            state.proved[subject.order] = subject
        elif kind == "attempt" and isinstance(subject, str):
            read_order(state, state.attempts.waiting.pop(subject)[0], subject, now_ns)


def on_disk_failed(state: Sidecar, event: DiskFailed, now_ns: int) -> None:
    """What is not durable never will be: stay closed, go on enforcing, prove nothing (protocol 3.6)."""
    state.disk_failed = True
    state.awaiting.clear()
    for identity, (order, _) in state.attempts.waiting.items():  # a mark that no disk takes is not worth waiting for
        read_order(state, order, identity, now_ns)
    state.attempts.waiting.clear()
    state.attempts.cautious = False
    state.spawning = False
    state.opening = False


def on_disk_full(state: Sidecar, event: DiskFull, now_ns: int) -> None:
    """Nothing is lost, so nothing is given up: permissions wait for room, prohibitions have the reserve, and acting on them needs none."""
    state.disk_full = True


def on_disk_freed(state: Sidecar, event: DiskFreed, now_ns: int) -> None:
    state.disk_full = False


# -- messages --------------------------------------------------------------------------------------------------------------------------


def on_receive(state: Sidecar, event: Receive, now_ns: int) -> None:
    """One message. What somebody may say follows from who it is: the agent, a replica, a sink speaking for itself.

    Orders and changes of the keyset prove themselves, so they are taken from anybody. Certificates prove everything but that they were handed in in
    time, which a replica saw to.
    """
    message, sender = event.message, event.sender
    if sender == agent_node(state):
        on_agent(state, message, now_ns)
    elif isinstance(message, OrderPush):
        learn(state, message.orders, sidecar.vouched_for(state, message, sender), sender, now_ns)
    elif isinstance(message, KeysetNews):
        on_keyset_news(state, message, now_ns)
    elif sender in sidecar.granters(state):
        on_replica(state, message, sender, now_ns)
    elif sender in state.config.sinks:
        on_sink(state, message, sender, now_ns)


def on_replica(state: Sidecar, message: object, sender: str, now_ns: int) -> None:
    """Whatever carries orders is learned first; a replica grants only in its own name."""
    if isinstance(message, LeaseReply | StartReply):
        if not learn(state, message.orders, message.certificates, sender, now_ns):
            message = structs.replace(message, complete=False)  # what cannot be believed may forbid: no permission counts on top of it
        elif state.floors.held and message.complete and isinstance(message, LeaseReply) and message.nonce in state.rounds:
            floors.heard_in_full(state, sender, state.rounds[message.nonce].sent_ns)
        if not sidecar.counts_for(state, message, sender):
            return
        if isinstance(message, LeaseReply):
            returns.hand_back(state, message)
            starts.on_lease_reply(state, message, now_ns)
        else:
            starts.on_start_reply(state, message, now_ns)
    elif isinstance(message, Cosigned):
        publication.on_cosigned(state, message, sender, now_ns)
    elif isinstance(message, ForkProof):
        on_fork_proof(state, message, now_ns)
    elif isinstance(message, UnknownProhibition):
        floors.on_unknown(state, message, sender, now_ns)


def on_keyset_news(state: Sidecar, message: KeysetNews, now_ns: int) -> None:
    """What only a later keyset could verify is verified in the step in which that arrives: a floor and the order behind it leave no gap."""
    if keysets.learn(state, message, now_ns):
        for order, sender in floors.hand_back(state):
            learn(state, (order,), (), sender, now_ns)


def on_fork_proof(state: Sidecar, proof: ForkProof, now_ns: int) -> None:
    """Whoever keeps two logs may have granted in both: no more of its grants counts, nor those in rounds that are under way."""
    if publication.learn_fork(state, proof, now_ns):
        origin = proof.first.origin
        for round_ in state.rounds.values():
            round_.grants.pop(origin, None)
        state.ready = tuple(replica for replica in state.ready if replica != origin)


def on_sink(state: Sidecar, message: object, sender: str, now_ns: int) -> None:
    if not sidecar.is_its_own(message, sender):
        return
    if isinstance(message, ApplyResult):
        permits.on_apply_result(state, message)
    elif isinstance(message, Challenge):
        permits.on_challenge(state, message, now_ns)
    elif isinstance(message, QueryResult):
        permits.on_query_result(state, message)
    elif isinstance(message, FenceAck):
        starts.on_fence_ack(state, message, now_ns)


def on_agent(state: Sidecar, message: object, now_ns: int) -> None:
    if isinstance(message, EffectRequest):
        permits.on_effect_request(state, message, now_ns)
    elif isinstance(message, ResolveRequest):
        permits.on_resolve_request(state, message, now_ns)


# -- the agent's process ----------------------------------------------------------------------------------------------------------------


def drive_process(state: Sidecar, now_ns: int) -> None:
    """Ask, insist, kill: whatever the orders in force and the clock call for."""
    if not state.process:
        return
    life = sidecar.ordered(state).life
    stop_by = stop_deadline(state)
    if stop_by is not None and (state.stop_by_ns is None or stop_by < state.stop_by_ns):
        state.stop_by_ns = stop_by  # kept when the order is lifted: who was asked to stop, stops
        state.effects.append(SetTimer("grace", stop_by))
    if life is Life.KILL or state.killing or ((state.stopping or life is Life.STOP) and sidecar.drain_over(state, now_ns)):
        kill(state, now_ns)
    elif (life is Life.STOP or state.outdated) and not state.stopping:
        ask_to_stop(state, now_ns)
    elif state.stopping and state.stop_drain and sidecar.gate(state, now_ns) is Gate.CLOSED:
        state.stop_drain = False
        request_stop(state)


def stop_deadline(state: Sidecar) -> int | None:
    """The earliest end of grace of any stop in force."""
    if not state.deadlines:
        return None
    uncovered = intent.view(state.intent, state.identity).uncovered
    ends = [state.deadlines[known.id] for known in uncovered if known.id in state.deadlines]
    return min(ends, default=None)


def ask_to_stop(state: Sidecar, now_ns: int) -> None:
    """TERM once for each token: a second soft order changes the deadline, and the cleanup, at most (S28). A process that something stopped would not
    hear it."""
    state.stopping = True
    state.stop_drain = sidecar.gate(state, now_ns) is not Gate.CLOSED
    if state.stop_by_ns is None:  # neither a floor that could not be read nor a fence says how long a stop may take
        state.stop_by_ns = now_ns + state.parameters.stop_timeout_ns
        state.effects.append(SetTimer("grace", state.stop_by_ns))
    state.effects += [Signal(SignalKind.CONT), Signal(SignalKind.TERM)]
    request_stop(state)
    record(state, "PROC_TERM", {"token": parts(state.token)}, now_ns)


def remind(state: Sidecar) -> None:
    """Ask again with each heartbeat: a process that was still starting up has not heard the first time."""
    if state.stopping and not state.killing:
        request_stop(state)


def request_stop(state: Sidecar) -> None:
    """What the orders in force want of work that is begun: that it is finished, or undone. Behind a closed gate neither is possible."""
    uncovered = intent.view(state.intent, state.identity).uncovered
    compensate = any(known.body.cleanup == intent.COMPENSATE and known.severity.life is Life.STOP for known in uncovered)
    send(state, agent_node(state), StopRequest(state.stop_drain, state.stop_drain and compensate))


def kill(state: Sidecar, now_ns: int) -> None:
    """SIGKILL, again at each retry until the whole tree is reaped. Two retries are more than it should take: then that is said (L2)."""
    if not state.killing:
        state.killing = True
        state.kill_by_ns = now_ns + 2 * state.parameters.kill_retry_ns
        record(state, "PROC_KILL", {"token": parts(state.token)}, now_ns)
    if now_ns >= state.next_kill_ns:
        state.next_kill_ns = now_ns + state.parameters.kill_retry_ns
        state.effects.append(Signal(SignalKind.KILL))
        state.effects.append(SetTimer("kill", state.next_kill_ns))


def cannot_end(state: Sidecar, now_ns: int) -> bool:
    """Whether a process tree outlives its kill by more than two retries."""
    return (state.killing or state.reaping) and now_ns >= state.kill_by_ns


def on_process_exited(state: Sidecar, event: ProcessExited, now_ns: int) -> None:
    """Reaped. What is left to say is whether it ended cleanly: by itself, nothing in flight, all of it in a durable checkpoint."""
    orphaned = state.reaping and state.last_stop[0] != state.token  # an earlier instance started it, and never saw its end
    if state.process or orphaned:
        clean, in_doubt = how_it_ended(state, event)
        kept = checkpoints.choose(event.checkpoints, COUNTER_MAX)
        state.checkpoint = state.checkpoint if kept is None else max(state.checkpoint, kept.generation)
        body = {"token": parts(state.token), "code": event.code, "signalled": event.signalled, "clean": clean}
        record(state, "PROC_REAPED", {**body, "checkpoint": state.checkpoint, "in_doubt": in_doubt}, now_ns)
        state.last_stop = (state.token, "STOPPED_CLEAN" if clean else "STOPPED_FORCED", state.checkpoint, in_doubt)
        state.restart_after_ns = max(state.restart_after_ns, now_ns + state.parameters.renew_ns)
    state.reaping = False
    if state.process:
        forget_process(state)


def how_it_ended(state: Sidecar, event: ProcessExited) -> tuple[bool, tuple[str, ...]]:
    """Whether the stop was clean, and the tasks that are in doubt: by what left here and was never answered, and by the checkpoint that the
    process is found to have left, which has to be its own and to know of the last effect that took place: an earlier start's knows nothing of what
    that start did after it. What the agent says of itself counts for nothing.
    """
    for permit in state.permits.values():
        if permit.sent:
            permits.doubt(state, permit)
    left = set(state.doubtful.values())
    kept = checkpoints.choose(event.checkpoints, COUNTER_MAX)
    if state.reaping:  # an orphan: nobody saw how it ended, nor what it had asked for last
        return False, tuple(sorted(kept.open)) if kept else ()
    if event.code != 0 or event.signalled or kept is None:
        return False, tuple(sorted(left))
    left.update(kept.open)
    if state.last_applied and state.last_applied not in kept.ended:
        left.add(state.last_applied)
    return not left and kept.generation > state.checkpoint, tuple(sorted(left))


def forget_process(state: Sidecar) -> None:
    state.process = state.stopping = state.stop_drain = state.killing = state.outdated = False
    state.shut_out_ns = state.stop_by_ns = None
    state.last_applied = ""
    state.next_kill_ns = NEVER
    state.permits.clear()
    state.answered.clear()
    state.resolving.clear()
    state.standing = Standing()
    state.effects.append(SetTimer("grace", None))
    starts.drop_lease(state)


# -- after every input -------------------------------------------------------------------------------------------------------------------


def settle(state: Sidecar, now_ns: int) -> None:
    """Do what the facts call for now, and tell what changed."""
    if standby.over(state, now_ns):
        learn_order(state, standby.local_stop(state), now_ns)
    drive_process(state, now_ns)
    state.kill_failed = cannot_end(state, now_ns)
    starts.spawn_when_ready(state, now_ns)
    gate = sidecar.gate(state, now_ns)
    mode = sidecar.mode(state, gate)
    if (gate, mode) != state.told:
        opened = gate < state.told[0]
        state.told = (gate, mode)
        permits.put_on_record(state, now_ns)
        record(state, "GATE_CHANGE", {"gate": int(gate), "mode": mode, "token": parts(state.token)}, now_ns)
        observe(state, "gate-changed", agent=state.config.agent, token=parts(state.token), gate=gate.name, mode=mode)
        if opened:
            permits.announce_gate(state, gate)
    if mode == "STANDBY" or state.standing.since_ns is not None:
        standby.follow(state, mode, now_ns)  # with each step: an order that comes or goes changes why it stands by, and not the mode
    if state.intent.orders:
        proof.gather(state, gate, now_ns)
    if state.intent.version != state.seen_version:
        state.seen_version = state.intent.version
        show_intent(state)


def show_intent(state: Sidecar) -> None:
    severity = intent.view(state.intent, state.identity).severity
    observe(
        state, "intent", digest=intent.digest(state.intent), orders=sorted(state.intent.orders), certificates=sorted(state.intent.in_force),
        gate=severity.gate.name, life=severity.life.name,
    )  # fmt: skip


# -- boot --------------------------------------------------------------------------------------------------------------------------------


def on_boot(state: Sidecar, event: Boot, now_ns: int) -> None:
    """Fold the log. Leases and permits are never recovered: boot is always closed (S23). Orphans are reaped before anything starts."""
    recovery = boot.recover(state, event)
    state.chain.keep_hashes(recovery.records)
    state.boot, state.instance = event.boot, event.instance
    foreign = boot.fold_all(state, recovery.records, recover.fold, now_ns)
    if boot.is_cut(event, recovery):
        state.last_stop = (NO_TOKEN, *state.last_stop[1:])  # what was cut off may have been a start: nothing is proven stopped until it is reaped
    state.lease_until_ns = recover.recovered_lease(recovery.records)
    observe(state, "intent-recovered", orders=sorted(state.intent.orders), certificates=sorted(state.intent.in_force))
    for order, deadline_ns in sorted(state.deadlines.items()):
        set_deadline(state, order, deadline_ns)
    state.attempts.cautious = bool(recovery.records)
    boot.note(state, event, recovery, now_ns, foreign)
    if foreign:
        floors.demand(state, "its own log", intent.ISOLATE, "", "records that nobody here understands may forbid anything", now_ns)
    for order in attempts.quarantine(state, now_ns):
        floors.quarantine(state, order, now_ns)
    state.reaping = True
    state.kill_by_ns = now_ns + 2 * state.parameters.kill_retry_ns
    state.effects += [Signal(SignalKind.REAP_ORPHANS), SetTimer("kill", state.kill_by_ns)]
    starts.renew(state, now_ns)
    # From here on at its own time of the interval: a fleet that was started at once does not ask in step for ever.
    state.effects.append(SetTimer("renew", now_ns + traffic.pause_ns(0, state.parameters.renew_ns, f"{state.config.node}/{state.instance}")))


# -- timers ------------------------------------------------------------------------------------------------------------------------------


def on_timer(state: Sidecar, event: Timer, now_ns: int) -> None:
    if event.name == "renew":
        drift.trust_again(state, now_ns)
        starts.renew(state, now_ns)
        remind(state)
        standby.tell(state)
        publication.publish(state, state.config.replicas, now_ns)
        state.effects.append(SetTimer("renew", now_ns + state.parameters.renew_ns))
    elif event.name == "lease":
        starts.on_lease_timer(state, now_ns)
    elif event.name == "permits":
        permits.on_permit_timer(state, now_ns)
    # "grace", "kill" and "standby" only wake the sidecar: `settle` sees by the clock what is due


_HANDLERS: dict[type, Callable[[Sidecar, Any, int], None]] = {
    Receive: on_receive,
    Timer: on_timer,
    Durable: on_durable,
    DiskFailed: on_disk_failed,
    DiskFull: on_disk_full,
    DiskFreed: on_disk_freed,
    ProcessExited: on_process_exited,
    Boot: on_boot,
}
