"""`python -m benchmarks.scale [AGENTS ...]`: what one more agent costs in one world: time per agent-second, and memory.

Owns a fleet of a tenant of any size at steady work, with a kill of all of it in the middle. Prints figures and passes no judgement. Memory is
told twice: of the world as it stands, and of what is recorded of it, which grows with time and is given up after each run.
"""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
from statistics import median
from unittest.mock import patch

import sim.world
from harness.shared.implementation import Killswitch
from killswitch.core.machine import Parameters
from scenarios.schedule import (
    AgentSpec,
    DiskSpec,
    Entry,
    Expectations,
    LinkSpec,
    Operation,
    Schedule,
    SinkSpec,
    Tape,
    Topology,
    Trigger,
    Work,
)  # fmt: skip
from sim.driver import play
from sim.queue import collector_at_rest
from sim.world import World

SECOND = 1_000_000_000
MS = 1_000_000
SINK = "sink/acme/ledger"
FLEETS = (100, 1000, 10_000)
AS_MANY_AGENTS = 1000  # small fleets are played several times, up to so many agents in all: of their times the median counts
FACTS_AN_AGENT = 200  # of which a run takes half; what a run may record otherwise is too little for the largest fleet


def fleet(agents: int, seconds: int = 10) -> Schedule:
    """``agents`` agents of one tenant with a task every other second each; half-way all of them are killed."""
    names = [f"acme/{number}" for number in range(1, agents + 1)]
    work = (
        Work(at_ns=number * 37 % 1000 * MS + turn * 2 * SECOND, agent=name, task=f"{name}/task-{turn}", sink=SINK, steps=1, step_ns=20 * MS)
        for number, name in enumerate(names)
        for turn in range(seconds // 2)
    )
    kill = Operation(verb="hard", tenant="acme", scope=("tenant", "acme"), principal="alice", reason="scale", request="kill")
    return Schedule(
        scenario="scale", scenario_digest="", version="", seed=1, duration_ns=seconds * SECOND, settle_ns=2 * SECOND,
        topology=Topology(
            replicas=3, kill_quorum=2, quorum=2, sinks=(SinkSpec(sink=SINK, tenant="acme"),),
            agents=tuple(AgentSpec(agent=name, tenant="acme", sinks=(SINK,)) for name in names),
        ),
        parameters=Parameters(), link=LinkSpec(), disk=DiskSpec(), clocks={}, work=tuple(sorted(work, key=lambda each: (each.at_ns, each.agent))),
        timeline=(Entry(id="kill", trigger=Trigger(at_ns=seconds * SECOND // 2), action=kill),), expect=Expectations(), tape=Tape(seed="scale"),
    )  # fmt: skip


def us_per_agent_second(agents: int) -> float:
    """CPU time of a whole run, by agents and simulated seconds; no garbage is collected in it, as in a campaign.

    Raises `RuntimeError` for one that is cut short, since what costs most comes first, and for one in which not every agent was at work.
    """
    schedule = fleet(agents)
    with patch.object(sim.world, "FACTS_MAX", FACTS_AN_AGENT * agents), collector_at_rest():
        began = time.process_time()
        played = play(schedule, Killswitch(), keep_trace=False)
        took = time.process_time() - began
    if played.ended != "complete":
        raise RuntimeError(f"{agents} agents: {played.ended}")
    at_work = {fact.body["agent"] for fact in played.history.facts if fact.kind == "process-started"}
    if len(at_work) != agents:
        raise RuntimeError(f"{agents} agents: {len(at_work)} of them were at work")
    return took * 1e6 / agents / (played.simulated_ns / SECOND)


def kb_per_agent(agents: int) -> tuple[float, float]:
    """Of a booted world in its second second: as it stands, and with what was recorded so far."""
    schedule = fleet(agents)
    tracemalloc.start()
    world = World(schedule, Killswitch(), keep_trace=False)
    for node in world.nodes.values():
        if node.config.role != "agent":
            node.boot_up()
    world.queue.play(3 * SECOND // 2)
    recorded = tracemalloc.get_traced_memory()[0]
    world.facts.clear()
    world.trace.clear()
    gc.collect()
    standing = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return standing / agents / 1000, recorded / agents / 1000


def main(fleets: tuple[int, ...]) -> None:
    """Times first: what memory is told by leaves a heap behind in which everything is farther apart."""
    times_us = [median(us_per_agent_second(agents) for _ in range(max(1, AS_MANY_AGENTS // agents))) for agents in fleets]
    print("agents   us per agent-second   of the first   KB an agent   with records")
    for agents, took_us in zip(fleets, times_us, strict=True):
        standing, recorded = kb_per_agent(agents)
        print(f"{agents:6}   {took_us:19.0f}   {took_us / times_us[0]:12.2f}   {standing:11.1f}   {recorded:12.1f}", flush=True)


if __name__ == "__main__":
    main(tuple(int(argument) for argument in sys.argv[1:]) or FLEETS)
