"""What a schedule may say, beyond its form: whether a driver can play it, and would play what it says.

Owns the bounds of a schedule that somebody has edited by hand; one that was drawn keeps to them by itself. Must not know how a schedule is
read (``schedule`` does that, and asks here), nor judge whether playing it is wise: a hostile schedule is a good one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, TypeGuard

from harness.shared.history import VOCABULARY
from killswitch.core.leases import quorums_intersect
from killswitch.core.messages import Gate, SinkClass
from scenarios import bundles, triggers, volume
from scenarios.faults import CENTURY, DAY, FAULTS, NEVER, Aim, Setting, Unit
from scenarios.problems import known_or_meant, shown
from scenarios.seeds import SEED_MAX
from scenarios.targets import AGENT_PATTERN, NAME_PATTERN, Roster, role
from scenarios.units import MILLION, UnitError

if TYPE_CHECKING:
    from killswitch.core.machine import Parameters
    from scenarios.schedule import Entry, Expectations, Fault, Operation, Schedule, Topology, Trigger

REPLICAS_MAX = 9
AGENTS_MAX = 200
SINKS_MAX = 400
TASKS_MAX = 100_000
STEPS_MAX = 100
ENTRIES_MAX = 1_000
DRIFT_PROMISED_MAX_PPM = 500_000
CHOICE_MAX = (1 << 63) - 1
COUNT_MAX = 10_000
ABOVE_MAX = 10**9
TEXT_MAX = 500

VERBS = ("soft", "hard", "isolate", "quiesce", "resume", "policy-shadow", "policy-canary", "policy-promote", "policy-rollback")
QUANTITIES = ("unbounded-agents", "violations", "facts")
LEFT = ("lease.left", "drain.left")
COMPARISONS = ("<", "<=", ">", ">=")
STATES = {"gate": tuple(Gate.__members__), "mode": triggers.MODES}
SCOPES = {"agent": AGENT_PATTERN, "tenant": NAME_PATTERN, "label": rf"{NAME_PATTERN}=[A-Za-z0-9._-]{{1,63}}", "global": ""}
POSITIVE = ("lease_ns", "renew_ns", "challenge_ns", "stop_timeout_ns", "kill_retry_ns", "gossip_ns", "standby_max_ns", "approval_ns")
NATURAL = ("grace_ns", "grace_max_ns", "slack_ns")

Problems = Iterator[str]


def problems(schedule: Schedule) -> list[str]:
    """Everything wrong with a schedule, each as ``field: problem (got X); remedy``; empty if it can be played."""
    found = [*_header(schedule), *_topology(schedule.topology), *_parameters(schedule.parameters), *_expectations(schedule.expect)]
    if 1 <= schedule.topology.replicas <= REPLICAS_MAX:  # else there is no telling who is meant
        roster = Roster(schedule.topology)
        found += [*_world(schedule, roster), *_work(schedule), *_timeline(schedule.timeline, roster)]
    return found or list(_volume(schedule))


# -- the words that all checks share ------------------------------------------------------------------------------------------------


def _problem(field: str, problem: str, got: object, remedy: str) -> str:
    return f"{field}: {problem} (got {shown(got)}); {remedy}"


def _within(field: str, value: int, low: int, high: int) -> Problems:
    if not low <= value <= high:
        yield _problem(field, "out of its limits", value, f"use {low} to {high}")


def _time(field: str, ns: int, low: int = 0) -> Problems:
    """No time is longer than a day, so that no sum of them leaves what a clock or the wire can hold."""
    if not low <= ns <= DAY:
        yield _problem(field, "out of its limits", ns, f"use {low} to {DAY} (ns: at most 24 h)")


def _text(field: str, text: str, pattern: str, example: str) -> Problems:
    if not re.fullmatch(pattern, text):
        yield _problem(field, "not of its form", text, f"write for example {example}")


def _wordy(field: str, text: str) -> Problems:
    if not text or len(text) > TEXT_MAX or not text.isprintable():
        yield _problem(field, "not a line of text", text, f"write 1 to {TEXT_MAX} printable characters")


def _known(field: str, word: str, known: Collection[str], what: str) -> Problems:
    if word not in known:
        yield _problem(field, f"unknown {what}", word, known_or_meant(word, known))


def _unique(field: str, names: Iterable[str]) -> Problems:
    seen: set[str] = set()
    for number, name in enumerate(names):
        if name in seen:
            yield _problem(field.format(number), "there is one of that name already", name, "give each its own name")
        seen.add(name)


def _at_most(field: str, count: int, most: int) -> Problems:
    if count > most:
        yield _problem(field, "too many", count, f"use at most {most}")


# -- the schedule as a whole --------------------------------------------------------------------------------------------------------


def _header(schedule: Schedule) -> Problems:
    yield from _text("scenario", schedule.scenario, r"[a-z][a-z0-9-]{0,63}", "kill-during-partition")
    yield from _text("scenario_digest", schedule.scenario_digest, r"[0-9a-f]{0,64}", "the 64 hex digits that a drawn schedule has")
    yield from _within("seed", schedule.seed, 0, SEED_MAX)
    yield from _time("duration_ns", schedule.duration_ns, 1)
    yield from _time("settle_ns", schedule.settle_ns)
    yield from _time("core_ns", schedule.core_ns)
    for number, condition in enumerate(schedule.stop_when):
        yield from _known(f"stop_when[{number}].quantity", condition.quantity, QUANTITIES, "quantity")
        yield from _within(f"stop_when[{number}].above", condition.above, 0, ABOVE_MAX)
    for stream, choices in schedule.tape.fixed.items():
        for index, choice in choices.items():
            field = f"tape.fixed.{shown(stream)}.{shown(index)}"
            yield from _text(field, index, r"0|[1-9][0-9]{0,17}", "0, the index of a draw")
            yield from _within(field, choice, 0, CHOICE_MAX)


def _topology(topology: Topology) -> Problems:
    n, k, q = topology.replicas, topology.kill_quorum, topology.quorum
    yield from _within("topology.replicas", n, 1, REPLICAS_MAX)
    if not topology.cells and not quorums_intersect(n, k, q):
        got = f"quorum {q} and kill_quorum {k} of {n}"
        remedy = "each is 1 to replicas, quorum + kill_quorum must be above replicas, and 2 * quorum too"
        yield _problem("topology.quorum", "quorums that need not meet", got, remedy)
    if topology.cells and sum(cell.replicas for cell in topology.cells) != n:
        yield _problem("topology.cells", "their replicas are not those of the topology", n, "let replicas be the sum over the cells")
    for number, cell in enumerate(topology.cells):
        if not quorums_intersect(cell.replicas, cell.kill_quorum, cell.quorum):
            got = f"quorum {cell.quorum} and kill_quorum {cell.kill_quorum} of {cell.replicas}"
            yield _problem(f"topology.cells[{number}]", "quorums that need not meet", got, "as for a single cell")
    yield from _at_most("topology.agents", len(topology.agents), AGENTS_MAX)
    yield from _at_most("topology.sinks", len(topology.sinks), SINKS_MAX)
    yield from _unique("topology.agents[{}].agent", (agent.agent for agent in topology.agents))
    yield from _unique("topology.sinks[{}].sink", (sink.sink for sink in topology.sinks))
    sinks = [sink.sink for sink in topology.sinks]
    for number, agent in enumerate(topology.agents):
        field = f"topology.agents[{number}]"
        yield from _text(f"{field}.agent", agent.agent, AGENT_PATTERN, "acme/1")
        yield from _tenant(f"{field}.tenant", agent.tenant, agent.agent)
        yield from _within(f"{field}.cell", agent.cell, 1, max(1, len(topology.cells)))
        yield from _text(f"{field}.kind", agent.kind, NAME_PATTERN, "worker")
        for label in agent.labels:
            yield from _text(f"{field}.labels", label, SCOPES["label"], "tier=gold")
        for sink in agent.sinks:
            yield from _known(f"{field}.sinks", sink, sinks, "sink")
    for number, spec in enumerate(topology.sinks):
        field = f"topology.sinks[{number}]"
        yield from _text(f"{field}.sink", spec.sink, f"sink/{AGENT_PATTERN}", "sink/acme/ledger")
        yield from _tenant(f"{field}.tenant", spec.tenant, spec.sink.removeprefix("sink/"))
        yield from _known(f"{field}.sink_class", spec.sink_class, tuple(SinkClass), "class")


def _tenant(field: str, tenant: str, name: str) -> Problems:
    if tenant != name.partition("/")[0]:
        yield _problem(field, f"not the tenant of {shown(name)}", tenant, "name the tenant that stands before the slash")


def _parameters(parameters: Parameters) -> Problems:
    for name in POSITIVE:
        yield from _time(f"parameters.{name}", getattr(parameters, name), volume.LEAST_NS)
    for name in NATURAL:
        yield from _time(f"parameters.{name}", getattr(parameters, name))
    yield from _within("parameters.drift_ppm", parameters.drift_ppm, 0, DRIFT_PROMISED_MAX_PPM)
    yield from _within("parameters.approvals", parameters.approvals, 1, 3)


def _expectations(expect: Expectations) -> Problems:
    """Which invariants there are only those who judge them know."""
    for number, invariant in enumerate(expect.invariants):
        yield from _text(f"expect.invariants[{number}]", invariant, r"[SL][1-9][0-9]?", "S1")
    for number, demanded in enumerate(expect.reached):
        try:
            triggers.fact(demanded)
        except UnitError as error:
            yield _problem(f"expect.reached[{number}]", error.problem, demanded, error.remedy)
    for number, goal in enumerate(expect.stop_time):
        yield from _within(f"expect.stop_time[{number}].percentile", goal.percentile, 0, 100)
        yield from _time(f"expect.stop_time[{number}].under_ns", goal.under_ns)


def _world(schedule: Schedule, roster: Roster) -> Problems:
    """Clocks run as promised: beyond that only faults drive them, and for a time."""
    link, disk = schedule.link, schedule.disk
    promised = min(schedule.parameters.drift_ppm, DRIFT_PROMISED_MAX_PPM)
    for name in ("latency_ns", "jitter_ns", "reorder_ns"):
        yield from _time(f"link.{name}", getattr(link, name))
    for name in ("loss_ppm", "duplicate_ppm", "reorder_ppm"):
        yield from _within(f"link.{name}", getattr(link, name), 0, MILLION)
    yield from _time("disk.sync_ns", disk.sync_ns)
    yield from _time("disk.jitter_ns", disk.jitter_ns)
    for node in schedule.core:
        yield from _known("core", node, roster.nodes, "node")
    for node, clock in schedule.clocks.items():
        yield from _known("clocks", node, roster.nodes, "node")
        yield from _within(f"clocks.{shown(node)}.offset_ns", clock.offset_ns, -DAY, DAY)
        yield from _within(f"clocks.{shown(node)}.drift_ppm", clock.drift_ppm, -promised, promised)
        for at_ns, ahead_ns in clock.wall:
            yield from _time(f"clocks.{shown(node)}.wall", at_ns)
            yield from _within(f"clocks.{shown(node)}.wall", ahead_ns, -CENTURY, CENTURY)


def _work(schedule: Schedule) -> Problems:
    yield from _at_most("work", len(schedule.work), TASKS_MAX)
    yield from _unique("work[{}].task", (work.task for work in schedule.work))
    reach = {agent.agent: agent.sinks for agent in schedule.topology.agents}
    for number, work in enumerate(schedule.work):
        field = f"work[{number}]"
        yield from _wordy(f"{field}.task", work.task)
        yield from _known(f"{field}.agent", work.agent, reach, "agent")
        if work.agent in reach:
            yield from _known(f"{field}.sink", work.sink, reach[work.agent], f"sink to agent {work.agent}")
        yield from _time(f"{field}.at_ns", work.at_ns)
        yield from _time(f"{field}.step_ns", work.step_ns)
        yield from _within(f"{field}.steps", work.steps, 1, STEPS_MAX)


def _volume(schedule: Schedule) -> Problems:
    """How much there is to do; asked of a schedule whose every number may be what it is."""
    lasting = schedule.duration_ns + schedule.settle_ns + schedule.core_ns
    found = {f"parameters.{name}": signals for name, signals in volume.regular(schedule.topology, schedule.parameters, lasting)}
    found["work"] = volume.steps(sum(work.steps for work in schedule.work))
    for number, entry in enumerate(schedule.timeline):
        if _is_fault(fault := entry.action):
            hit, lasts = len(fault.links) or len(fault.targets), lasting if fault.for_ns is None else fault.for_ns
            found[f"timeline[{number}].action"] = volume.of_fault(FAULTS[fault.what], fault.settings, hit, lasts)
    if (total := sum(found.values())) > volume.SIGNALS_MAX:
        field = max(found, key=lambda each: found[each])
        yield _problem(
            field, f"a run of about {total:,} signals, most of them by this", found[field], f"make it {volume.SIGNALS_MAX:,} in all at most"
        )


# -- the timeline -------------------------------------------------------------------------------------------------------------------


def _timeline(timeline: tuple[Entry, ...], roster: Roster) -> Problems:
    yield from _at_most("timeline", len(timeline), ENTRIES_MAX)
    yield from _unique("timeline[{}].id", (entry.id for entry in timeline))
    for number, entry in enumerate(timeline):
        field = f"timeline[{number}]"
        yield from _wordy(f"{field}.id", entry.id)
        yield from _trigger(f"{field}.trigger", entry.trigger, roster)
        if _is_operation(entry.action):
            yield from _operation(f"{field}.action", entry.action, roster)
        if _is_fault(entry.action):
            yield from _fault(f"{field}.action", entry.action, roster)


# Told apart by what they have: ``schedule`` reads through this module, so this one cannot ask it for its types as it runs.
def _is_operation(action: Operation | Fault) -> TypeGuard[Operation]:
    return hasattr(action, "verb")


def _is_fault(action: Operation | Fault) -> TypeGuard[Fault]:
    return hasattr(action, "what")


def _trigger(field: str, trigger: Trigger, roster: Roster) -> Problems:
    forms = [name for name, given in (("at_ns", trigger.at_ns is not None), ("after", trigger.after), ("when", trigger.when)) if given]
    if len(forms) != 1:
        yield _problem(field, "not exactly one form of trigger", ", ".join(forms) or "none", "give one of at_ns, after and when")
    if trigger.at_ns is not None:
        yield from _time(f"{field}.at_ns", trigger.at_ns)
    yield from _within(f"{field}.count", trigger.count, 1, COUNT_MAX)
    yield from _time(f"{field}.delay_ns", trigger.delay_ns)
    if trigger.after:
        yield from _known(f"{field}.after", trigger.after, VOCABULARY, "kind of fact")
        fields = (*VOCABULARY.get(trigger.after, ((), ""))[0], "node")
        for name, value in trigger.where.items() if trigger.after in VOCABULARY else ():
            yield from _known(f"{field}.where", name, fields, "field of this fact")
            if not isinstance(value, str | int):
                yield _problem(f"{field}.where.{name}", "not a text, whole number or flag", value, "compare with a single value")
    elif trigger.where:
        yield _problem(f"{field}.where", "only goes with `after`", trigger.where, "remove it, or say after what")
    if trigger.when is not None:
        yield from _when(f"{field}.when", trigger.when, roster)


def _when(field: str, when: tuple[str, str, str, str], roster: Roster) -> Problems:
    quantity, agent, comparison, value = when
    yield from _known(f"{field}[0]", quantity, (*LEFT, *STATES), "quantity")
    yield from _known(f"{field}[1]", agent, [node.removeprefix("agent/") for node in roster.agents], "agent")
    if quantity in LEFT:
        yield from _known(f"{field}[2]", comparison, COMPARISONS, "comparison")
        if not re.fullmatch(r"[0-9]{1,10}", value):
            yield _problem(f"{field}[3]", "not a part", value, f'write parts per million of the whole in quotes, for example "{MILLION // 20}"')
    elif quantity in STATES:
        yield from _known(f"{field}[2]", comparison, ("is",), "comparison")
        yield from _known(f"{field}[3]", value, STATES[quantity], quantity)


def _whom(field: str, operation: Operation, roster: Roster) -> Problems:
    """A scope that is well written covers somebody of the topology, if it is not said to cover nobody."""
    kind, value = operation.scope
    agents = [node.removeprefix("agent/") for node in roster.agents]
    tenants = sorted({agent.partition("/")[0] for agent in agents} | {sink.removeprefix("sink/").partition("/")[0] for sink in roster.sinks})
    remedy = "; or say allow_empty: true"
    if operation.tenant and operation.tenant not in tenants:
        yield _problem(f"{field}.tenant", "unknown tenant", operation.tenant, known_or_meant(operation.tenant, tenants) + remedy)
    if kind in ("agent", "tenant") and value not in (agents if kind == "agent" else tenants):
        yield _problem(f"{field}.scope", f"unknown {kind}", value, known_or_meant(value, agents if kind == "agent" else tenants) + remedy)
    if kind == "agent" and operation.tenant and value.partition("/")[0] != operation.tenant and value in agents:
        yield _problem(f"{field}.tenant", f"not the tenant of {shown(value)}", operation.tenant, "name the tenant that stands before the slash")


def _operation(field: str, operation: Operation, roster: Roster) -> Problems:
    yield from _known(f"{field}.verb", operation.verb, VERBS, "verb")
    kind, value = operation.scope
    yield from _known(f"{field}.scope", kind, SCOPES, "kind of scope")
    if kind in SCOPES:
        yield from _text(f"{field}.scope", value, SCOPES[kind], '["agent", "acme/1"], ["tenant", "acme"], ["label", "tier=gold"] or ["global", ""]')
    yield from _text(f"{field}.tenant", operation.tenant, f"({NAME_PATTERN})?", "acme, or nothing for the global scope")
    if not operation.allow_empty:
        yield from _whom(field, operation, roster)
    yield from _text(f"{field}.principal", operation.principal, NAME_PATTERN, "alice")
    for approver in operation.approvers:
        yield from _text(f"{field}.approvers", approver, f"{NAME_PATTERN}(#[1-9])?", "bob, or bob#2 for the key that a rotation gave him")
    yield from _known(f"{field}.replica", operation.replica, roster.replicas, "replica")
    yield from _within(f"{field}.reason: characters", len(operation.reason), 1, TEXT_MAX)
    yield from _wordy(f"{field}.request", operation.request)
    yield from _time(f"{field}.grace_ns", operation.grace_ns)
    yield from _time(f"{field}.approve_after_ns", operation.approve_after_ns)
    yield from _known(f"{field}.policy", operation.policy, ("", *bundles.NAMES), "policy")
    yield from _within(f"{field}.percent", operation.percent, 0, 100)
    yield from _within(f"{field}.guard", operation.guard, 0, COUNT_MAX)


def _fault(field: str, fault: Fault, roster: Roster) -> Problems:
    yield from _known(f"{field}.what", fault.what, FAULTS, "fault")
    if fault.for_ns is not None:
        yield from _time(f"{field}.for_ns", fault.for_ns, 1)
    kind = FAULTS.get(fault.what)
    for target in fault.targets:
        yield from _known(f"{field}.targets", target, roster.nodes, "node")
        if kind is not None and target in roster.nodes and role(target) not in kind.roles:
            yield _problem(f"{field}.targets", f"{kind.name} cannot hit such a node", target, f"aim it at one of {', '.join(kind.roles)}")
    links = frozenset(roster.links)
    for number, link in enumerate(fault.links):
        if link not in links:
            yield _problem(f"{field}.links[{number}]", "no such link", " -> ".join(link), "name two nodes of the topology that speak to each other")
    if kind is None:
        return
    if fault.links and kind.aim is not Aim.LINKS:
        yield _problem(f"{field}.links", f"{kind.name} is not a fault of links", fault.links, "name its nodes as targets")
    known = {setting.key: setting for setting in kind.settings}
    for key, value in fault.settings.items():
        yield from _known(f"{field}.settings", key, known, f"setting of {kind.name}")
        if key in known:
            yield from _setting(f"{field}.settings.{key}", known[key], value)
    for key, setting in known.items():
        if setting.default is None and key not in fault.settings:
            yield _problem(f"{field}.settings.{key}", "left out", None, f"say {setting.doc}")


def _setting(field: str, setting: Setting, value: int | str) -> Problems:
    if setting.unit is Unit.CHOICE:
        yield from _known(field, str(value), setting.choices, "choice")
    elif not isinstance(value, int):
        yield _problem(field, "not a whole number", value, f"write {setting.doc} as one")
    elif setting.unit is Unit.FLAG:
        yield from _within(field, value, 0, 1)
    elif not (setting.unit is Unit.DURATION_OR_NONE and value == NEVER):
        yield from _within(field, value, *setting.limits)
