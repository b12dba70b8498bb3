"""What each record that a node appends means in the history's vocabulary: one mapping for both drivers, apart from inputs and sends (``observe``).

Owns the reading of records. Knows the core's records, and of whoever observes a node only what it takes to tell of one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from harness.shared.judge import Judge
from harness.shared.rulings import Rulings
from killswitch.core.audit import COSIG
from killswitch.core.certificates import ResumeBody, ResumeSubmit
from killswitch.core.events import Record
from killswitch.core.heads import Sth
from killswitch.core.keychanges import KeyChange
from killswitch.core.messages import OrderBody


class Observing(Protocol):
    """Who observes ``node``. ``agent``: whom a sidecar guards, or an agent is; ``revoked``: the keys that the node's keyset revokes."""

    node: str
    agent: str
    judge: Judge

    @property
    def rulings(self) -> Rulings: ...

    revoked: frozenset[str]

    def emit(self, kind: str, body: dict[str, Any]) -> None:
        """Record a fact of this moment."""
        ...

    def hold_against(self, head: Sth) -> None:
        """Tell of a head that another one, which this start knows, contradicts."""
        ...

    def once_durable(self, lsn: int, kind: str, body: dict[str, Any], *, sends: bool = False) -> None:
        """Record a fact as soon as ``lsn`` is durable."""
        ...


def on_order(node: Observing, lsn: int, body: dict[str, Any]) -> None:
    order = hashlib.sha256(body["raw"]).hexdigest()
    content = msgspec.msgpack.decode(body["raw"], type=OrderBody)
    authentic = node.judge.order(body["raw"], body["signer"], body["signature"])
    scope = [content.scope.kind, content.scope.value]
    fields = {"order": order, "tenant": content.tenant, "scope": scope, "gate": content.gate, "life": content.life, "grace_ns": content.grace_ns}
    why = {"reason": content.reason, "cleanup": content.cleanup}
    who = {"issuer": content.issuer, "signer": body["signer"], "parent": content.parent, "authentic": authentic}
    ruling = content.decision
    decided = [ruling.policy_seq, ruling.policy_hash, ruling.input_hash]
    node.emit("order-learned", {**fields, **why, **who, "decided": decided})
    node.once_durable(lsn, "order-durable", {"order": order})


def is_known(record: Record) -> bool:
    """Whether a record of an order holds one in a form that is known here. What other records hold nobody has to know."""
    if record.kind not in ("ORDER_ACCEPTED", "ORDER_LEARNED"):
        return True
    try:
        return bool(msgspec.msgpack.decode(msgspec.msgpack.decode(record.body)["raw"], type=OrderBody))
    except (msgspec.DecodeError, KeyError, TypeError):
        return False


def on_certificate(node: Observing, lsn: int, body: dict[str, Any]) -> None:
    content = msgspec.msgpack.decode(body["raw"], type=ResumeBody)
    fields = resumes(node, body["raw"], content, [(approver, signature) for approver, signature in body["approvals"]])
    node.emit("certificate-learned", fields)
    node.once_durable(lsn, "certificate-durable", {name: fields[name] for name in ("certificate", "covers")})


def resumes(node: Observing, raw: bytes, content: ResumeBody, approvals: list[tuple[str, bytes]]) -> dict[str, Any]:
    """What a certificate says, and whether it is to be believed at this node."""
    approvers = sorted({approver for approver, _ in approvals} - {content.requester})
    authentic = node.judge.certificate(raw, approvals, node.revoked)
    whom = {"tenant": content.tenant, "scope": [content.scope.kind, content.scope.value], "policy_seq": content.decision.policy_seq}
    return {"certificate": hashlib.sha256(raw).hexdigest(), "covers": list(content.covers), "approvers": approvers, "authentic": authentic, **whom}


def on_handed_in(node: Observing, message: ResumeSubmit) -> None:
    """No record, yet the same reading of what a record holds once it is let in."""
    certificate = message.certificate
    with suppress(msgspec.DecodeError, ValueError):  # what nobody can read asks for nothing
        content = msgspec.msgpack.decode(certificate.raw, type=ResumeBody)
        approvals = [(each.approver, each.signature) for each in certificate.approvals]
        fields = resumes(node, certificate.raw, content, approvals)
        fields["approvers"] = sorted(node.judge.approvers(certificate.raw, content, approvals, node.revoked))
        ends = [[end.replica, end.boot, end.clock_ns] for end in content.ends]
        node.emit("resume-handed-in", {"request": message.request, **fields, "ends": ends})


