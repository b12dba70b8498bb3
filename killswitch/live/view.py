"""What the control plane can honestly say: orders, the evidence about each agent, and by when T1 promises the end (protocol 3.7, S20).

Owns the reading of a replica's state for people. Changes nothing, decides nothing. A status says what is proven and what is merely bounded, and never
takes one for the other: STOPPED is the sidecar's signed word, PRESUMED_STOPPED the clock's, ``bounded`` a theorem.
"""

from __future__ import annotations

from typing import Any

from killswitch.core import intent, leases
from killswitch.core.intent import KnownOrder
from killswitch.core.keys import EVERY_TENANT
from killswitch.core.messages import NO_TOKEN, Gate, Life, SinkClass
from killswitch.core.replica import state as replica
from killswitch.core.replica.state import Replica
from killswitch.live.clock import PER_MILLION
from killswitch.live.meant import meant

NAMED = {"agent": "of that name", "tenant": "of that tenant", "label": "of that label"}


def orders(state: Replica, tenants: frozenset[str], effective_ns: dict[str, int], now_ns: int, *, lifted: bool = False) -> list[dict[str, Any]]:
    """The orders that concern ``tenants``, oldest first. ``effective_ns``: when this replica learned, in this boot, that each was effective."""
    return [
        one(state, known, tenants, effective_ns.get(known.id), now_ns)
        for known in state.intent.orders.values()
        if concerns(tenants, known) and (lifted or known.id not in state.intent.lifted)
    ]


def concerns(tenants: frozenset[str], known: KnownOrder) -> bool:
    """Whether somebody who may see ``tenants`` may see an order. One for the whole cell concerns everybody."""
    return known.body.scope.kind == "global" or may_see(tenants, known.body.tenant)


def may_see(tenants: frozenset[str], tenant: str) -> bool:
    return EVERY_TENANT in tenants or tenant in tenants


def one(state: Replica, known: KnownOrder, tenants: frozenset[str], effective_ns: int | None, now_ns: int) -> dict[str, Any]:
    """One order, as it stands, with the agents that ``tenants`` may see."""
    body = known.body
    seen = [name for name in replica.concerned(state, known) if may_see(tenants, name.partition("/")[0])]
    effective = known.id in state.effective
    return {
        "order": known.id,
        "tenant": body.tenant,
        "scope": {"kind": body.scope.kind, "value": body.scope.value},
        "severity": known.severity.title,
        "grace_ms": body.grace_ns // 1_000_000,
        "issuer": body.issuer,
        "reason": body.reason,
        "parent": body.parent,
        "stage": "LIFTED" if known.id in state.intent.lifted else "EFFECTIVE" if effective else "ACCEPTED",
        "holders": sorted(state.durable.get(known.id, ())),
        "needed": state.config.kill_quorum,
        "bounded": bound(state, known, effective_ns, now_ns) if effective and known.id not in state.intent.lifted else None,
        "agents": [agent(state, known, name) for name in seen],
    }


def warning(state: Replica, known: KnownOrder, tenants: frozenset[str]) -> str:
    """What whoever asked for an order has to be told of its scope: that nobody here is within it, and who may have been meant. The order stands."""
    if replica.concerned(state, known):
        return ""
    scope = known.body.scope
    visible = [identity for identity in state.fleet.values() if may_see(tenants, identity.tenant)]
    heard = {
        "agent": {identity.agent for identity in visible},
        "tenant": {identity.tenant for identity in visible},
        "label": {label for identity in visible if identity.tenant == known.body.tenant for label in identity.labels},
    }.get(scope.kind, set())
    others = f"; {meant(scope.value, heard)}" if heard else ""
    return f"no agent {NAMED.get(scope.kind, 'at all')} has been heard of here (got {scope.value!r}), so nothing was stopped{others}"


