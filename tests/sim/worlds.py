"""Small runs for trying the simulated world: a schedule by hand is played, and its facts are asked for by kind."""

from __future__ import annotations

from harness.shared.history import Fact
from harness.shared.implementation import Killswitch
from scenarios.schedule import Entry, Schedule
from sim.driver import Played, play
from tests.live.schedules import MS, SECOND, short

__all__ = ["MS", "SECOND", "facts_of", "of_fault", "played"]


def played(*timeline: Entry, schedule: Schedule | None = None, duration_ns: int = 3 * SECOND) -> Played:
    """The timeline over three replicas and two agents at work; or a schedule as it is."""
    return play(schedule or short(*timeline, duration_ns=duration_ns, settle_ns=2 * SECOND), Killswitch())


def of_fault(run: Played, fault: str) -> list[tuple[str, int]]:
    """(kind, when) of everything recorded about one fault."""
    return [(fact.kind, fact.at_ns) for fact in run.history if fact.kind.startswith("fault-") and fact.body["fault"] == fault]


def facts_of(run: Played, kind: str, node: str = "") -> list[Fact]:
    """Facts of a kind, of one node if it is named."""
    return [fact for fact in run.history.of(kind) if not node or fact.node == node]
