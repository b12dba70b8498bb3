"""A scenario in plain words: what will happen, what is promised, what the file sets, and every default that it left unsaid.

Owns the wording. Computes nothing of its own: bounds come from ``derive``, concrete times from a schedule if one is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from textwrap import wrap
from typing import Any

from pydantic.fields import FieldInfo

from scenarios import derive
from scenarios.faults import FAULTS, LIVE, NEVER, Aim, Setting, Unit, writer
from scenarios.forms import Form
from scenarios.model import EntryForm, FaultForm, OperationForm, PolicyForm, Scenario
from scenarios.schedule import AgentSpec, Entry, Fault, Operation, Schedule, Trigger
from scenarios.targets import Word
from scenarios.triggers import FactMatch, Moment, State
from scenarios.units import Span, duration_text, percent_text, rate_text, span_text

WIDTH = 140  # of a list that may run long
PLACES = 3
CHANCES = ("drift", "loss", "duplicate", "reorder")  # of what a file sets, those that are shares; the rest are times
SEVERITY = {
    "soft": "drain, checkpoint and stop",
    "hard": "stop now",
    "isolate": "close the gate, let the process live",
    "quiesce": "close the gate, checkpoint and stop",
    "resume": "may go on",
}
CLOCK_RATES = {
    "none": "all run true",
    "within": "each node's runs at a rate of its own, up to {} fast or slow (drawn per seed)",
    "extremal": "each node's runs {} fast or slow, or all are fast, or all slow, or the replicas' one and the rest the other (drawn per seed)",
}
ROLLOUT = {
    "policy-shadow": "decides nothing, and what it would decide is noted",
    "policy-canary": "joins in deciding",
    "policy-promote": "what is on trial becomes the policy",
    "policy-rollback": "back to the policy before",
}


def explain(scenario: Scenario, schedule: Schedule | None = None) -> str:
    """The scenario as text for a terminal; with a schedule of it, also what that seed has drawn."""
    lines = [scenario.scenario, f"  {scenario.hypothesis}", "", "The fleet", *_fleet(scenario), "", "What happens", *_timeline(scenario)]
    lines += ["", "What is promised (protocol 2, T1, T3 and T4; real time after an order is effective)", *_bounds(scenario)]
    lines += ["", "What is expected", *_expectations(scenario)]
    lines += ["", "Set by the file", *(list(_set(scenario)) or ["  none of the parameters, and nothing of network, disks and clocks"])]
    defaults = list(_defaults(scenario))
    lines += ["", "Defaults in force", *(defaults or ["  none: the file says everything"])]
    if schedule is not None:
        lines += ["", f"What seed {schedule.seed} has drawn", *_drawn(schedule)]
    return "\n".join(lines) + "\n"


def _fleet(scenario: Scenario) -> Iterator[str]:
    topology = derive.topology(scenario.topology)
    several = bool(scenario.topology.cells)
    for number, cell in enumerate(scenario.topology.federation(), start=1):
        n, k, q = cell.replicas, cell.order_quorum(), cell.lease_quorum()
        name = f"cell {number}: " if several else ""
        yield f"  {name}{n} replica{'s' * (n > 1)}: an order is effective when {k} hold{'s' * (k == 1)} it durably, a lease needs {q} to grant it"
    for tenant, form in scenario.topology.tenants.items():
        agents = [agent for agent in topology.agents if agent.tenant == tenant]
        alike = groupby(agents, lambda agent: _traits(agent, cells=several))
        names = ", ".join(f"{_range([each.agent for each in group])} ({traits})" for traits, group in alike)
        sinks = ", ".join(f"{sink.name} (class {sink.class_})" for sink in form.sinks) or "none"
        yield from _wrapped(f"tenant {tenant}: {names or 'no agents'}; sinks: {sinks}")
        yield from (f"    each {kind}: {_work(scenario, kind)}" for kind in sorted({agent.kind for agent in agents}))
    rate, offset = CLOCK_RATES[scenario.clocks.drift].format(percent_text(scenario.parameters.drift)), scenario.clocks.offset
    yield f"  clocks: {rate}; each node's begins at {_drawn_span(offset, duration_text)}"


def _traits(agent: AgentSpec, *, cells: bool) -> str:
    """What tells agents of a tenant apart: kind, labels and, where there are several cells, which is its home."""
    return ", ".join((agent.kind, *agent.labels, *((f"cell {agent.cell}",) if cells else ())))


def _range(names: list[str]) -> str:
    """Names that follow each other, as a person says them."""
    return names[0] if len(names) == 1 else f"{names[0]} {'and' if len(names) == 2 else 'to'} {names[-1]}"


def _work(scenario: Scenario, kind: str) -> str:
    period, steps, think = derive.profile(scenario, kind)
    if not period:
        return "no tasks"
    cost = derive.cost(scenario, kind)
    costs = f", each effect for {cost} cents" if cost else ""
    undo = ", and what is done can be undone" if derive.undoable(scenario, kind) else ""
    return f"{rate_text(period)} tasks of {span_text(steps, str)} steps after {span_text(think, duration_text)} of thought each{costs}{undo}"


def _wrapped(text: str) -> list[str]:
    return wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)


def _timeline(scenario: Scenario) -> Iterator[str]:
    if not scenario.timeline and scenario.swarm is None:
        yield "  nothing but work"
    for number, (entry, entry_id) in enumerate(zip(scenario.timeline, derive.entry_ids(scenario.timeline), strict=True), start=1):
        yield f"  {number}. {_when(scenario, entry)}, {entry_id}: {_what(scenario, entry)}"
    if (swarm := scenario.swarm) is not None:
        window = span_text(swarm.between, duration_text)
        yield from _wrapped(
            f"Swarm, {window}: per seed {span_text(swarm.count, str)} faults of those kinds that the seed enables out of "
            f"{', '.join(swarm.faults) or 'none'}, each for {span_text(swarm.duration, duration_text)}"
        )
        if swarm.operations:
            yield f"  Swarm, {window}: per seed {span_text(swarm.orders, str)} operations out of {', '.join(swarm.operations)}"
    yield from _recovery(scenario)
    if short := derive.too_short(scenario):
        yield from _wrapped(short)


def _recovery(scenario: Scenario) -> Iterator[str]:
    """When whom is healed, and what follows."""
    heal_ns, settle_ns = scenario.duration, derive.settle_ns(scenario)
    if not derive.has_core(scenario):
        yield f"  At {_healed(heal_ns, settle_ns)}"
        return
    core_ns, every = derive.core_ns(scenario), scenario.core == "drawn"
    where = "At" if every else f"In one of {derive.CORE_ONE_IN} seeds, at"
    yield from _wrapped(
        f"{where} {duration_text(heal_ns)} only a core is healed, drawn per seed: a quorum of replicas, some agents with their sinks, and the "
        f"operator; then {duration_text(core_ns, PLACES)} with everybody else cut off, down or stopped, in which what is owed among the core must "
        "come true"
    )
    yield f"  {'At' if every else 'There, at'} {_healed(heal_ns + core_ns, settle_ns)}"
    if not every:
        live = ", and live" if LIVE in derive.drivers(scenario) else ""
        yield f"  In the other seeds{live}, at {_healed(heal_ns, settle_ns)}"


def _healed(at_ns: int, settle_ns: int) -> str:
    at, settle, end = (duration_text(each, PLACES) for each in (at_ns, settle_ns, at_ns + settle_ns))
    return f"{at} all faults are healed; then {settle} without faults, in which everything owed must come true, to the end at {end}"


def _when(scenario: Scenario, entry: EntryForm) -> str:
    if entry.at is not None:
        return f"at {_drawn_span(entry.at, duration_text)}"
    if entry.when is not None:
        return f"as soon as {_state(entry.when)}"
    after = entry.after
    moment = _moment(scenario, after) if isinstance(after, Moment) else _fact(after, entry.count)
    wait = f"{_drawn_span(entry.wait, duration_text)} after " if entry.wait.high else "as soon as "
    return wait + moment


def _moment(scenario: Scenario, moment: Moment) -> str:
    entry_id = derive.entry_ids(scenario.timeline)[derive.referred(moment, scenario.timeline)]
    words = {"on": "is in force", "off": "is over", "played": "is asked for", "accepted": "is accepted", "effective": "is effective"}
    return f"{entry_id} {words[moment.moment]}"


def _fact(fact: FactMatch | None, count: int) -> str:
    return f"fact {fact}" + (f" occurs for the {count}. time" if count > 1 else " occurs")


def _state(state: State) -> str:
    if state.quantity in ("lease.left", "drain.left"):
        what = "lease" if state.quantity == "lease.left" else "grace"
        return f"less than {percent_text(int(state.value))} of the {what} of {state.agent} is left"
    return f"the {state.quantity} of {state.agent} is {state.value}"


def _what(scenario: Scenario, entry: EntryForm) -> str:
    name, form = entry.actions()[0]
    if isinstance(form, PolicyForm):
        return _rollout(name, form)
    return _order(scenario, name, form) if isinstance(form, OperationForm) else _fault(name, form)


def _order(scenario: Scenario, verb: str, form: OperationForm) -> str:
    kind, value = form.scope
    whom = "everything" if kind == "global" else f"{kind} {value}" + (f" of tenant {form.tenant}" if form.tenant else "")
    how = SEVERITY[verb]
    if verb == "soft":
        grace = form.grace or Span(scenario.parameters.grace, scenario.parameters.grace)
        how += f" within a grace of {_grace(grace, scenario.parameters.grace_max)}"
    if verb == "resume":
        how += f", approved by {' and '.join(derive.approvers(form, scenario.parameters.approvals))}"
    elif form.approvers:
        how += f", countersigned by {' and '.join(form.approvers)} if policy wants more keys"
    how += f" after {_drawn_span(form.approve_after, duration_text)}" if form.approve_after else ""
    via = f"replica {form.replica}" if form.replica else "a replica drawn per seed"
    return f"{form.principal} asks {via} for {verb.upper()} ({how}) on {whom}, reason {form.reason!r}"


def _grace(asked: Span, most_ns: int) -> str:
    """What the order will carry: replicas grant no more than grace-max."""
    given = _drawn_span(Span(*(min(each, most_ns) for each in asked)), duration_text)
    return given if asked.high <= most_ns else f"{given}, for {span_text(asked, duration_text)} is more than grace-max"


def _rollout(verb: str, form: PolicyForm) -> str:
    via = f"replica {form.replica}" if form.replica else "a replica drawn per seed"
    tried = f" of {form.policy}" if form.policy else ""
    canary = ""
    if verb == "policy-canary":
        share, guard = _drawn_span(form.share or derive.SHARE, percent_text), _drawn_span(form.guard or derive.GUARD, str)
        canary = f", for {share} of scopes, rolled back by itself when it alone has made more than {guard} stops"
    return f"{form.principal} asks {via} for {verb}{tried} ({ROLLOUT[verb]}{canary}), reason {form.reason!r}"


def _fault(name: str, form: FaultForm) -> str:
    kind = FAULTS[name]
    lasts = form.get("for")
    duration = "" if not kind.lasting else " until all is healed" if lasts is None else f" for {_drawn_span(lasts, duration_text)}"
    settings = ", ".join(f"{setting.name} {_setting(setting, form.get(setting.name))}" for setting in kind.settings)
    return f"{name} {_aimed(form, kind.aim)}{duration}" + (f" ({settings})" if settings else "")


def _aimed(form: FaultForm, aim: Aim) -> str:
    if aim is Aim.NODES:
        return f"of {_words(form.get('nodes'))}"
    if aim is Aim.SIGNALS:
        return f"to {_words(form.get('to'))}"
    if form.get("between"):
        return "between " + " and ".join(_words(side) for side in form.get("between"))
    return f"from {_words(form.get('from'))} to {_words(form.get('to'))}" if form.get("from") else "on every link"


def _words(words: tuple[Word, ...]) -> str:
    return " with ".join(str(word) for word in words)


def _setting(setting: Setting, value: Any) -> str:
    if value is None:
        return "none"
    if not isinstance(value, Span):
        return str(value).lower()
    return _drawn_span(value, writer(setting.unit))


def _drawn_span(value: Span, write: Any) -> str:
    return span_text(value, write) + ("" if value.fixed else " (drawn per seed)")


def _bounds(scenario: Scenario) -> Iterator[str]:
    form = scenario.parameters
    longest = derive.asked_grace(scenario)
    bounds = derive.bounds(form, longest)
    drift, lease = percent_text(form.drift), duration_text(form.lease)
    yield f"  HARD, ISOLATE, QUIESCE: nothing is admitted later than {duration_text(bounds.hard_ns, PLACES)} (lease {lease} / (1 - {drift}))"
    yield f"  SOFT: no new task later than {duration_text(bounds.soft_new_ns, PLACES)}"
    grace = f"the longer of lease and grace {duration_text(longest)}"
    yield f"  SOFT: nothing at all later than {duration_text(bounds.soft_ns, PLACES)} ({grace}, / (1 - {drift}))"
    wait = f"  Presumed stopped without proof: not before {duration_text(bounds.declare_wait_ns, PLACES)}"
    if any(sink.class_ == "C" for tenant in scenario.topology.tenants.values() for sink in tenant.sinks):
        yield f"  At a class C sink: {duration_text(bounds.challenge_ns, PLACES)} later than each of these (challenge / (1 - {drift}))"
        wait += f", and {duration_text(form.challenge, PLACES)} more for an agent with a class C sink,"
    yield f"{wait} on the clock of each of the replicas that say so"


def _expectations(scenario: Scenario) -> Iterator[str]:
    yield f"  invariants: {', '.join(scenario.expect.invariants) or 'all that apply'}"
    for fact in scenario.expect.reached:
        yield f"  reached in some run: {fact}"
    for name, limit in sorted(scenario.expect.stop_time.items()):
        yield f"  stop time {name} under {duration_text(limit)}"
    form = scenario.stop_when
    for name, above in (("unbounded agents", form.unbounded_agents), ("violations", form.violations), ("facts", form.facts)):
        if above is not None:
            yield f"  the run ends early when {name} are above {above}"
    yield f"  playable by: {', '.join(derive.drivers(scenario)) or 'no driver'}" + (
        f"; requires {', '.join(scenario.requires)}" if scenario.requires else ""
    )


def _set(scenario: Scenario) -> Iterator[str]:
    """What the file says of the parameters, and of network, disks and clocks when no fault is on."""
    for part in ("parameters", "network", "disk", "clocks"):
        form = getattr(scenario, part)
        for name, field in type(form).model_fields.items():
            if name in form.model_fields_set:
                value = getattr(form, name)
                one = percent_text if name in CHANCES else duration_text
                plain = isinstance(value, str) or name == "approvals"
                said = str(value) if plain else span_text(value, one) if isinstance(value, Span) else one(value)
                yield f"  {part}.{field.alias}: {said}"


def _defaults(scenario: Scenario) -> Iterator[str]:
    """Every key that the file leaves out, with the value it then has, as it would be written; those of one entry on one line."""
    of_one_cell = ("topology.replicas: ", "topology.quorum: ", "topology.kill-quorum: ") if scenario.topology.cells else ()
    yield from (f"  {default}" for default in _left_out(scenario, "") if not default.startswith(of_one_cell))
    for number, (entry, entry_id) in enumerate(zip(scenario.timeline, derive.entry_ids(scenario.timeline), strict=True)):
        unsaid = [] if entry.id else [f"id: {entry_id}"]
        unsaid += [default for name, form in entry.actions() for default in _left_out(form, f"{name}.")]
        if unsaid:
            yield f"  timeline[{number}]: {', '.join(unsaid)}"


def _left_out(form: Form, prefix: str) -> Iterator[str]:
    for name, field in type(form).model_fields.items():
        value = getattr(form, name)
        if isinstance(value, Form):
            yield from _left_out(value, f"{prefix}{field.alias}.")
        elif name not in form.model_fields_set and name != "timeline":
            written = _written(field, value)
            if written is not None:
                yield f"{prefix}{field.alias}: {written}"


def _written(field: FieldInfo, value: Any) -> str | None:
    """A default as a file would say it; None for what is simply absent."""
    default = field.get_default()
    if value is None or default in ((), None) or field.default_factory is not None or default == {}:
        return None
    if isinstance(default, bool):
        return str(default).lower()
    return f"[{', '.join(default)}]" if isinstance(default, tuple) else str(default)


def _drawn(schedule: Schedule) -> Iterator[str]:
    yield f"  {len(schedule.work)} tasks for {len(schedule.topology.agents)} agents"
    drifts = sorted({clock.drift_ppm for clock in schedule.clocks.values()})
    yield f"  clocks that drift by {' to '.join(percent_text(drift) for drift in (drifts[0], drifts[-1])[: len(drifts)])}"
    for entry in sorted(schedule.timeline, key=lambda entry: (entry.trigger.at_ns is None, entry.trigger.at_ns or 0)):
        yield f"  {_drawn_trigger(entry.trigger)} {entry.id}: {_drawn_action(entry)}"
    heal_ns = schedule.duration_ns
    if schedule.core:
        yield from _wrapped(f"{duration_text(heal_ns, PLACES):>8} only the core is healed: {_core(schedule)}")
        heal_ns += schedule.core_ns
    yield f"  {duration_text(heal_ns, PLACES):>8} all is healed"
    yield f"  {duration_text(heal_ns + schedule.settle_ns, PLACES):>8} the end"


def _core(schedule: Schedule) -> str:
    """Who is in the core, an agent and its sidecar as one."""
    members = frozenset(schedule.core)
    agents = [agent.agent for agent in schedule.topology.agents if f"agent/{agent.agent}" in members]
    others = [node for node in schedule.core if not node.startswith(("agent/", "sidecar/"))]
    return ", ".join((*others, *agents)) + f" with {'its sidecar' if len(agents) == 1 else 'their sidecars'}"


def _drawn_trigger(trigger: Trigger) -> str:
    if trigger.at_ns is not None:
        return f"{duration_text(trigger.at_ns, PLACES):>8}"
    if trigger.when is not None:
        return f"when {_state(State(*trigger.when))},"
    wait = f"{duration_text(trigger.delay_ns, PLACES)} after " if trigger.delay_ns else "after "
    return wait + f"{FactMatch(trigger.after, tuple(trigger.where.items()))}" + (f" number {trigger.count}," if trigger.count > 1 else ",")


def _drawn_action(entry: Entry) -> str:
    action = entry.action
    if isinstance(action, Operation) and action.verb in ROLLOUT:
        canary = f" for {action.percent}% of scopes, guard {action.guard}" if action.verb == "policy-canary" else ""
        return f"{action.verb} {action.policy}".strip() + f"{canary} via {action.replica}"
    if isinstance(action, Operation):
        grace = f", grace asked for {duration_text(action.grace_ns, PLACES)}" if action.verb == "soft" else ""
        return f"{action.verb.upper()} on {' '.join(action.scope).strip()} via {action.replica}{grace}"
    lasts = f", for {duration_text(action.for_ns, PLACES)}" if action.for_ns is not None else ""
    settings = "".join(f", {each.name} {_drawn_setting(each, action.settings[each.key])}" for each in FAULTS[action.what].settings)
    return f"{action.what} {_drawn_target(action)}{lasts}{settings}"


def _drawn_target(fault: Fault) -> str:
    return f"on {len(fault.links)} links of {', '.join(fault.targets)}" if fault.links else f"of {', '.join(fault.targets)}"


def _drawn_setting(setting: Setting, value: int | str) -> str:
    if isinstance(value, str):
        return value
    if setting.unit is Unit.FLAG:
        return "true" if value else "false"
    if setting.unit is Unit.DURATION_OR_NONE and value == NEVER:
        return "none"
    write = writer(setting.unit)
    return duration_text(value, PLACES) if write is duration_text else write(value)