def on_keyset(node: Observing, _lsn: int, body: dict[str, Any]) -> None:
    authentic = node.judge.keyset(body["raw"], [(root, signature) for root, signature in body["signatures"]])
    change = msgspec.msgpack.decode(body["raw"], type=KeyChange)
    node.revoked |= set(change.revokes)
    fields = {"version": change.version, "authentic": authentic, "revoked": sorted(change.revokes), "rotated": sorted(change.rotates)}
    node.emit("keyset-installed", fields)


def on_policy(node: Observing, _lsn: int, body: dict[str, Any]) -> None:
    bundle = node.rulings.install(body["raw"])
    policy = hashlib.sha256(bundle.text.encode()).hexdigest()
    authentic = node.judge.policy(body["raw"], body["signer"], body["signature"], "policy", node.revoked)
    fields = {"policy": policy, "parent": bundle.parent, "tests": bundle.tests, "author": bundle.author, "authentic": authentic}
    node.emit("policy-installed", fields)


def on_rollout(node: Observing, lsn: int, body: dict[str, Any]) -> None:
    rollout = node.rulings.roll_out(body["raw"])
    fields = {"record": hashlib.sha256(body["raw"]).hexdigest(), "seq": rollout.seq, "parent": rollout.parent, "stage": rollout.stage}
    policies = {"stable": rollout.stable, "canary": rollout.canary, "former": rollout.former}
    trial = {"percent": rollout.percent, "guard": rollout.guard}
    authentic = node.judge.policy(body["raw"], body["signer"], body["signature"], "rollout", node.revoked)
    node.once_durable(lsn, "rollout-durable", {**fields, **policies, **trial, "request": rollout.request, "authentic": authentic})


def on_decision(node: Observing, _lsn: int, body: dict[str, Any]) -> None:
    facts, (seq, policy, input_hash, _, canary, raised) = body["facts"], body["decision"]
    why = node.rulings.objection(body)
    what = {"request": body["request"], "action": facts["action"], "tenant": body["tenant"], "order": body["order"]}
    under = {"seq": seq, "policy": policy, "canary": canary, "input": input_hash, "requested": [facts["gate"], facts["life"], facts["grace_ns"]]}
    differs = body["candidate"] not in (None, body["stable"])
    signed = body.get("countersigned") or {"raw": b"", "signatures": []}
    askers = node.judge.askers(signed["raw"], [tuple(each) for each in signed["signatures"]], facts, node.revoked)
    outcome = {"stable": body["stable"], "ruling": body["ruling"], "raised": raised, "differs": differs, "replayed": not why, "why": why}
    node.emit("decision", {**what, **under, **outcome, "asking": facts["asking"], "askers": askers, "may": node.judge.may_ask(facts, node.revoked)})


def on_gate(node: Observing, _lsn: int, body: dict[str, Any]) -> None:
    node.emit("gate-recorded", {"agent": node.agent, "gate": ("OPEN", "DRAIN", "CLOSED")[body["gate"]], "mode": body["mode"]})


def on_proof(node: Observing, lsn: int, body: dict[str, Any]) -> None:
    fields = {"agent": node.agent or body["agent"], "token": body["token"], "order": body["order"], "stage": body["stage"]}
    if node.agent:
        node.emit("evidence-recorded", fields)
        if body["stage"].startswith("STOPPED"):
            name_doubts(node, body, body["stage"])
        node.once_durable(lsn, "evidence-durable", fields)
    else:  # a replica records the proofs that it has been given under the same name
        node.emit("evidence-taken", fields)


def on_reaped(node: Observing, _lsn: int, body: dict[str, Any]) -> None:
    node.emit("process-recorded", {"agent": node.agent, "token": body["token"], "what": "REAPED"})
    name_doubts(node, body, "REAPED")


def name_doubts(node: Observing, body: dict[str, Any], what: str) -> None:
    node.emit("doubts-named", {"agent": node.agent, "token": body["token"], "what": what, "in_doubt": list(body["in_doubt"])})


def on_start_record(node: Observing, lsn: int, body: dict[str, Any]) -> None:
    node.once_durable(lsn, "process-recorded", {"agent": node.agent, "token": body["token"], "what": "START"})


def on_permits(node: Observing, _lsn: int, body: dict[str, Any]) -> None:
    fields = {"agent": node.agent, "token": body["token"], "count": body["count"], "root": body["root"].hex()}
    node.emit("permits-recorded", fields)


def on_promise(node: Observing, lsn: int, body: dict[str, Any]) -> None:
    node.once_durable(lsn, "token-promised", {"agent": body["agent"], "token": body["token"]})


