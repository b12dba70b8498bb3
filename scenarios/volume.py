"""How much there is to do in a run: about how many signals, timers and steps the parameters, the load and the faults come to.

Owns the estimate and its limit, which scenario files and schedules share: each number may be fine by itself and the product without end. It is of the
size of what a run costs and no forecast; what is drawn or broken on the way moves it by a factor, and the limit is far from both ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from scenarios.faults import FaultKind, Unit
from scenarios.units import SECOND_NS

if TYPE_CHECKING:
    from killswitch.core.machine import Parameters
    from scenarios.schedule import Topology

SIGNALS_MAX = 20_000_000
LEAST_NS = SECOND_NS // 1000
"""The least of any period: below it no host keeps time, and a run would be made of nothing but timers."""

SIGNALS_A_STEP = 6  # asked for, challenged, sent, applied, answered, recorded


def regular(topology: Topology, parameters: Parameters, lasting_ns: int) -> Iterator[tuple[str, int]]:
    """(parameter, how many signals or timers it makes in ``lasting_ns``), of those that make any all the time."""
    agents = len(topology.agents)
    largest = max((cell.replicas for cell in topology.cells), default=topology.replicas)
    yield "renew_ns", _times(lasting_ns, parameters.renew_ns, 2 * agents * largest)
    yield "gossip_ns", _times(lasting_ns, parameters.gossip_ns, topology.replicas**2)
    yield "lease_ns", _times(lasting_ns, parameters.lease_ns, (agents + topology.replicas) * largest)
    yield "kill_retry_ns", _times(lasting_ns, parameters.kill_retry_ns, agents)


def steps(count: int) -> int:
    """Of so many steps of tasks."""
    return count * SIGNALS_A_STEP


def of_fault(kind: FaultKind, settings: Mapping[str, int | str], hit: int, lasting_ns: int) -> int:
    """Of a fault that comes again and again while it lasts, at each of the ``hit`` nodes or links."""
    found = 0
    for setting in kind.settings:
        value = settings.get(setting.key, 0)
        if setting.key == "per_s" and isinstance(value, int):
            found += hit * value * lasting_ns // SECOND_NS
        elif setting.unit is Unit.DURATION and setting.key in ("period_ns", "every_ns") and isinstance(value, int):
            found += _times(lasting_ns, value, hit)
    return found


def _times(lasting_ns: int, period_ns: int, each: int) -> int:
    return each * (lasting_ns // max(period_ns, LEAST_NS))
