"""What a schedule's operations and topology become, the same for both drivers, and how a watcher ends a run.

Owns the severity of each verb, the command that a person's operation is, and the fact that tells checkers who is deployed. Knows no driver.
"""

from __future__ import annotations

from typing import Any

from msgspec import structs

from killswitch.core.bundles import Stage
from killswitch.core.events import Command
from killswitch.core.messages import Gate, Life
from scenarios import bundles
from scenarios.deploy import cells
from scenarios.schedule import Operation, Schedule


class Stopped(Exception):
    """A watcher of the facts wants the run to end here; the message says why."""


SEVERITIES = {
    "soft": (Gate.DRAIN, Life.STOP),
    "hard": (Gate.CLOSED, Life.KILL),
    "isolate": (Gate.CLOSED, Life.ALIVE),
    "quiesce": (Gate.CLOSED, Life.STOP),
}
STAGES = {
    "policy-shadow": Stage.SHADOW,
    "policy-canary": Stage.CANARY,
    "policy-promote": Stage.STABLE,
    "policy-rollback": Stage.ROLLED_BACK,
}


def command(operation: Operation) -> Command:
    """What the operator's client is told to do."""
    gate, life = SEVERITIES.get(operation.verb, (Gate.OPEN, Life.ALIVE))
    kind, value = operation.scope
    stage = STAGES.get(operation.verb)
    return Command(
        verb="policy" if stage else "resume" if operation.verb == "resume" else "order",
        request=operation.request,
        principal=operation.principal,
        tenant=operation.tenant,
        scope_kind=kind,
        scope_value=value,
        gate=gate,
        life=life,
        grace_ns=operation.grace_ns,
        cleanup=operation.cleanup,
        reason=operation.reason,
        approvers=operation.approvers,
        approve_after_ns=operation.approve_after_ns,
        replica=operation.replica,
        stage=stage or "",
        text=bundles.text(operation.policy) if operation.policy else "",
        tests=bundles.tests_hash() if operation.policy else "",
        percent=operation.percent,
        guard=operation.guard,
    )


def topology_fact(schedule: Schedule) -> dict[str, Any]:
    """The body of the ``topology`` fact: everything that checkers need to know of the deployment."""
    topology = schedule.topology
    link = schedule.link
    nature = {
        "longest_step_ns": max((work.step_ns for work in schedule.work), default=0),
        "loss_ppm": link.loss_ppm,
        "latency_ns": link.latency_ns + link.jitter_ns,
    }
    return {
        "replicas": [f"replica/{number}" for number in range(1, topology.replicas + 1)],
        "quorum": topology.quorum,
        "kill_quorum": topology.kill_quorum,
        "core": list(schedule.core),
        "cells": [
            {"replicas": list(cell.replicas), "quorum": cell.quorum, "kill_quorum": cell.kill_quorum, "agents": list(cell.agents)}
            for cell in (cells(topology) if topology.cells else ())
        ],
        "agents": {agent.agent: {"tenant": agent.tenant, "labels": list(agent.labels), "sinks": list(agent.sinks)} for agent in topology.agents},
        "sinks": {sink.sink: sink.sink_class for sink in topology.sinks},
        "parameters": {**structs.asdict(schedule.parameters), **nature},
    }
