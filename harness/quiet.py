"""A pair of schedules that differ in one tenant, and in nothing else that could reach another (S14).

Owns what is shared between tenants and is no part of the promise: replicas' disks and timers, the links among them, the moments at which a timeline
plays, and the guard of a canary, which counts the stops of all and takes the canary back from all. Tenants share these as they share a building, so a
busy neighbour is noticed; the protocol must not make more of it. In both schedules they are made too good to be noticed, and nothing breaks them;
whatever still differs came through the protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from harness.shared.history import Fact
from scenarios.deploy import OPERATOR
from scenarios.faults import load
from scenarios.schedule import DiskSpec, Entry, Fault, Operation, Schedule, Trigger
from scenarios.schedule_checks import COUNT_MAX
from sim.network import stream_of

APART_NS = 1_000
# What makes tenants feel each other at the one thing that they share, is made by somebody out of whoever is there, or befalls one host of a run,
# whoever is first: in neither schedule.
SHARED_FAULTS = frozenset({*(row.name for row in load.ROWS), "forge", "cross-tenant", "impersonate", "answer-for", "malformed", "poison", "clone"})
NODE_STREAMS = ("timer.lag", "process", "disk.sync", "disk.survives", "pause.style")
LINK_STREAMS = ("network.jitter", "network.loss", "network.duplicate", "network.reorder", "network.hold", "network.resend", "corrupt")


def with_and_without(schedule: Schedule, history: Iterable[Fact], gone: str) -> tuple[Schedule, Schedule]:
    """The pair for a tenant that is there, and then is gone. ``history``: of ``schedule``, which tells when each entry of its timeline played."""
    shared = frozenset((OPERATOR, *(f"replica/{number}" for number in range(1, schedule.topology.replicas + 1))))
    there = replace(
        schedule,
        core=(),
        core_ns=0,
        disk=DiskSpec(sync_ns=0, jitter_ns=0),
        timeline=tuple(_timed(schedule.timeline, history, shared)),
        stop_when=(),
        tape=replace(schedule.tape, benign=(*schedule.tape.benign, "ties", *_streams(sorted(shared))), fixed={}),
    )
    return there, _without(there, gone)


def _streams(shared: list[str]) -> Iterator[str]:
    """The streams on which one tenant's traffic would shift another's."""
    yield from (f"{purpose}/{node}" for purpose in NODE_STREAMS for node in shared)
    links = [stream_of(source, target) for source in shared for target in shared if source != target]
    yield from (f"{purpose}/{link}" for purpose in LINK_STREAMS for link in links)


def _timed(timeline: tuple[Entry, ...], history: Iterable[Fact], shared: frozenset[str]) -> Iterator[Entry]:
    """The entries that played, each at the time at which it did: facts of one tenant must not call for what befalls another.

    No two are at one instant, where messages would queue. Nothing befalls what is shared: replicas that lack something hear of it with the next
    gossip, and whoever has news brings that about.
    """
    at = {fact.body.get("fault", fact.body.get("operation")): fact.at_ns for fact in history if fact.kind in ("fault-on", "operation-played")}
    for number, entry in enumerate(timeline):
        action = _elsewhere(entry.action, shared) if isinstance(entry.action, Fault) else _unguarded(entry.action)
        if entry.id in at and action is not None:
            yield replace(entry, action=action, trigger=Trigger(at_ns=at[entry.id] + number * APART_NS))


def _unguarded(operation: Operation) -> Operation:
    return replace(operation, guard=COUNT_MAX) if operation.verb == "policy-canary" else operation


def _elsewhere(fault: Fault, shared: frozenset[str]) -> Fault | None:
    """What a fault does to what is not shared, if that is anything."""
    targets = tuple(node for node in fault.targets if node not in shared)
    links = tuple(link for link in fault.links if not shared.issuperset(link))
    return None if fault.what in SHARED_FAULTS or not (targets or links) else replace(fault, targets=targets, links=links)


def _without(schedule: Schedule, gone: str) -> Schedule:
    topology = schedule.topology
    return replace(
        schedule,
        topology=replace(
            topology,
            agents=tuple(agent for agent in topology.agents if agent.tenant != gone),
            sinks=tuple(sink for sink in topology.sinks if sink.tenant != gone),
        ),
        clocks={node: clock for node, clock in schedule.clocks.items() if not _of(node, gone)},
        work=tuple(work for work in schedule.work if work.agent.partition("/")[0] != gone),
        timeline=tuple(_left(schedule.timeline, gone)),
    )  # fmt: skip


def _left(timeline: tuple[Entry, ...], gone: str) -> Iterator[Entry]:
    for entry in timeline:
        action = entry.action
        if not isinstance(action, Fault):
            if action.tenant != gone:
                yield entry
            continue
        targets = tuple(node for node in action.targets if not _of(node, gone))
        links = tuple(link for link in action.links if not any(_of(node, gone) for node in link))
        if links if action.links else targets:
            yield replace(entry, action=replace(action, targets=targets, links=links))


def _of(node: str, tenant: str) -> bool:
    return node.split("/")[1:2] == [tenant] and node.count("/") == 2