def on_intent(node: Observing, lsn: int, body: dict[str, Any]) -> None:
    fields = {"agent": node.agent, "task": body["task"][0], "step": body["step"], "key": body["key"]}
    node.emit("task-intent", fields)
    node.once_durable(lsn, "task-intent-durable", fields)


def on_result(node: Observing, _lsn: int, body: dict[str, Any]) -> None:
    node.emit("task-result", {"agent": node.agent, "task": body["task"], "step": body["step"], "key": body["key"], "status": "APPLIED"})


def on_done(node: Observing, lsn: int, body: dict[str, Any]) -> None:
    node.emit("task-done", {"agent": node.agent, "task": body["task"]})
    node.once_durable(lsn, "task-done-durable", {"agent": node.agent, "task": body["task"]})


def on_applied(node: Observing, lsn: int, body: dict[str, Any]) -> None:
    fields = {key: value for key, value in body.items() if key != "payload"}
    node.once_durable(lsn, "effect-applied", {"sink": node.node, **fields})


def on_rejected(node: Observing, _lsn: int, body: dict[str, Any]) -> None:
    node.emit("effect-rejected", {"sink": node.node, **body})


def on_fence(node: Observing, lsn: int, body: dict[str, Any]) -> None:
    fields = {"sink": node.node, "agent": body["agent"], "min_token": body["token"], "order": body["order"]}
    node.once_durable(lsn, "fence-durable", fields)


def on_cosig(node: Observing, lsn: int, body: dict[str, Any]) -> None:
    for origin, size, root, previous, signature, _ in body["heads"]:
        node.hold_against(Sth(origin, size, root, previous, signature))
        node.once_durable(lsn, "sth-cosigned", {"origin": origin, "size": size, "root": root.hex(), "witness": node.node})


def on_fork(node: Observing, lsn: int, body: dict[str, Any]) -> None:
    node.emit("fork-proven", {"origin": body["first"][0], "first": body["first"][1], "second": body["second"][1]})
    node.once_durable(lsn, "fork-durable", {"origin": body["first"][0]})


def on_joined(node: Observing, lsn: int, body: dict[str, Any]) -> None:
    """What its peers had promised is promised by it, too."""
    for agent, token in body["taught"].items():
        node.once_durable(lsn, "token-promised", {"agent": agent, "token": token})


def on_log_cut(node: Observing, _lsn: int, body: dict[str, Any]) -> None:
    node.emit("log-cut", {"records": body["records"], "why": body["why"]})


def _told(kind: str, *fields: str, **more: str) -> Callable[[Observing, int, dict[str, Any]], None]:
    """What a record is that tells of the node's agent as soon as it is appended: these fields of it, and some that the kind of record says."""

    def on_record(node: Observing, _lsn: int, body: dict[str, Any]) -> None:
        node.emit(kind, {"agent": node.agent, **{field: body[field] for field in fields}, **more})

    return on_record


RECORDS: dict[str, Callable[[Observing, int, dict[str, Any]], None]] = {
    "ORDER_ACCEPTED": on_order,
    "ORDER_LEARNED": on_order,
    "ATTEMPT": _told("order-deferred", "order"),
    "ATTEMPT_OVER": _told("attempt-over", "order"),
    "CERT_ACCEPTED": on_certificate,
    "KEYSET": on_keyset,
    "GATE_CHANGE": on_gate,
    "EVIDENCE": on_proof,
    "PROC_START": on_start_record,
    "PROC_TERM": _told("process-recorded", "token", what="TERM"),
    "PROC_KILL": _told("process-recorded", "token", what="KILL"),
    "PROC_REAPED": on_reaped,
    "PERMIT": on_permits,
    "LEASE_OPENED": _told("lease-recorded", "token", what="OPENED"),
    "LEASE_LOST": _told("lease-recorded", "token", what="LOST"),
    "DECISION": on_decision,
    "PROMISE": on_promise,
    "INTENT": on_intent,
    "RESULT": on_result,
    "DONE": on_done,
    "ROLLED_BACK": _told("task-rolled-back", "task"),
    "UNDO": _told("task-undoing", "task"),
    "COMPENSATED": _told("task-compensated", "task"),
    "ABSENT": _told("task-absent", "task", "key"),
    "IN_DOUBT": _told("task-in-doubt", "task", "key"),
    "APPLIED": on_applied,
    "REJECTED": on_rejected,
    "FENCE": on_fence,
    COSIG: on_cosig,
    "FORK_PROOF": on_fork,
    "RECOVERED": on_log_cut,
    "JOINED": on_joined,
    "POLICY_INSTALLED": on_policy,
    "POLICY_ROLLOUT": on_rollout,
    "POLICY_ROLLBACK": on_rollout,
}
