"""What a sidecar can prove about each order in force, and to whom (protocol 3.4 Evidence, S20).

Owns the stages of evidence. Proofs come from the sidecar's own facts, never from what the agent says of itself, and leave only
once they are durable. A proof is bound to the token it speaks of.
"""

from __future__ import annotations

from killswitch.core import intent, trust
from killswitch.core.messages import Evidence, Gate, Life, Token
from killswitch.core.outlet import parts, record
from killswitch.core.sidecar.state import Sidecar, send_replicas


def stage(state: Sidecar, severity: intent.Severity, at_gate: Gate) -> str:
    """The strongest thing that can be proven for an order of this severity now; empty if nothing yet.

    An order that leaves the process alive is never shown as stopped, even when the process happens to be gone.
    """
    if state.kill_failed and severity.life is not Life.ALIVE:
        return "KILL_FAILED"
    if state.reaping or state.spawning:
        return ""
    if state.process:
        if severity.gate is Gate.DRAIN:
            return "DRAINING" if at_gate is not Gate.OPEN else ""
        return "GATE_CLOSED" if at_gate is Gate.CLOSED else ""
    return "GATE_CLOSED" if severity.life is Life.ALIVE else state.last_stop[1]


def subject(state: Sidecar) -> tuple[Token, str, int, tuple[str, ...]]:
    """What a proof speaks of: the process that is there, be it an orphan that will not die, or else how the last one was left."""
    return (state.token, "", state.checkpoint, ()) if state.process or state.reaping else state.last_stop


def gather(state: Sidecar, at_gate: Gate, now_ns: int) -> None:
    """Put on record, and send once durable, whatever became provable since the last look."""
    if state.disk_failed:
        return
    for known in intent.view(state.intent, state.identity).uncovered:
        reached = stage(state, known.severity, at_gate)
        token = subject(state)[0]
        mark = f"{reached} {token.counter}"
        if reached and state.evidence_told.get(known.id) != mark:
            state.evidence_told[known.id] = mark
            prove(state, known.id, reached, now_ns)


def prove(state: Sidecar, order: str, reached: str, now_ns: int) -> None:
    token, _, checkpoint, in_doubt = subject(state)
    evidence = Evidence(state.config.agent, token, order, reached, checkpoint, in_doubt)
    body = {"order": order, "stage": reached, "token": parts(token), "checkpoint": checkpoint, "in_doubt": in_doubt}
    lsn = record(state, "EVIDENCE", body, now_ns)
    signed = trust.sign_evidence(state.trust, state.config.node, evidence)
    state.awaiting[lsn] = ("evidence", signed)
    send_replicas(state, signed, after_lsn=lsn)


def forget_lifted(state: Sidecar) -> None:
    """Proofs of orders that were lifted are of no more use to anybody but the audit trail."""
    for order in [order for order in state.proved if order in state.intent.lifted]:
        del state.proved[order]
