"""From a scenario and a seed to a schedule: every range becomes a number, every word a node, every swarm a list of faults.

Owns what a seed decides and from which stream. Swarms have their own module (``swarm``). Knows no driver. The same scenario, seed and
version give the same bytes.
"""

from __future__ import annotations

from typing import Any

from scenarios import aims, derive, swarm
from scenarios.deploy import host_of
from scenarios.dice import Dice, Stream
from scenarios.faults import FAULTS, NEVER, Aim, FaultKind, Unit
from scenarios.model import EntryForm, FaultForm, OperationForm, PolicyForm, Scenario
from scenarios.schedule import (
    ClockSpec,
    DiskSpec,
    Entry,
    Expectations,
    Fault,
    LinkSpec,
    Operation,
    Schedule,
    StopCondition,
    StopTimeGoal,
    Tape,
    Topology,
    Trigger,
    Work,
)
from scenarios.targets import Roster, role
from scenarios.units import PERCENT_PPM, SECOND_NS, Span

WALLS_APART = Span(0, 60 * SECOND_NS)  # far more than a message takes, or stamps would look right by luck
CLOCK_PATTERNS = ("each", "all fast", "all slow", "replicas fast", "replicas slow")


def draw(scenario: Scenario, seed: int, version: str) -> Schedule:
    """The schedule of one seed. ``version``: of the code, so that a replay can tell when it is another. Total for a valid scenario."""
    dice = Dice(scenario.scenario, seed)
    topology = derive.topology(scenario.topology)
    roster = Roster(topology)
    core = _core(scenario, dice, topology)
    return Schedule(
        scenario=scenario.scenario,
        scenario_digest=scenario.digest(),
        version=version,
        seed=seed,
        duration_ns=scenario.duration,
        settle_ns=derive.settle_ns(scenario),
        core=core,
        core_ns=derive.core_ns(scenario) if core else 0,
        topology=topology,
        parameters=derive.parameters(scenario.parameters),
        link=_link(scenario, dice),
        disk=DiskSpec(sync_ns=dice.once("disk/sync", scenario.disk.sync), jitter_ns=dice.once("disk/jitter", scenario.disk.jitter)),
        clocks=_clocks(scenario, dice, roster),
        work=_work(scenario, dice, topology),
        timeline=(*_timeline(scenario, dice, roster), *swarm.entries(scenario, dice, roster)),
        expect=_expectations(scenario),
        stop_when=_stop_conditions(scenario),
        tape=Tape(seed=dice.name),
    )


def _link(scenario: Scenario, dice: Dice) -> LinkSpec:
    form = scenario.network
    return LinkSpec(
        latency_ns=dice.once("network/latency", form.latency),
        jitter_ns=dice.once("network/jitter", form.jitter),
        loss_ppm=dice.once("network/loss", form.loss),
        duplicate_ppm=dice.once("network/duplicate", form.duplicate),
        reorder_ppm=dice.once("network/reorder", form.reorder),
        reorder_ns=dice.once("network/reorder-by", form.reorder_by),
    )


def _core(scenario: Scenario, dice: Dice, topology: Topology) -> tuple[str, ...]:
    """As many replicas as any quorum takes, some agents with everything that they need, and the operator."""
    stream = dice.stream("core")
    if not derive.has_core(scenario) or (scenario.core is None and stream.below(derive.CORE_ONE_IN) > 0):
        return ()
    replicas = stream.some([f"replica/{number}" for number in range(1, topology.replicas + 1)], max(topology.quorum, topology.kill_quorum))
    agents = stream.some(topology.agents, 1 + stream.below(len(topology.agents)))
    hosts = [node for agent in agents for node in (f"sidecar/{agent.agent}", f"agent/{agent.agent}")]
    needed = {sink for agent in agents for sink in agent.sinks}
    return (*replicas, *hosts, *(spec.sink for spec in topology.sinks if spec.sink in needed), "operator")


