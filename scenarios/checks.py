"""What only several keys together can get wrong: quorums, bounds, targets, references.

Owns every rule beyond the shape of single values. Given a scenario of which some parts may already have been refused (``skipped``), it
judges the rest, so that a person sees all problems of a file at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import count

from killswitch.core.leases import ROUNDS_MAX
from scenarios import aims, bundles, derive, facts_named, volume
from scenarios.document import Complaint, Steps
from scenarios.faults import FAULTS, Aim, FaultKind
from scenarios.model import CellForm, EntryForm, FaultForm, OperationForm, PolicyForm, Scenario
from scenarios.problems import known_or_meant
from scenarios.seeds import SEED_MAX
from scenarios.targets import Roster
from scenarios.triggers import FactMatch, Moment
from scenarios.units import MILLION, SECOND_NS, Span, duration_text, percent_text, span_text

AGENTS_LIMIT = 200
REPLICAS_LIMIT = 9
TASKS_LIMIT = 50_000
STEPS_LIMIT = 100
SWARM_LIMIT = 50
SEEDS_LIMIT = 1_000_000
DRIFT_LIMIT_PPM = 500_000
RUN_LIMIT_NS = 3600 * SECOND_NS
SETTLE_LIMIT_NS = 12 * RUN_LIMIT_NS  # where it follows from the parameters
GUARD_LIMIT = 10_000
LOSS_LIMIT_PPM = 100_000
SYNC_LIMIT_NS = 300_000_000
ROUNDS_IN_A_TRIP = ROUNDS_MAX // 2  # half of those that are kept: a start asks out of turn

Parts = frozenset[str]


def complaints(scenario: Scenario, skipped: Parts, numbers: tuple[int, ...]) -> Iterator[Complaint]:
    """Everything wrong between the parts of a scenario.

    ``skipped``: keys (``topology``, and ``topology.quorum`` too) that were refused in part or whole, and stand in here by placeholders; an entry
    of the timeline (``timeline.3.hard``, and ``timeline.3.hard.grace`` too) by what is right of it.
    ``numbers``: for each entry of the timeline, its index in the file.
    """
    roster = None if _fleet_is_unsure(skipped) else Roster(derive.topology(scenario.topology))
    if not {"topology.replicas", "topology.quorum", "topology.kill-quorum"} & skipped:
        yield from _quorums(scenario)
    if "topology.tenants" not in skipped:
        yield from _fleet(scenario)
    yield from _parameters(scenario, skipped)
    yield from _run(scenario, skipped)
    if roster is not None and "workload" not in skipped:
        yield from _workload(scenario)
    if roster is not None and not {"parameters", "workload", "duration", "settle", "network"} & skipped:
        yield from _volume(scenario, numbers)
    yield from _ids(scenario, numbers)
    for index, entry in enumerate(scenario.timeline):
        at: Steps = ("timeline", numbers[index])
        yield from _trigger(scenario, entry, at, skipped, roster)
        yield from _action(scenario, entry, at, skipped, roster)
    if "timeline" not in skipped:
        yield from _circles(scenario, numbers)
    if roster is not None:
        places = (at for number in count() if not _in_part(at := ("expect", "reached", number), skipped))
        for at, match in zip(places, scenario.expect.reached, strict=False):
            yield from facts_named.complaints(scenario, match, at, roster, timeline_is_sure="timeline" not in skipped)
    if scenario.swarm is not None:
        yield from _swarm(scenario, skipped)


def _fleet_is_unsure(skipped: Parts) -> bool:
    """Whether it cannot be told who there is: because of the parts that say so, or because there is no topology at all."""
    parts = {key for key in skipped if key.startswith("topology.")}
    return bool(parts & {"topology.tenants", "topology.replicas", "topology.cells"}) or ("topology" in skipped and not parts)


def _quorums(scenario: Scenario) -> Iterator[Complaint]:
    form = scenario.topology
    for number, cell in enumerate(form.federation()):
        yield from _quorum(cell, ("topology", "cells", number) if form.cells else ("topology",))
    if form.cells:
        for key in sorted({"replicas", "quorum", "kill_quorum"} & form.model_fields_set):
            yield Complaint(("topology", key.replace("_", "-")), "`cells` says that of each cell", "keep one of them")
        if form.all_replicas() > REPLICAS_LIMIT:
            yield Complaint(("topology", "cells"), f"more than {REPLICAS_LIMIT} replicas in all", "make cells smaller", str(form.all_replicas()))


def _quorum(form: CellForm, at: Steps) -> Iterator[Complaint]:
    n, k, q = form.replicas, form.order_quorum(), form.lease_quorum()
    for key, value in (("kill-quorum", form.kill_quorum), ("quorum", form.quorum)):
        if value is not None and value > n:
            yield Complaint((*at, key), f"more than the {n} replicas", f"use at most {n}", str(value))
            return
    got = f"replicas {n}, kill-quorum {k}, quorum {q}"
    key = "quorum" if form.quorum is not None else "kill-quorum"
    if 2 * q <= n:
        problem = "two lease quorums may share no replica: 2 * quorum must be above replicas"
        yield Complaint((*at, key), problem, f"use {n // 2 + 1} or more", got)
    if k + q <= n:
        remedy = "raise one of them: else a lease is granted by replicas that have never heard of the order"
        problem = "a lease quorum may miss every replica that holds an order: kill-quorum + quorum must be above replicas"
        yield Complaint((*at, key), problem, remedy, got)


def _fleet(scenario: Scenario) -> Iterator[Complaint]:
    total = 0
    for tenant, form in scenario.topology.tenants.items():
        total += sum(group.count for group in form.groups())
        for name, times in Counter(sink.name for sink in form.sinks).items():
            if times > 1:
                yield Complaint(("topology", "tenants", tenant, "sinks"), f"{times} sinks of one name", "give each its own name", repr(name))
        for number, group in enumerate(form.agents):
            if group.cell > len(scenario.topology.federation()):
                got, there = str(group.cell), len(scenario.topology.federation())
                yield Complaint(("topology", "tenants", tenant, "agents", number, "cell"), f"there are only {there} cells", "use a lower number", got)
    if not 1 <= total <= AGENTS_LIMIT:
        problem = "no agents at all" if total == 0 else f"more than {AGENTS_LIMIT} agents"
        yield Complaint(("topology", "tenants"), problem, "for example acme: {workers: 2}", str(total))


def _parameters(scenario: Scenario, skipped: Parts) -> Iterator[Complaint]:
    form = scenario.parameters
    for key in ("lease", "renew", "challenge", "kill-retry", "gossip", "stop-timeout", "standby-max", "approval"):
        if (value := getattr(form, key.replace("-", "_"))) < volume.LEAST_NS:
            problem = f"less than {duration_text(volume.LEAST_NS)}, the least that there is" if value else "must be more than nothing"
            yield Complaint(("parameters", key), problem, "write for example 500ms")
    if form.grace > form.grace_max and not {"parameters.grace", "parameters.grace-max"} & skipped:
        problem, got = f"longer than grace-max, {duration_text(form.grace_max)}", duration_text(form.grace)
        written = "grace" in form.model_fields_set
        yield Complaint(("parameters", "grace"), problem, "lower it, or raise grace-max", None if written else got)
    if form.drift > DRIFT_LIMIT_PPM:
        yield Complaint(("parameters", "drift"), "no clock is promised to be that bad", "use at most 50%")
    elif not {"parameters.lease", "parameters.renew", "parameters.drift", "network.latency", "network.jitter"} & skipped:
        yield from _availability(scenario)


def _availability(scenario: Scenario) -> Iterator[Complaint]:
    """Of a network that the file makes too slow for renewals that would do with any other, the network is to blame."""
    form, network = scenario.parameters, scenario.network
    limit, trip = derive.renewal_limit(form), derive.round_trip(network)
    if form.lease and form.renew + trip >= limit:
        needed = -(-(form.renew + trip) * (MILLION + form.drift) // (MILLION - form.drift))
        problem = (
            f"leases would run out between renewals: renew + round trip ({duration_text(trip, 3)}) must be under "
            f"lease * (1 - drift) / (1 + drift) = {duration_text(limit, 3)}"
        )
        slow = [key for key in ("latency", "jitter") if key in network.model_fields_set]
        if slow and form.renew + derive.round_trip(type(network)()) < limit:
            key = max(slow, key=lambda each: getattr(network, each).high)
            remedy = f"use less, or take a lease above {duration_text(needed, 3)}"
            yield Complaint(("network", key), problem, remedy, span_text(getattr(network, key), duration_text))
        else:
            remedy = f"renew more often, or take a lease above {duration_text(needed, 3)}"
            yield Complaint(("parameters", "renew"), problem, remedy, duration_text(form.renew))
    elif form.renew >= volume.LEAST_NS and trip >= ROUNDS_IN_A_TRIP * form.renew:
        took = f"the round trip ({duration_text(trip, 3)}) takes {ROUNDS_IN_A_TRIP} renewals or more"
        problem = f"answers may come when their requests are forgotten: {took}"
        remedy = f"take a renew above {duration_text(-(-trip // ROUNDS_IN_A_TRIP), 3)}"
        yield Complaint(("parameters", "renew"), problem, remedy, duration_text(form.renew))


def _run(scenario: Scenario, skipped: Parts) -> Iterator[Complaint]:
    if not 0 < scenario.duration <= RUN_LIMIT_NS:
        yield Complaint(("duration",), "must be more than nothing and at most 1h", "write for example 30s")
    if scenario.core == "drawn" and scenario.topology.cells:
        yield Complaint(("core",), "several cells are healed all at once", "remove it, or make one cell of them")
    if scenario.settle is not None and scenario.settle > RUN_LIMIT_NS:
        yield Complaint(("settle",), "longer than 1h", "leave it out: the default follows from the parameters")
    if scenario.seeds.high > SEED_MAX:
        yield Complaint(("seeds",), f"a seed above {SEED_MAX}, which no token can carry", "use lower numbers", str(scenario.seeds.high))
    elif not 1 <= scenario.seeds.high - scenario.seeds.low + 1 <= SEEDS_LIMIT or scenario.seeds.high == 0:
        yield Complaint(("seeds",), f"must be 1 to {SEEDS_LIMIT} seeds", "write for example 20, or 100..199")
    yield from _nature(scenario)
    if not {"topology.tenants", "parameters.challenge", "parameters.drift", "network.latency", "network.jitter"} & skipped:
        yield from _challenges(scenario)
    if "live" in scenario.requires and "timeline" not in skipped and "live" not in derive.drivers(scenario):
        yield Complaint(("requires",), f"it requires the live driver, which does not have {', '.join(derive.simulated_only(scenario))}",
                        "see docs/scenarios.md for what live has")  # fmt: skip


def _nature(scenario: Scenario) -> Iterator[Complaint]:
    """What network and disks do when no fault is on, which is all the time: what is promised in bounded time has to be kept even so."""
    for key in ("loss", "duplicate", "reorder"):
        if getattr(scenario.network, key).high > MILLION:
            yield Complaint(("network", key), "a chance above 100%", "use at most 100%")
    if LOSS_LIMIT_PPM < scenario.network.loss.high <= MILLION:
        problem = "a network that always loses more than 10% keeps no bound of the protocol"
        yield Complaint(("network", "loss"), problem, "use at most 10% here, and a loss fault for what passes")
    sync_ns = scenario.disk.sync.high + scenario.disk.jitter.high
    if sync_ns > SYNC_LIMIT_NS:
        problem = f"with jitter longer than {duration_text(SYNC_LIMIT_NS)}: disks that are always so slow keep no bound of the protocol"
        yield Complaint(("disk", "sync"), problem, "use less here, and a disk-slow fault for what passes", duration_text(sync_ns))


def _challenges(scenario: Scenario) -> Iterator[Complaint]:
    trip, form = derive.round_trip(scenario.network), scenario.parameters
    challenged = any(sink.class_ == "C" for tenant in scenario.topology.tenants.values() for sink in tenant.sinks)
    if challenged and form.drift <= DRIFT_LIMIT_PPM and trip * (MILLION + form.drift) >= form.challenge * (MILLION - form.drift):
        needed = -(-trip * (MILLION + form.drift) // (MILLION - form.drift))
        problem = f"no answer to a class C sink would be back in time: the round trip takes up to {duration_text(trip, 3)}"
        yield Complaint(("parameters", "challenge"), problem, f"take a challenge above {duration_text(needed, 3)}", duration_text(form.challenge))


def _workload(scenario: Scenario) -> Iterator[Complaint]:
    total = sum(tasks for tasks, _ in derive.tasks(scenario))
    for agent in derive.topology(scenario.topology).agents:
        _, steps, _ = derive.profile(scenario, agent.kind)
        if not 1 <= steps.low <= steps.high <= STEPS_LIMIT:
            yield Complaint(("workload",), f"tasks of {steps.low} to {steps.high} steps", f"use 1 to {STEPS_LIMIT} steps")
            return
    if total > TASKS_LIMIT:
        yield Complaint(("workload",), f"more than {TASKS_LIMIT} tasks in one run", "lower the rate, the fleet or the duration", f"about {total}")


def _volume(scenario: Scenario, numbers: tuple[int, ...]) -> Iterator[Complaint]:
    """How long it all lasts, and how much there is to do in that time."""
    settling = derive.settle_ns(scenario)
    if settling > SETTLE_LIMIT_NS:
        problem = f"the times in it make the settling after the heal longer than {duration_text(SETTLE_LIMIT_NS)}"
        yield Complaint(("parameters",), problem, "lower the longest of them, or say `settle`", duration_text(settling))
        return
    given = list(derive.tasks(scenario))
    if sum(tasks for tasks, _ in given) > TASKS_LIMIT:
        return  # `_workload` says so
    lasting = scenario.duration + settling * (1 if scenario.core == "none" else 3)
    where = derive.topology(scenario.topology)
    found: dict[Steps, int] = {}
    for name, signals in volume.regular(where, derive.parameters(scenario.parameters), lasting):
        found["parameters", name.removesuffix("_ns").replace("_", "-")] = signals
    found[("workload",)] = volume.steps(sum(tasks * steps for tasks, steps in given))
    roster = Roster(where)
    for index, entry in enumerate(scenario.timeline):
        for name, form in entry.actions():
            if isinstance(form, FaultForm):
                found["timeline", numbers[index], name] = _repeats(FAULTS[name], form, roster, lasting)
    if (total := sum(found.values())) > volume.SIGNALS_MAX:
        at = max(found, key=lambda each: found[each])
        problem = f"a run of about {total:,} signals, {found[at]:,} of them by this; {volume.SIGNALS_MAX:,} are the most"
        yield Complaint(at, problem, "do it less often, or with fewer agents, or for a shorter time", None)


def _repeats(kind: FaultKind, form: FaultForm, roster: Roster, lasting_ns: int) -> int:
    """What a fault of the timeline makes at most: as often, and for as long, as any seed may draw."""
    sound = (setting for setting in kind.settings if isinstance(span := form.get(setting.name), Span) and aims.fits(span, setting))
    spans = {setting.key: form.get(setting.name) for setting in sound}
    settings, lasts = {key: span.high if key == "per_s" else span.low for key, span in spans.items()}, form.get("for")
    hit = len(aims.links(kind, form, roster)) if kind.aim is Aim.LINKS else len(roster.nodes)
    return volume.of_fault(kind, settings, hit, lasts.high if isinstance(lasts, Span) else lasting_ns)


def _ids(scenario: Scenario, numbers: tuple[int, ...]) -> Iterator[Complaint]:
    seen: dict[str, int] = {}
    for index, name in enumerate(derive.entry_ids(scenario.timeline)):
        if name in seen:
            problem = f"the id of timeline[{numbers[seen[name]]}] too"
            yield Complaint(("timeline", numbers[index], "id"), problem, "give each entry its own id", repr(name))
        seen.setdefault(name, index)


def _trigger(scenario: Scenario, entry: EntryForm, at: Steps, skipped: Parts, roster: Roster | None) -> Iterator[Complaint]:
    given = [key for key in ("at", "after", "when") if getattr(entry, key) is not None]
    if len(given) > 1 or not (given or _in_part(at, skipped)):
        problem = "no trigger" if not given else "more than one trigger"
        yield Complaint((*at, *given[1:2]), problem, "give exactly one of at, after and when", ", ".join(given) or None)
    if entry.after is None and not _in_part(at, skipped):
        for key in sorted({"wait", "count"} & entry.model_fields_set):
            yield Complaint((*at, key), "only goes with `after`", "remove it, or say after what")
    if entry.count > 1 and isinstance(entry.after, Moment):
        yield Complaint((*at, "count"), "this moment comes only once", "remove it", str(entry.count))
    if entry.at is not None and "duration" not in skipped and entry.at.high > scenario.duration:
        remedy = f"use at most {duration_text(scenario.duration)}, or raise duration"
        yield Complaint((*at, "at"), "later than the end of the run", remedy, duration_text(entry.at.high))
    if entry.when is not None and roster is not None:
        agents = [node.removeprefix("agent/") for node in roster.agents]
        if entry.when.agent not in agents:
            yield Complaint((*at, "when"), "no such agent", known_or_meant(entry.when.agent, agents), repr(entry.when.agent))
    if isinstance(entry.after, FactMatch) and roster is not None:
        yield from facts_named.complaints(scenario, entry.after, (*at, "after"), roster, timeline_is_sure="timeline" not in skipped)
    if isinstance(entry.after, Moment) and "timeline" not in skipped:
        try:
            derive.awaited(entry.after, scenario.timeline)
        except derive.Ambiguous as error:
            ids = derive.entry_ids(scenario.timeline)
            if _is_of_several_actions(scenario, entry.after, ids):
                return  # what that entry is, once each action has its own, is not known yet
            yield Complaint((*at, "after"), str(error), f"the ids here are {', '.join(ids)}", repr(str(entry.after)))


def _is_of_several_actions(scenario: Scenario, moment: Moment, ids: tuple[str, ...]) -> bool:
    """Whether a moment may be meant of an entry that was refused for having more than one action, be it by an id that its second would have."""
    crowded = [([name for name, _ in entry.actions()], entry_id) for entry, entry_id in zip(scenario.timeline, ids, strict=True)]
    named = moment.entry.rstrip("0123456789").rstrip("-")
    return any(len(names) > 1 and (moment.entry == entry_id or named in names) for names, entry_id in crowded)


def _circles(scenario: Scenario, numbers: tuple[int, ...]) -> Iterator[Complaint]:
    """Entries that, each waiting for another, would all wait for ever."""
    waits: dict[int, int] = {}
    for index, entry in enumerate(scenario.timeline):
        if isinstance(entry.after, Moment):
            try:
                waits[index] = derive.referred(entry.after, scenario.timeline)
            except derive.Ambiguous:
                continue
    for index in waits:
        trail = [index]
        while trail[-1] in waits and waits[trail[-1]] not in trail:
            trail.append(waits[trail[-1]])
        if waits.get(trail[-1]) == index:
            yield Complaint(("timeline", numbers[index], "after"), "waits, in the end, for itself", "break the circle with an `at`")


def _in_part(at: Steps, skipped: Parts) -> bool:
    """Whether something was refused of what stands there."""
    return ".".join(map(str, at)) in skipped


def _action(scenario: Scenario, entry: EntryForm, at: Steps, skipped: Parts, roster: Roster | None) -> Iterator[Complaint]:
    actions = entry.actions()
    if len(actions) != 1:
        problem = "nothing to do" if not actions else "more than one thing to do"
        remedy = "give one operation or fault, for example hard: {scope: tenant acme}" if not actions else "make an entry of each"
        yield Complaint((*at, *(name for name, _ in actions[1:2])), problem, remedy, ", ".join(name for name, _ in actions) or None)
    for name, form in actions:
        refused = {key for key in _DECISIVE if _in_part((*at, name, key), skipped)}  # what is missing may be what was refused
        if isinstance(form, OperationForm):
            if not refused:
                yield from _operation(scenario, name, form, (*at, name), roster)
            if name == "resume" and "parameters.approval" not in skipped and not _in_part((*at, name, "approve-after"), skipped):
                yield from _approved_in_time(scenario, form, (*at, name))
        elif isinstance(form, PolicyForm):
            if not refused:
                yield from _rollout(scenario, name, form, (*at, name), timeline_is_sure="timeline" not in skipped)
            if roster is not None:
                yield from _asked_first(scenario, form, (*at, name))
        else:
            yield from aims.settings(FAULTS[name], form, (*at, name))
            if roster is not None and not refused:
                yield from aims.targets(FAULTS[name], form, (*at, name), roster)


_DECISIVE = ("allow-empty", "approvers", "between", "from", "in", "nodes", "policy", "scope", "tenant", "to")
"""Keys of an operation or fault on which others depend."""


def _operation(scenario: Scenario, verb: str, form: OperationForm, at: Steps, roster: Roster | None) -> Iterator[Complaint]:
    if form.grace is not None and verb != "soft":
        yield Complaint((*at, "grace"), f"a {verb} has no grace", "remove it, or use soft")
    if form.cleanup is not None and verb != "soft":
        yield Complaint((*at, "cleanup"), f"a {verb} leaves no time for a cleanup" if verb != "resume" else "a resume stops nothing",
                        "remove it, or use soft")  # fmt: skip
    if form.approve_after is not None and verb != "resume" and not form.approvers:
        yield Complaint((*at, "approve-after"), f"a {verb} waits for no approvers", "remove it, or name who countersigns it: approvers: [bob]")
    kind, value = form.scope
    if form.tenant is not None and kind not in ("label", "global"):
        yield Complaint((*at, "tenant"), f"a scope of kind {kind} names its tenant itself, if any", "remove it", repr(form.tenant))
    if form.tenant is None and kind == "label":
        yield Complaint((*at, "scope"), "a label belongs to one tenant", "add `tenant: acme` beside it", repr(f"label {value}"))
    if roster is None:
        return
    yield from _asked_first(scenario, form, at)
    tenants = list(scenario.topology.tenants)
    if form.tenant is not None and form.tenant not in tenants:
        yield Complaint((*at, "tenant"), "no such tenant", known_or_meant(form.tenant, tenants), repr(form.tenant))
    elif not form.allow_empty and not matching_agents(scenario, form):
        known = {"agent": [agent.removeprefix("agent/") for agent in roster.agents], "tenant": tenants}.get(kind)
        remedy = "allow-empty: true if that is meant" if known is None else f"{known_or_meant(value, known)} (or allow-empty: true)"
        yield Complaint((*at, "scope"), "matches no agent", remedy, repr(f"{kind} {value}".strip()))


def _approved_in_time(scenario: Scenario, form: OperationForm, at: Steps) -> Iterator[Complaint]:
    """Whoever approves too late is shown another draft, and takes as long over that."""
    good_for = scenario.parameters.approval
    if form.approve_after is not None and form.approve_after.low >= good_for:
        problem = f"no shorter than parameters.approval, {duration_text(good_for)}: every draft has ended by the time that it is approved"
        yield Complaint((*at, "approve-after"), problem, "use less, or raise parameters.approval", span_text(form.approve_after, duration_text))


def _asked_first(scenario: Scenario, form: OperationForm | PolicyForm, at: Steps) -> Iterator[Complaint]:
    if form.replica is not None and form.replica > scenario.topology.all_replicas():
        yield Complaint((*at, "replica"), f"there are only {scenario.topology.all_replicas()} replicas", "use a lower number", str(form.replica))


def _rollout(scenario: Scenario, verb: str, form: PolicyForm, at: Steps, *, timeline_is_sure: bool) -> Iterator[Complaint]:
    if form.policy is not None and form.policy not in bundles.NAMES:
        yield Complaint((*at, "policy"), "no such policy", known_or_meant(form.policy, bundles.NAMES), repr(form.policy))
    if form.policy is None and verb == "policy-shadow":
        yield Complaint((*at, "policy"), "no policy to try", f"name one of {', '.join(bundles.NAMES)}")
    if form.policy is not None and verb in ("policy-promote", "policy-rollback"):
        yield Complaint((*at, "policy"), f"a {verb} concerns what is on trial, or was", "remove it")
    if form.policy is None and verb in ("policy-canary", "policy-promote") and timeline_is_sure and not _something_is_tried(scenario):
        remedy = "name a policy" if verb == "policy-canary" else "try one before"
        yield Complaint(at, "always refused, for nothing is on trial", remedy)
    for key in ("share", "guard"):
        if getattr(form, key) is not None and verb != "policy-canary":
            yield Complaint((*at, key), f"a {verb} has none", "remove it, or use policy-canary")
    if form.guard is not None and form.guard.high > GUARD_LIMIT:
        yield Complaint((*at, "guard"), f"more than {GUARD_LIMIT} stops", f"use at most {GUARD_LIMIT}", str(form.guard.high))
    if form.share is not None and form.share.high > MILLION:
        yield Complaint((*at, "share"), "more than everything", "use at most 100%", percent_text(form.share.high))


def _something_is_tried(scenario: Scenario) -> bool:
    """Whether anything here may put a policy on trial."""
    tries = ("policy-shadow", "policy-canary")
    asked = (form for entry in scenario.timeline for _, form in entry.actions() if isinstance(form, PolicyForm))
    return any(form.policy is not None for form in asked) or (scenario.swarm is not None and any(verb in scenario.swarm.operations for verb in tries))


def matching_agents(scenario: Scenario, form: OperationForm) -> tuple[str, ...]:
    """The agents that a scope covers, by their deployment."""
    kind, value = form.scope
    return tuple(
        agent.agent
        for agent in derive.topology(scenario.topology).agents
        if kind == "global"
        or (kind == "agent" and agent.agent == value)
        or (kind == "tenant" and agent.tenant == value)
        or (kind == "label" and agent.tenant == form.tenant and value in agent.labels)
    )


def _swarm(scenario: Scenario, skipped: Parts) -> Iterator[Complaint]:
    swarm = scenario.swarm
    if swarm is None:
        return
    if "duration" not in skipped and swarm.between.high > scenario.duration:
        yield Complaint(("swarm", "between"), "ends later than the run", f"use at most {duration_text(scenario.duration)}, or raise duration",
                        duration_text(swarm.between.high))  # fmt: skip
    for key in ("count", "orders"):
        if getattr(swarm, key).high > SWARM_LIMIT:
            yield Complaint(("swarm", key), f"more than {SWARM_LIMIT}", f"use at most {SWARM_LIMIT}", str(getattr(swarm, key).high))
    if swarm.duration.low == 0:
        yield Complaint(("swarm", "duration"), "faults that last no time at all", "write for example 500ms..4s", "0s")
    if "orders" in swarm.model_fields_set and not swarm.operations:
        yield Complaint(("swarm", "orders"), "no operations to draw from", "add for example operations: [soft, hard, resume]")
