"""What follows from a scenario without any seed: its cell, ids, bounds and defaults.

Owns the arithmetic of theorem T1 and of the settling time, and how entries of a timeline are called. Draws nothing (``draw`` does),
complains about nothing (``checks`` does).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from killswitch.core.machine import Parameters
from scenarios.faults import DRIVERS, FAULTS, LIVE, MECHANISMS, SIM
from scenarios.model import APPROVERS, EntryForm, FaultForm, NetworkForm, OperationForm, ParametersForm, PolicyForm, Profile, Scenario, TopologyForm
from scenarios.schedule import AgentSpec, CellSpec, SinkSpec, Topology
from scenarios.triggers import FactMatch, Moment
from scenarios.units import MILLION, SECOND_NS, Span, duration_text

MS = SECOND_NS // 1000
BACKOFF_NS = 2 * SECOND_NS
HOST_LAG_NS = SECOND_NS
SWARM_GRACE_FACTOR = 2
CORE_ONE_IN = 3  # seeds of a swarm, where the file does not say
SHARE, GUARD = Span(MILLION, MILLION), Span(3, 3)  # of a canary, where the file does not say

ROUNDS = frozenset({"federated"})
"""Kinds whose tasks are rounds: all agents get one at the same time, and when the next begins it is closed, with or without them."""

PROFILES: dict[str, tuple[int, Span, Span]] = {
    "worker": (SECOND_NS // 2, Span(1, 4), Span(20 * MS, 80 * MS)),
    "tool-calling": (SECOND_NS, Span(2, 6), Span(100 * MS, 400 * MS)),
    "federated": (5 * SECOND_NS, Span(1, 1), Span(500 * MS, 1500 * MS)),
}
"""Per kind of agent, where the workload does not say: period between tasks, steps of a task, thinking before a step."""


class Bounds(NamedTuple):
    """The promises of protocol 2 for these parameters, in nanoseconds of real time after an order is effective."""

    hard_ns: int
    soft_new_ns: int
    soft_ns: int
    declare_wait_ns: int  # on the clock of whoever waits
    challenge_ns: int  # later than these something may still take place at a class C sink, and so much longer is the wait


class Ambiguous(ValueError):
    """A moment that no entry, or more than one, answers to."""


def topology(form: TopologyForm) -> Topology:
    """The cell: agents of each tenant numbered from 1 in the order of the file."""
    agents: list[AgentSpec] = []
    sinks: list[SinkSpec] = []
    for tenant, content in form.tenants.items():
        own = tuple(f"sink/{tenant}/{sink.name}" for sink in content.sinks)
        sinks.extend(SinkSpec(sink=node, tenant=tenant, sink_class=sink.class_) for node, sink in zip(own, content.sinks, strict=True))
        number = 0
        for group in content.groups():
            labels = tuple(sorted(f"{key}={value}" for key, value in group.labels.items()))
            for _ in range(group.count):
                number += 1
                agents.append(AgentSpec(agent=f"{tenant}/{number}", tenant=tenant, kind=group.kind, labels=labels, sinks=own, cell=group.cell))
    first = form.federation()[0]
    cells = (CellSpec(replicas=cell.replicas, kill_quorum=cell.order_quorum(), quorum=cell.lease_quorum()) for cell in form.cells)
    return Topology(
        replicas=form.all_replicas(), kill_quorum=first.order_quorum(), quorum=first.lease_quorum(), agents=tuple(agents), sinks=tuple(sinks),
        cells=tuple(cells),
    )  # fmt: skip


def parameters(form: ParametersForm) -> Parameters:
    return Parameters(
        lease_ns=form.lease, renew_ns=form.renew, grace_ns=form.grace, grace_max_ns=form.grace_max, challenge_ns=form.challenge,
        drift_ppm=form.drift, slack_ns=form.slack, stop_timeout_ns=form.stop_timeout, kill_retry_ns=form.kill_retry,
        gossip_ns=form.gossip, approvals=form.approvals, standby_max_ns=form.standby_max, approval_ns=form.approval,
    )  # fmt: skip


def profile(scenario: Scenario, kind: str) -> tuple[int, Span, Span]:
    """Period between tasks (0: none), steps and thinking time of agents of a kind: ``kinds``, else the workload, else the kind's own."""
    workload = scenario.workload
    layers: tuple[Profile, ...] = (*(form for name, form in workload.kinds.items() if name == kind), workload)
    period, steps, think = PROFILES[kind]
    for layer in reversed(layers):
        period = period if layer.tasks is None else layer.tasks
        steps = layer.steps or steps
        think = layer.think or think
    return period, steps, think


