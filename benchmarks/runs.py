"""Runs a second on one core, and who takes the time: of the reference scenario, and of the whole library.

Owns two passes over the same runs. The first takes the rate, with nothing in the way. The second plays them again with a stopwatch (no profiler)
around the parts, each without the parts within it:

    draw       scenario and seed to schedule
    core       `step` of every machine of the protocol
    facts      from steps to the history's facts, and telling the triggers of them
    trace      the digest: encoding and hashing every input and every fact, once, at the end
    checkers   showing the history to every checker, and their findings
    results    counting what was reached, fired and how long stops took
    simulator  all the rest: queue, network, disks, nodes, nemesis
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from unittest.mock import patch

from benchmarks.measure import Sections
from harness.checkers.jury import Jury
from harness.shared.implementation import Killswitch
from harness.shared.observe import Observer
from harness.single import simulate
from harness.version import version
from killswitch.core.keys import Signer
from killswitch.core.machine import Implementation, Machine, NodeConfig
from scenarios import load
from scenarios.draw import draw
from scenarios.model import Scenario
from sim import driver
from sim.queue import collector_at_rest
from sim.trace import Trace

LIBRARY_SEEDS = range(1, 4)
REFERENCE_SEEDS = range(1, 31)
REFERENCE = Path(__file__).parent / "reference.yaml"


class TimedMachine:
    """A machine with a stopwatch around every step."""

    def __init__(self, machine: Machine, sections: Sections) -> None:
        self.step = sections.around("core", machine.step)
        self.digest = machine.digest


class Timed:
    """Our implementation, every machine timed."""

    def __init__(self, sections: Sections) -> None:
        self._ours = Killswitch()
        self._sections = sections

    name = Killswitch.name

    def machine(self, config: NodeConfig, signer: Signer) -> Machine:
        return TimedMachine(self._ours.machine(config, signer), self._sections)

    def installed(self) -> AbstractContextManager[None]:
        return self._ours.installed()


def play_all(scenarios: list[Scenario], seeds: range, implementation: Implementation) -> tuple[int, int]:
    """Every scenario with every seed; how many runs and facts that made."""
    with collector_at_rest():  # as in a worker of a campaign
        results = [simulate(draw(scenario, seed, version()), implementation).result for scenario in scenarios for seed in seeds]
    return len(results), sum(result.facts for result in results)


def runs_per_second(scenarios: list[Scenario], seeds: range) -> tuple[float, float]:
    """Runs and facts a second of CPU time."""
    began = time.process_time()
    runs, facts = play_all(scenarios, seeds, Killswitch())
    took = time.process_time() - began
    return runs / took, facts / took


@contextmanager
def stopwatches(sections: Sections) -> Iterator[None]:
    """A stopwatch around every part but the core's."""
    with (
        patch.object(Observer, "step", sections.around("facts", Observer.step)),
        patch.object(Trace, "fold", sections.around("trace", Trace.fold)),
        patch.object(Trace, "digest", sections.around("trace", Trace.digest)),
        patch.object(Jury, "see", sections.around("checkers", Jury.see)),
        patch.object(Jury, "findings", sections.around("checkers", Jury.findings)),
        patch.object(driver, "play", sections.around("simulator", driver.play)),
    ):
        yield


def shares(scenarios: list[Scenario], seeds: range) -> dict[str, float]:
    """{part: its share of the time of a run}."""
    sections = Sections()
    implementation = Timed(sections)
    with stopwatches(sections):
        for scenario in scenarios:
            for seed in seeds:
                schedule = sections.around("draw", draw)(scenario, seed, version())
                sections.around("results", simulate)(schedule, implementation)
    return sections.shares()


def library() -> list[Scenario]:
    return [load.load(path) for path in load.library().values()]


def reference() -> list[Scenario]:
    """Three replicas, five agents, two tenants, a swarm's draw of faults and orders, sixty simulated seconds."""
    return [load.load(REFERENCE)]
