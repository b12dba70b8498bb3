"""How long stopping took: the measure beside the bound that S1 enforces.

Owns the numbers that reports and service levels show, not a verdict.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.checkers.run import Run
from harness.checkers.subjects import Order
from harness.checkers.words import CLOSED, OPEN, STOP
from harness.results import StopTime
from harness.shared.history import Fact

_BESIDE = frozenset({"lease-requested", "lease-granted"})  # most of a history, and no part of this measure


@dataclass(slots=True)
class _Stop:
    order: Order
    agent: str
    effective_ns: int
    last_admission_ns: int = 0
    admissions: int = 0
    reaped_ns: int | None = None


def stop_times(history: Iterable[Fact]) -> tuple[StopTime, ...]:
    """One `StopTime` for each effective order and matching agent, in the order in which they became effective.

    ``last_admission_ns``: from t0 to the agent's last admission while the order was uncovered, of any class, for a gate in DRAIN forbids all
    of them in the end; 0 if there was none after t0 (``admissions`` counts them). ``reaped_ns``: from t0 to the end of the process, 0 if that
    ended between the first learning of the order and t0; None where the order leaves the process alive, or it never ended. ``bound_ns``: B(o)
    of T1, L/(1-rho) with gate CLOSED, else max(L, G)/(1-rho). Orders that leave the gate open have no bound and are left out.
    """
    run: Run | None = None
    stops: dict[str, list[_Stop]] = {}
    reaped: dict[str, tuple[int, int]] = {}
    for index, fact in enumerate(history):
        if run is None:
            run = Run(fact) if fact.kind == "topology" else None
            continue
        if fact.kind not in _BESIDE:
            run.see(index, fact)
        match fact.kind:
            case "order-durable":
                order = run.orders[fact.body["order"]]
                cell = order.became_effective(index)
                if cell is not None and order.gate != OPEN:
                    for agent in sorted(agent for agent in order.agents if run.home(agent) == cell):
                        stops.setdefault(agent, []).append(_begin(order, agent, fact.at_ns, reaped.get(agent), run))
            case "effect-admitted":
                for stop in stops.get(fact.body["agent"], ()):
                    if not run.lifted(stop.order, stop.agent):
                        stop.last_admission_ns = fact.at_ns - stop.effective_ns
                        stop.admissions += 1
            case "process-reaped":
                reaped[fact.body["agent"]] = (index, fact.at_ns)
                for stop in stops.get(fact.body["agent"], ()):
                    if stop.reaped_ns is None and stop.order.life >= STOP and not run.lifted(stop.order, stop.agent):
                        stop.reaped_ns = fact.at_ns - stop.effective_ns
    if run is None:
        return ()
    found = sorted((stop for watched in stops.values() for stop in watched), key=lambda stop: (stop.effective_ns, stop.order.order, stop.agent))
    return tuple(_measured(stop, run) for stop in found)


def _begin(order: Order, agent: str, effective_ns: int, reaped: tuple[int, int] | None, run: Run) -> _Stop:
    process = run.processes.get(agent)
    ended = reaped is not None and reaped[0] > order.first_index and process is not None and not process.alive
    return _Stop(order, agent, effective_ns, reaped_ns=0 if ended and order.life >= STOP else None)


def _measured(stop: _Stop, run: Run) -> StopTime:
    bound_ns = run.bounds.hard_ns if stop.order.gate == CLOSED else run.bounds.soft_ns(stop.order.grace_ns)
    return StopTime(
        order=stop.order.order, agent=stop.agent, severity=stop.order.severity, last_admission_ns=stop.last_admission_ns,
        reaped_ns=stop.reaped_ns, bound_ns=bound_ns, admissions=stop.admissions,
    )  # fmt: skip