def tasks(scenario: Scenario) -> Iterator[tuple[int, int]]:
    """For each agent, how many tasks it is given, and of how many steps at most."""
    for agent in topology(scenario.topology).agents:
        period, steps, _ = profile(scenario, agent.kind)
        yield 0 if period == 0 else scenario.duration // period, steps.high


def undoable(scenario: Scenario, kind: str) -> bool:
    """Whether the tasks of agents of a kind can be undone."""
    return bool(_own(scenario, kind, "undo"))


def cost(scenario: Scenario, kind: str) -> int:
    """What each effect of agents of a kind costs, in cents."""
    return int(_own(scenario, kind, "cost") or 0)


def _own(scenario: Scenario, kind: str, key: str) -> Any:
    """A key of a profile, as ``kinds`` has it, else as the workload does."""
    own = getattr(scenario.workload.kinds.get(cast(Any, kind)), key, None)
    return getattr(scenario.workload, key) if own is None else own


def slowest(ns: int, drift_ppm: int) -> int:
    """Real time in which the slowest clock within the drift has passed ``ns``, rounded up: ns / (1 - rho)."""
    return -(-ns * MILLION // (MILLION - drift_ppm))


def bounds(form: ParametersForm, grace_ns: int | None = None) -> Bounds:
    """Theorems T1, T3 and T4 (protocol 2) for an order of ``grace_ns``, by default the grace of the parameters."""
    grace = min(form.grace if grace_ns is None else grace_ns, form.grace_max)
    hard = slowest(form.lease, form.drift)
    wait = -(-form.lease * (MILLION + form.drift) // (MILLION - form.drift))
    return Bounds(hard, hard, slowest(max(form.lease, grace), form.drift), wait, slowest(form.challenge, form.drift))


def round_trip(form: NetworkForm) -> int:
    """The longest round trip while no fault is on and nothing is held back."""
    return 2 * (form.latency.high + form.jitter.high)


def renewal_limit(form: ParametersForm) -> int:
    """L (1 - rho) / (1 + rho): renewing and the round trip must take less, or leases run out by themselves (protocol 2, L5)."""
    return form.lease * (MILLION - form.drift) // (MILLION + form.drift)


def longest_grace(scenario: Scenario) -> int:
    """The longest grace that any soft order of the scenario, its swarm's included, may have, be it one that the file does not ask for."""
    return min(max(scenario.parameters.grace, asked_grace(scenario)), scenario.parameters.grace_max)


def asked_grace(scenario: Scenario) -> int:
    """The longest grace that a soft order of the file, its swarm's included, will carry; the parameters' if it asks for none."""
    form = scenario.parameters
    soft = [each for entry in scenario.timeline for verb, each in entry.actions() if isinstance(each, OperationForm) and verb == "soft"]
    given = [form.grace if each.grace is None else each.grace.high for each in soft]
    if scenario.swarm is not None and "soft" in scenario.swarm.operations:
        given.append(SWARM_GRACE_FACTOR * form.grace)
    return min(max(given, default=form.grace), form.grace_max)


def settle_ns(scenario: Scenario) -> int:
    """Fault-free time after the heal, unless the file says: long enough for every bounded liveness property to fall due, but for doubts about effects
    (L9) and a client's round of all replicas (L1), which fall due where a scenario asks for more by `settle`, or heals a core first.

    First everything that is known has to reach everyone: a lease, four rounds of renewal and of gossip, the transport's longest pause
    between two tries, and the slack. Then either a stop that was only now learned runs its course (the grace and its escalation, or the stop
    timeout; two tries to kill), or a start that was only now allowed does (it waits out its predecessor's lease, T4).
    """
    if scenario.settle is not None:
        return scenario.settle
    form = scenario.parameters
    told = told_ns(form) + 4 * round_trip(scenario.network)
    stopped = slowest(max(longest_grace(scenario) + form.slack, form.stop_timeout) + 2 * form.kill_retry + HOST_LAG_NS, form.drift)
    hard = bounds(form).hard_ns
    started = 2 * slowest(hard, form.drift) + hard
    return told + max(stopped, started) + HOST_LAG_NS


def told_ns(form: ParametersForm) -> int:
    """By when, after the heal, everything that is known has to have reached everyone (L1, L10): the least of what liveness is held to."""
    return slowest(form.lease + 4 * form.renew + 4 * form.gossip, form.drift) + BACKOFF_NS + form.slack


def too_short(scenario: Scenario) -> str:
    """Why nothing can be held against anybody after the heal, if the file leaves too little time for it; else empty."""
    due_ns = told_ns(scenario.parameters)
    if scenario.settle is None or scenario.settle >= due_ns:
        return ""
    left, due = duration_text(scenario.settle), duration_text(due_ns, 3)
    return f"settle: {left} is less than the {due} after which L1, L6, L7 and L10 fall due: what is not true by the end leaves them unknown"


def has_core(scenario: Scenario) -> bool:
    """Whether a core may be healed before the rest: in every seed of ``core: drawn``, in some of a swarm. Several cells have none."""
    return not scenario.topology.cells and (scenario.core == "drawn" or (scenario.core is None and scenario.swarm is not None))


def core_ns(scenario: Scenario) -> int:
    """How long a core is healed before the rest is: what operators try again gets through first, and only then falls due."""
    settle = settle_ns(scenario)
    return settle + settle // 2


def approvers(form: OperationForm, approvals: int) -> tuple[str, ...]:
    return APPROVERS[:approvals] if form.approvers is None else form.approvers


def entry_ids(timeline: tuple[EntryForm, ...]) -> tuple[str, ...]:
    """The id of each entry: its own, or the name of its action and a number, counted per action over the file."""
    seen: dict[str, int] = {}
    ids = []
    for entry in timeline:
        name = entry.actions()[0][0] if entry.actions() else "entry"
        seen[name] = seen.get(name, 0) + 1
        ids.append(entry.id or f"{name}-{seen[name]}")
    return tuple(ids)


def referred(moment: Moment, timeline: tuple[EntryForm, ...]) -> int:
    """The index of the entry that a moment speaks of: by its id, or by its action if only one entry has it. Raises `Ambiguous`."""
    ids = entry_ids(timeline)
    if moment.entry in ids:
        return ids.index(moment.entry)
    alike = [index for index, entry in enumerate(timeline) if [name for name, _ in entry.actions()] == [moment.entry]]
    if not alike:
        raise Ambiguous("no entry of that id or action")
    if len(alike) > 1:
        raise Ambiguous(f"{len(alike)} entries of that action: say which by its id")
    return alike[0]


def request_id(entry: EntryForm, entry_id: str) -> str:
    """The idempotency key under which an operation is asked for."""
    _, form = entry.actions()[0]
    return form.request if isinstance(form, OperationForm | PolicyForm) and form.request else f"request-{entry_id}"


def awaited(after: Moment | FactMatch, timeline: tuple[EntryForm, ...]) -> FactMatch:
    """The fact that shows a moment; a fact stands for itself. Raises `Ambiguous`, also where the entry has no such moment."""
    if isinstance(after, FactMatch):
        return after
    index = referred(after, timeline)
    entry, entry_id = timeline[index], entry_ids(timeline)[index]
    if not entry.actions():
        raise Ambiguous("the entry of that id does nothing, so it has no moments")
    verb, form = entry.actions()[0]
    if isinstance(form, FaultForm):
        if after.moment in ("on", "off"):
            return FactMatch(f"fault-{after.moment}", (("fault", entry_id),))
        raise Ambiguous("a fault has only the moments on and off")
    if after.moment == "played":
        return FactMatch("operation-played", (("operation", entry_id),))
    stops = isinstance(form, OperationForm) and verb != "resume"
    if after.moment == "accepted" or (after.moment == "effective" and stops):
        kind = "order-status" if stops else "resume-status" if verb == "resume" else "rollout-status"
        return FactMatch(kind, (("request", request_id(entry, entry_id)), ("stage", after.moment.upper())))
    known = "played, accepted and effective" if stops else "played and accepted"
    raise Ambiguous(f"a {verb} has only the moments {known}")


def waits_for(entry: EntryForm) -> str:
    """What has to be before an entry plays, in words of scenario files: so many facts that it comes after, a state, or its earliest time."""
    if entry.after is not None:
        return f"{entry.after}" + (f" number {entry.count}" if entry.count > 1 else "")
    return str(entry.when) if entry.when is not None else duration_text(entry.at.low if entry.at else 0)


def drivers(scenario: Scenario) -> tuple[str, ...]:
    """The drivers that have every fault of the scenario, with the settings it is given. Only a simulated network is bad by itself, and only there a
    part of a cell is healed before the rest."""
    network = scenario.network
    if scenario.topology.cells or scenario.core == "drawn":
        return (SIM,)
    able = (SIM,) if network.loss.high or network.duplicate.high or network.reorder.high else DRIVERS
    return tuple(driver for driver in able if not any(driver not in playable_by(name, form) for name, form in _faults(scenario)))


def simulated_only(scenario: Scenario) -> list[str]:
    """What of the scenario the live driver does not have, by name, for people."""
    missing = sorted({f"fault {name}" for name, form in _faults(scenario) if LIVE not in playable_by(name, form)})
    network = scenario.network
    chances = {"network loss": network.loss, "network duplicate": network.duplicate, "network reorder": network.reorder}
    missing += ["several cells"] if scenario.topology.cells else []
    missing += ["core: drawn"] if scenario.core == "drawn" else []
    return missing + [name for name, chance in chances.items() if chance.high]


def mechanisms(scenario: Scenario) -> list[str]:
    """What a live run of the scenario needs of its host, by the names and in the order of `MECHANISMS`."""
    made = (FAULTS[name].live for name, _ in _faults(scenario))
    needed = {"toxiproxy", *scenario.requires, *(live.mechanism for live in made if live is not None)}
    return [name for name in MECHANISMS if name in needed]


def playable_by(name: str, form: FaultForm | None) -> tuple[str, ...]:
    """The drivers that have a fault with its settings as written; a swarm's (``form`` None) are drawn to fit no driver in particular."""
    kind = FAULTS[name]
    given = {} if form is None else {setting.name: form.get(setting.name) for setting in kind.settings}
    restricted = [setting for setting in kind.settings if setting.live]
    live = all(_certain(given.get(setting.name)) in setting.live for setting in restricted)
    return tuple(driver for driver in kind.drivers if driver != LIVE or live)


def _certain(value: object) -> object:
    """A range of one number is that number; any wider one is none that is known before it is drawn."""
    return value.low if isinstance(value, Span) and value.fixed else value


def _faults(scenario: Scenario) -> list[tuple[str, FaultForm | None]]:
    named: list[tuple[str, FaultForm | None]] = [
        (name, form) for entry in scenario.timeline for name, form in entry.actions() if isinstance(form, FaultForm)
    ]
    return named + [(name, None) for name in (scenario.swarm.faults if scenario.swarm else ())]