def bound(state: Replica, known: KnownOrder, effective_ns: int | None, now_ns: int) -> dict[str, Any]:
    """T1's countdown, in ms of real time, on the safe side: this replica learned of effectiveness no earlier than it was so, and its own clock
    may be fast. After a restart it does not know when, and counts from nowhere: the whole span."""
    parameters = state.parameters
    drains = known.severity.gate is Gate.DRAIN
    last_ns = leases.soft_bound_ns(parameters, known.body.grace_ns) if drains else leases.hard_bound_ns(parameters)
    passed_ns = 0 if effective_ns is None else max(0, now_ns - effective_ns) * PER_MILLION // (PER_MILLION + parameters.drift_ppm)
    kinds = {state.config.sinks[sink] for name in replica.concerned(state, known) for sink in _sinks(state, name)}
    late_ns = leases.real_bound_ns(parameters.challenge_ns, parameters.drift_ppm) if SinkClass.CHALLENGED in kinds else 0
    new_ns = leases.hard_bound_ns(parameters)
    return {
        "no_new_task_in_ms": max(0, -(-(new_ns - passed_ns) // 1_000_000)),
        "nothing_admitted_in_ms": max(0, -(-(last_ns - passed_ns) // 1_000_000)),
        "nothing_applied_in_ms": max(0, -(-(last_ns + late_ns - passed_ns) // 1_000_000)),
        "guaranteed_at_every_sink": SinkClass.UNBOUNDED not in kinds,  # what a class U sink does is measured, not guaranteed (T3)
    }


def agent(state: Replica, known: KnownOrder, name: str) -> dict[str, Any]:
    """The evidence about one agent under one order: PENDING < GATE_CLOSED or DRAINING < STOPPED_*, and beside it FENCED and PRESUMED."""
    proof = state.proofs.get((known.id, name))
    current = proof is not None and proof.token >= replica.greatest_token(state, name)
    waiting = sorted(sink for sink, fenced in state.fences if fenced == name)
    started = replica.greatest_token(state, name) != NO_TOKEN
    presumed = (known.id, name) in state.declared and known.severity.life is not Life.ALIVE
    return {
        "agent": name,
        "evidence": proof.stage if proof is not None and current else "PENDING" if started else "NEVER_STARTED",
        "confirmed": is_confirmed(state, known, name),
        "in_doubt": list(proof.in_doubt) if proof is not None and current else [],
        "fencing": waiting,
        "fenced": known.severity.life is Life.KILL and started and not waiting,
        "presumed_stopped": presumed,
    }


def is_confirmed(state: Replica, known: KnownOrder, name: str) -> bool:
    """Whether the agent's own sidecar has proven what the order asks for; an agent that never started has nothing to prove."""
    if replica.greatest_token(state, name) == NO_TOKEN:
        return True
    proof = state.proofs.get((known.id, name))
    if proof is None or proof.token < replica.greatest_token(state, name):
        return False
    return proof.stage.startswith("STOPPED") or (known.severity.life is Life.ALIVE and proof.stage == "GATE_CLOSED")


def agents(state: Replica, tenants: frozenset[str]) -> list[dict[str, Any]]:
    """Every deployed agent that ``tenants`` may see, with what is in force for it."""
    seen = (identity for identity in state.fleet.values() if may_see(tenants, identity.tenant))
    return [
        {
            "agent": identity.agent,
            "in_force": intent.in_force(replica.view_of(state, identity.agent).uncovered).title,
            "start": replica.greatest_token(state, identity.agent).counter,
        }
        for identity in seen
    ]


def forked(state: Replica, tenants: frozenset[str]) -> list[str]:
    """Who is proven to keep two logs: replicas, whose grants count no more, concern everybody; of the rest, those that ``tenants`` may see."""
    roles = ((node, *node.partition("/")[::2]) for node in sorted(state.forks))
    return [node for node, role, rest in roles if role == "replica" or may_see(tenants, rest.partition("/")[0])]


def policy(state: Replica) -> dict[str, Any]:
    """What decides here now: the number of the rollout, the policy that is stable, and the one that is on trial, by their hashes."""
    now = state.policies.in_force
    canary = now.canary.digest if now.canary else ""
    return {"rollout": now.seq, "stage": str(now.stage), "stable": now.stable.digest, "canary": canary, "percent": now.percent}


def unconfirmed(state: Replica) -> int:
    """How many (order, agent) pairs in force are not proven: an unacknowledged stop pages by itself."""
    return sum(not is_confirmed(state, known, name) for known in replica.uncovered(state) for name in replica.concerned(state, known))


def _sinks(state: Replica, name: str) -> list[str]:
    tenant = name.partition("/")[0]
    return [sink for sink in state.config.sinks if sink.split("/")[1] == tenant]