def _clocks(scenario: Scenario, dice: Dice, roster: Roster) -> dict[str, ClockSpec]:
    """Each node's clock. An agent reads its sidecar's: they share a host."""
    pattern = dice.stream("clocks/pattern").pick(CLOCK_PATTERNS)
    clocks = {}
    for node in roster.nodes:
        host = host_of(node)
        stream = dice.stream(f"clock/{host}")
        offset = stream.within(scenario.clocks.offset)
        ahead = dice.once(f"wall/{host}", WALLS_APART)
        clocks[node] = ClockSpec(offset_ns=offset, drift_ppm=_drift(scenario, pattern, host, stream), wall=((0, ahead),))
    return clocks


def _drift(scenario: Scenario, pattern: str, host: str, stream: Stream) -> int:
    """The extremal patterns matter: bugs of drift hide between clocks that are uniformly drawn."""
    bound = scenario.parameters.drift
    if scenario.clocks.drift == "none":
        return 0
    if scenario.clocks.drift == "within":
        return stream.within(Span(-bound, bound))
    if pattern == "each":
        return stream.pick((-bound, bound))
    fast = pattern == "all fast" or (pattern.startswith("replicas") and (pattern == "replicas fast") == (role(host) == "replica"))
    return bound if fast else -bound


def _work(scenario: Scenario, dice: Dice, topology: Topology) -> tuple[Work, ...]:
    """Tasks of each agent, from its own stream, at gaps of half to one and a half times the period; rounds come to all at once, on the period."""
    work = []
    for agent in topology.agents:
        period, steps, think = derive.profile(scenario, agent.kind)
        if period == 0 or not agent.sinks:
            continue
        undo, cost = derive.undoable(scenario, agent.kind), derive.cost(scenario, agent.kind)
        stream = dice.stream(f"work/{agent.agent}")
        rounds = agent.kind in derive.ROUNDS
        at_ns, number = 0 if rounds else stream.below(period), 0
        while at_ns < scenario.duration:
            number += 1
            work.append(
                Work(
                    at_ns=at_ns, agent=agent.agent, task=f"{agent.agent}/{'round' if rounds else 'task'}-{number}", sink=stream.pick(agent.sinks),
                    steps=stream.within(steps), step_ns=stream.within(think), undo=undo, cost=cost, expires_ns=at_ns + period if rounds else None,
                )
            )  # fmt: skip
            at_ns += period if rounds else max(1, period // 2 + stream.below(period))
    return tuple(sorted(work, key=lambda each: (each.at_ns, each.agent)))


def _timeline(scenario: Scenario, dice: Dice, roster: Roster) -> tuple[Entry, ...]:
    return tuple(
        Entry(id=entry_id, trigger=_trigger(scenario, entry, entry_id, dice), action=_action(scenario, entry, entry_id, dice, roster))
        for entry, entry_id in zip(scenario.timeline, derive.entry_ids(scenario.timeline), strict=True)
    )


def _trigger(scenario: Scenario, entry: EntryForm, entry_id: str, dice: Dice) -> Trigger:
    if entry.after is not None:
        fact = derive.awaited(entry.after, scenario.timeline)
        return Trigger(after=fact.kind, where=dict(fact.where), count=entry.count, delay_ns=dice.once(f"entry/{entry_id}/wait", entry.wait))
    if entry.when is not None:
        return Trigger(when=(entry.when.quantity, entry.when.agent, entry.when.comparison, entry.when.value))
    return Trigger(at_ns=dice.once(f"entry/{entry_id}/at", entry.at or Span(0, 0)))


def _action(scenario: Scenario, entry: EntryForm, entry_id: str, dice: Dice, roster: Roster) -> Operation | Fault:
    name, form = entry.actions()[0]
    if isinstance(form, OperationForm):
        return _operation(scenario, name, form, derive.request_id(entry, entry_id), dice, entry_id)
    if isinstance(form, PolicyForm):
        return _rollout(scenario, name, form, derive.request_id(entry, entry_id), dice, entry_id)
    kind = FAULTS[name]
    lasts = form.get("for")
    return Fault(
        what=name,
        targets=_nodes(kind, form, roster),
        links=aims.links(kind, form, roster) if kind.aim is Aim.LINKS else (),
        for_ns=None if lasts is None else dice.once(f"entry/{entry_id}/for", lasts),
        settings=_settings(kind, form, f"entry/{entry_id}", dice),
    )


def _nodes(kind: FaultKind, form: FaultForm, roster: Roster) -> tuple[str, ...]:
    """The nodes a fault is pointed at; for one on links, those at their ends."""
    if kind.aim is Aim.LINKS:
        ends = {node for link in aims.links(kind, form, roster) for node in link}
        return tuple(node for node in roster.nodes if node in ends)
    return roster.side(form.get("to" if kind.aim is Aim.SIGNALS else "nodes"))


def _settings(kind: FaultKind, form: FaultForm, purpose: str, dice: Dice) -> dict[str, int | str]:
    settings: dict[str, int | str] = {}
    for setting in kind.settings:
        value: Any = form.get(setting.name)
        if isinstance(value, Span):
            settings[setting.key] = dice.once(f"{purpose}/{setting.name}", value)
        elif setting.unit is Unit.DURATION_OR_NONE:
            settings[setting.key] = NEVER
        else:
            settings[setting.key] = int(value) if setting.unit is Unit.FLAG else str(value)
    return settings


def _operation(scenario: Scenario, verb: str, form: OperationForm, request: str, dice: Dice, entry_id: str) -> Operation:
    kind, value = form.scope
    tenant = {"agent": value.partition("/")[0], "tenant": value, "label": form.tenant or "", "global": form.tenant or ""}[kind]
    grace = form.grace or Span(scenario.parameters.grace, scenario.parameters.grace)
    return Operation(
        verb=verb,
        tenant=tenant,
        scope=(kind, value),
        principal=form.principal,
        reason=form.reason,
        request=request,
        grace_ns=dice.once(f"entry/{entry_id}/grace", grace) if verb == "soft" else 0,
        cleanup=form.cleanup or "none",
        replica=_replica(scenario, form, dice, entry_id),
        approvers=derive.approvers(form, scenario.parameters.approvals) if verb == "resume" else form.approvers or (),
        approve_after_ns=dice.once(f"entry/{entry_id}/approve-after", form.approve_after) if form.approve_after else 0,
        allow_empty=form.allow_empty,
    )


def _rollout(scenario: Scenario, verb: str, form: PolicyForm, request: str, dice: Dice, entry_id: str) -> Operation:
    share, guard = Span(*(ppm // PERCENT_PPM for ppm in form.share or derive.SHARE)), form.guard or derive.GUARD
    canary = verb == "policy-canary"
    return Operation(
        verb=verb, tenant="", scope=("global", ""), principal=form.principal, reason=form.reason, request=request,
        replica=_replica(scenario, form, dice, entry_id), policy=form.policy or "",
        percent=dice.once(f"entry/{entry_id}/share", share) if canary else 0,
        guard=dice.once(f"entry/{entry_id}/guard", guard) if canary else 0,
    )  # fmt: skip


def _replica(scenario: Scenario, form: OperationForm | PolicyForm, dice: Dice, entry_id: str) -> str:
    """The replica that is asked first."""
    number = form.replica or 1 + dice.stream(f"entry/{entry_id}/replica").below(scenario.topology.all_replicas())
    return f"replica/{number}"


def _expectations(scenario: Scenario) -> Expectations:
    goals = tuple(StopTimeGoal(percentile=int(name[1:]), under_ns=limit) for name, limit in sorted(scenario.expect.stop_time.items()))
    return Expectations(invariants=scenario.expect.invariants, reached=tuple(str(fact) for fact in scenario.expect.reached), stop_time=goals)


def _stop_conditions(scenario: Scenario) -> tuple[StopCondition, ...]:
    form = scenario.stop_when
    limits = (("unbounded-agents", form.unbounded_agents), ("violations", form.violations), ("facts", form.facts))
    return tuple(StopCondition(quantity=quantity, above=above) for quantity, above in limits if above is not None)
