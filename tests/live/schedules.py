"""Small schedules for live tests: one tenant, three replicas, two agents, one class F sink, and whatever timeline a test wants."""

from __future__ import annotations

from killswitch.core.machine import Parameters
from scenarios.schedule import (
    AgentSpec,
    ClockSpec,
    DiskSpec,
    Entry,
    Expectations,
    Fault,
    LinkSpec,
    Operation,
    Schedule,
    SinkSpec,
    Tape,
    Topology,
    Trigger,
    Work,
)  # fmt: skip

SECOND = 1_000_000_000
MS = 1_000_000
SINK = "sink/acme/ledger"
SIDECAR = "sidecar/acme/1"


def short(*timeline: Entry, duration_ns: int = 3 * SECOND, settle_ns: int = SECOND, clocks: dict[str, ClockSpec] | None = None) -> Schedule:
    """Seven tasks a second, handed over in turn, from the start to the heal."""
    work = (
        Work(at_ns=at_ns, agent=f"acme/{1 + number % 2}", task=f"task-{number}", sink=SINK, steps=2, step_ns=40 * MS)
        for number, at_ns in enumerate(range(0, duration_ns, 150 * MS))
    )
    return Schedule(
        scenario="by-hand", scenario_digest="", version="", seed=1, duration_ns=duration_ns, settle_ns=settle_ns,
        topology=Topology(
            replicas=3, kill_quorum=2, quorum=2, sinks=(SinkSpec(sink=SINK, tenant="acme"),),
            agents=tuple(AgentSpec(agent=f"acme/{number}", tenant="acme", sinks=(SINK,)) for number in (1, 2)),
        ),
        parameters=Parameters(lease_ns=SECOND, renew_ns=200 * MS, grace_ns=2 * SECOND, slack_ns=500 * MS, gossip_ns=200 * MS),
        link=LinkSpec(), disk=DiskSpec(), clocks=clocks or {}, work=tuple(work), timeline=timeline, expect=Expectations(), tape=Tape(seed="1"),
    )  # fmt: skip


def fault(name: str, what: str, at_ns: int, for_ns: int | None = None, *, targets: tuple[str, ...] = (), links: tuple[tuple[str, str], ...] = (),
          **settings: int | str) -> Entry:  # fmt: skip
    return Entry(id=name, trigger=Trigger(at_ns=at_ns), action=Fault(what=what, targets=targets, links=links, for_ns=for_ns, settings=settings))


def order(verb: str, at_ns: int, scope: tuple[str, str] = ("tenant", "acme")) -> Entry:
    action = Operation(verb=verb, tenant="acme", scope=scope, principal="alice", reason="test", request=verb, grace_ns=2 * SECOND)
    return Entry(id=verb, trigger=Trigger(at_ns=at_ns), action=action)


def both_ways(node: str, *others: str) -> tuple[tuple[str, str], ...]:
    return tuple(link for other in others for link in ((node, other), (other, node)))


REPLICAS = ("replica/1", "replica/2", "replica/3")
