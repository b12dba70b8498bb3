"""Plays a schedule in the simulated world: the driver.

Owns the course of a run (boot, chaos, perhaps a core healed first, heal, settle) and its digest. Knows the schedule and an implementation;
never a checker. The same
schedule and implementation give the same digest on every machine, Python and hash seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from harness.shared import trail
from harness.shared.history import Fact, History
from harness.shared.operations import Stopped, topology_fact
from killswitch.core.events import Receive, Record
from killswitch.core.machine import Implementation
from scenarios.faults import load
from scenarios.schedule import Schedule
from sim.nemesis import Nemesis
from sim.queue import TooMuch, collector_at_rest
from sim.tape import BITS
from sim.trace import Step
from sim.world import World

DRIVER = "sim"
BOOT_SPREAD_NS = 50_000_000
LOAD = frozenset(kind.name for kind in load.ROWS)


class Played(Struct, kw_only=True):
    """A run. ``trace``: every step's (time, node, input), if it was kept; ``fired``: {fault id: how often it made a difference}.

    ``ended``: complete, or what ended it before; ``cut_short``: that nobody wanted it to, so that it proves nothing. ``logs``: {node: (the
    records that its disk holds, {lsn: stamp})}; ``secret``: what every signature of this world is made with.
    """

    history: History
    trace: list[Step]
    digest: str
    ended: str
    cut_short: bool
    simulated_ns: int
    fired: dict[str, int]
    logs: dict[str, tuple[list[Record], dict[int, int]]]
    secret: bytes


def play(schedule: Schedule, implementation: Implementation, watch: Callable[[Fact], None] | None = None, *, keep_trace: bool = True) -> Played:
    """Play ``schedule``. ``watch`` is told of each fact but the last ones as it is recorded, and may raise `Stopped` to end the run."""
    with implementation.installed(), collector_at_rest():
        world = World(schedule, implementation, keep_trace=keep_trace or _is_loaded(schedule))
        if watch is not None:
            world.watchers.append(watch)
        ended, cut_short = "complete", False
        try:
            _course(world)
        except (Stopped, TooMuch) as stopped:
            ended, cut_short = str(stopped), isinstance(stopped, TooMuch)
        world.watchers.clear()
        world.listeners.clear()
        if ended != "complete":
            world.fact("stop-condition", None, {"condition": ended})
        world.fact("run-ended", None, {"reason": ended})
        digest = world.trace.digest(world.facts)
        # From here on they are the caller's, and go when he lets go of them; the world goes when garbage is next collected.
        facts, world.facts = world.facts, []
    return Played(
        history=History(facts), trace=world.trace.steps(), digest=digest, ended=ended, cut_short=cut_short,
        simulated_ns=world.queue.now, fired=dict(world.fault_counts),
        logs={node.address: (node.disk.records, dict(enumerate(node.stamps, start=1))) for node in world.nodes.values()}, secret=world.secret,
    )  # fmt: skip


def _course(world: World) -> None:
    """Boot everything, play the timeline, heal, let it settle."""
    schedule = world.schedule
    world.fact("run-started", None, {"scenario": schedule.scenario, "seed": schedule.seed, "driver": DRIVER})
    world.fact("topology", None, topology_fact(schedule))
    nemesis = Nemesis(world)
    nemesis.arm()
    for node in world.nodes.values():
        if node.config.role != "agent":
            world.queue.at(world.tape.light("boot.time", node.id).draw() * BOOT_SPREAD_NS >> BITS, _boot, node)
    for work in schedule.work:
        world.queue.at(work.at_ns, world.upstream.submit, work)
    world.queue.play(schedule.duration_ns)
    if schedule.core:
        nemesis.heal_core(schedule.core)
        world.queue.play(schedule.duration_ns + schedule.core_ns)
    nemesis.heal()
    world.queue.play(schedule.duration_ns + schedule.core_ns + schedule.settle_ns)
    chains = {node.address: node.finish() for node in world.nodes.values()}
    _audit(world, chains)
    _load(world)


def _audit(world: World, chains: dict[str, bool]) -> None:
    """What the logs that are left say of each other. ``chains``: whose chain of hashes verifies."""
    logs = {node.address: node.disk.records for node in world.nodes.values() if node.config.role in ("replica", "sidecar")}
    heads = trail.cosigned(logs)
    for writer, records in logs.items():
        node = world.nodes[writer]
        world.fact("log-verified", node, trail.verified(writer, records, heads, chain_ok=chains[writer]))
        world.fact("log-stamped", node, trail.stamped(writer, records, node.stamps[: len(records)]))


def _load(world: World) -> None:
    """How much was said, where a flood or a storm is part of the run."""
    if _is_loaded(world.schedule):
        healed_ns = world.schedule.duration_ns + world.schedule.core_ns
        heard = Counter(node for at_ns, node, event in world.trace.steps() if at_ns >= healed_ns and type(event) is Receive)
        for node in world.nodes.values():
            if node.config.role != "agent":
                world.fact("messages-heard", node, {"since_heal": heard[node.id]})


def _is_loaded(schedule: Schedule) -> bool:
    return any(getattr(entry.action, "what", "") in LOAD for entry in schedule.timeline)


def _boot(node: Any) -> None:
    node.boot_up()
