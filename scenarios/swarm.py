"""Swarms: faults and operations that no one wrote down, drawn per seed.

Owns how a seed chooses them. Each seed first draws which kinds of fault are in play at all, since a fault that is always on hides the
bugs that another would find (swarm testing). About a third of all entries are aimed at moments of the protocol rather than of the
clock, and a part of the operations at the very instant of another: races live there.
"""

from __future__ import annotations

from msgspec import structs

from scenarios import bundles
from scenarios.derive import SWARM_GRACE_FACTOR
from scenarios.dice import Dice, Stream
from scenarios.faults import FAULTS, Aim, FaultKind, Setting, Shape, Unit
from scenarios.model import APPROVERS, POLICY_VERBS, VERBS, Scenario, SwarmForm
from scenarios.schedule import Entry, Fault, Operation, Trigger
from scenarios.targets import Link, Roster
from scenarios.units import MILLION, SECOND_NS, Span

MS = SECOND_NS // 1000
RECOVERY_NS = SECOND_NS

# What a drawn entry waits for, and whom a drawn order concerns, each as likely as it is often named.
AIMS = ("clock",) * 6 + ("fact",) * 2 + ("state",)
SCOPES = ("agent",) * 4 + ("tenant",) * 2 + ("label", "global")
LEASE_LEFT_PPM = (20_000, 100_000, 300_000)

# Kinds of fact that a swarm waits for, with how far into their occurrences it may aim.
MOMENTS_OF_WORK = (("lease-granted", 200), ("lease-opened", 60), ("effect-admitted", 100), ("task-intent-durable", 60), ("gate-changed", 6),
                   ("token-promised", 6), ("checkpoint-begun", 10))  # fmt: skip
MOMENTS_OF_ORDERS = (("order-learned", 6), ("order-durable", 5), ("certificate-learned", 4), ("certificate-durable", 4), ("drain-deadline", 3),
                     ("evidence-sent", 6), ("process-termed", 3), ("fence-durable", 3), ("operation-played", 3))  # fmt: skip


def entries(scenario: Scenario, dice: Dice, roster: Roster) -> tuple[Entry, ...]:
    """The drawn entries of a scenario's swarm, none if it has no swarm."""
    if scenario.swarm is None:
        return ()
    return (*_operations(scenario, scenario.swarm, dice, roster), *_faults(scenario, scenario.swarm, dice, roster))


def _faults(scenario: Scenario, swarm: SwarmForm, dice: Dice, roster: Roster) -> list[Entry]:
    choosing = dice.stream("swarm/faults")
    enabled = [name for name in swarm.faults if choosing.below(2)] or [choosing.pick(swarm.faults)] if swarm.faults else []
    count = dice.once("swarm/count", swarm.count) if enabled else 0
    drawn: list[Entry] = []
    for number in range(1, count + 1):
        stream = dice.stream(f"swarm/fault/{number}")
        kind = FAULTS[stream.pick(enabled)]
        fault = _fault(scenario, kind, swarm, stream, roster)
        entry_id = f"swarm-{kind.name}-{number}"
        if kind.name == "disk-fail":
            drawn.extend(_failing_disk(scenario, swarm, stream, fault, entry_id))
        else:
            drawn.append(Entry(id=entry_id, trigger=_trigger(scenario, swarm, stream, roster), action=fault))
    return drawn


def _fault(scenario: Scenario, kind: FaultKind, swarm: SwarmForm, stream: Stream, roster: Roster) -> Fault:
    links: tuple[Link, ...] = ()
    if kind.aim is Aim.LINKS:
        links = roster.links if kind.everywhere and stream.below(3) == 0 else _links(kind, stream, roster)
        ends = {node for link in links for node in link}
        targets = tuple(node for node in roster.nodes if node in ends)
    else:
        present = [role for role in kind.swarm_roles if roster.of_role((role,))]
        alike = roster.of_role((stream.pick(present),))
        targets = stream.some(alike, 1 if stream.below(4) else 1 + stream.below(len(alike)))
    return Fault(
        what=kind.name,
        targets=targets,
        links=links,
        for_ns=stream.within(swarm.duration) if kind.lasting else None,
        settings={setting.key: _value(scenario, setting, stream) for setting in kind.settings},
    )


def _value(scenario: Scenario, setting: Setting, stream: Stream) -> int | str:
    if setting.unit is Unit.FLAG:
        return stream.below(2)
    if isinstance(setting.swarm, Span):
        return stream.within(setting.swarm)
    if setting.swarm:
        return stream.pick(setting.swarm)
    # A clock's rate stays within the promise, at its ends half of the time: beyond it, the timed invariants would be void (T5).
    bound = scenario.parameters.drift
    return stream.pick((-bound, bound)) if stream.below(2) else stream.within(Span(-bound, bound))


def _links(kind: FaultKind, stream: Stream, roster: Roster) -> tuple[Link, ...]:
    """Some nodes against some or all others, one way in a quarter of all cases; never nothing."""
    if kind.shape is not Shape.BETWEEN:
        return _around(kind, stream, roster)
    able = roster.of_role(kind.swarm_roles)
    for _ in range(8):
        side = stream.some(able, 1 + stream.below(max(1, len(able) // 2)))
        others = tuple(node for node in able if node not in side)
        against = others if stream.below(2) or not others else stream.some(others, 1 + stream.below(len(others)))
        links = roster.one_way(side, against) if stream.below(4) == 0 else roster.between((side, against))
        if links:
            return links
    return roster.between((roster.replicas, roster.sidecars))


def _around(kind: FaultKind, stream: Stream, roster: Roster) -> tuple[Link, ...]:
    """Every replica by itself, and all sidecars as one more side, in a drawn order around the ring."""
    left: list[tuple[str, ...]] = [*((replica,) for replica in roster.replicas), roster.sidecars]
    sides = [left.pop(stream.below(len(left))) for _ in range(len(left))]
    return roster.ring(sides) if kind.shape is Shape.RING else roster.majorities(sides)


def _failing_disk(scenario: Scenario, swarm: SwarmForm, stream: Stream, fault: Fault, entry_id: str) -> list[Entry]:
    """A failed disk, and the restart that an operator would do once it works again: until then the node can persist nothing."""
    lasts = min(fault.for_ns or 0, max(1, scenario.duration // 4))
    latest = max(0, scenario.duration - lasts - 2 * RECOVERY_NS)
    at = min(stream.within(swarm.between), latest)
    restart = Fault(what="crash", targets=fault.targets, settings={"power": 0, "restart_after_ns": RECOVERY_NS // 2})
    failing = Fault(what=fault.what, targets=fault.targets, for_ns=lasts, settings=fault.settings)
    return [
        Entry(id=entry_id, trigger=Trigger(at_ns=at), action=failing),
        Entry(id=f"{entry_id}-restart", trigger=Trigger(at_ns=at + lasts + MS), action=restart),
    ]


def _trigger(scenario: Scenario, swarm: SwarmForm, stream: Stream, roster: Roster) -> Trigger:
    aim = stream.pick(AIMS)
    if aim == "clock":
        return Trigger(at_ns=stream.within(swarm.between))
    if aim == "state":
        agent = stream.pick(roster.agents).removeprefix("agent/")
        return Trigger(when=("lease.left", agent, "<", str(stream.pick(LEASE_LEFT_PPM))))
    ordered = bool(swarm.operations) or any(name in VERBS for entry in scenario.timeline for name, _ in entry.actions())
    kind, most = stream.pick(MOMENTS_OF_ORDERS if ordered and stream.below(2) else MOMENTS_OF_WORK)
    delay = 0 if stream.below(2) else stream.below(scenario.parameters.lease)
    return Trigger(after=kind, count=1 + stream.below(most), delay_ns=delay)


def _operations(scenario: Scenario, swarm: SwarmForm, dice: Dice, roster: Roster) -> list[Entry]:
    count = dice.once("swarm/orders", swarm.orders) if swarm.operations else 0
    times: list[int] = []
    placing = dice.stream("swarm/order-times")
    for _ in range(count):
        together = bool(times) and placing.chance(MILLION // 6)
        times.append(placing.pick(times) if together else placing.within(swarm.between))
    drawn: list[Entry] = []
    played: list[Operation] = []
    for number, at in enumerate(sorted(times), start=1):
        stream = dice.stream(f"swarm/order/{number}")
        operation = _operation(scenario, swarm, stream, roster, played, number)
        played.append(operation)
        drawn.append(Entry(id=f"swarm-{operation.verb}-{number}", trigger=Trigger(at_ns=at), action=operation))
    return drawn


def _operation(scenario: Scenario, swarm: SwarmForm, stream: Stream, roster: Roster, played: list[Operation], number: int) -> Operation:
    """One operation, through any replica: in one case of eight a retry of an earlier one with its idempotency key, else in one of three a
    resume of what has been stopped, else a new stop."""
    replica = stream.pick(roster.replicas)
    stops = tuple(verb for verb in swarm.operations if verb != "resume") or swarm.operations
    if played and stream.below(8) == 0:
        again = stream.pick(played)
        return structs.replace(again, replica=replica)
    resuming = "resume" in swarm.operations and played and stream.below(3) == 0
    verb = "resume" if resuming else stream.pick(stops)
    if verb in POLICY_VERBS:
        return _rollout(stream, verb, replica, number)
    tenant, scope = _scope(scenario, stream, roster)
    if verb == "resume" and played:
        tenant, scope = stream.pick([(stopped.tenant, stopped.scope) for stopped in played])
    grace = scenario.parameters.grace
    return Operation(
        verb=verb,
        tenant=tenant,
        scope=scope,
        principal="alice",
        reason="drawn by a swarm",
        request=f"request-swarm-{number}",
        grace_ns=stream.pick((grace, grace, grace // 4, SWARM_GRACE_FACTOR * grace, 0)) if verb == "soft" else 0,
        replica=replica,
        approvers=stream.some(APPROVERS, scenario.parameters.approvals) if verb == "resume" else (),
    )


def _rollout(stream: Stream, verb: str, replica: str, number: int) -> Operation:
    """A rollout of any policy, through any replica; a canary for a part or all of the scopes, with a guard that is soon reached."""
    tried, canary = verb in ("policy-shadow", "policy-canary"), verb == "policy-canary"
    return Operation(
        verb=verb, tenant="", scope=("global", ""), principal="alice", reason="drawn by a swarm", request=f"request-swarm-{number}",
        replica=replica, policy=stream.pick(bundles.NAMES) if tried else "", percent=stream.pick((100, 100, 50)) if canary else 0,
        guard=stream.below(3) if canary else 0,
    )  # fmt: skip


def _scope(scenario: Scenario, stream: Stream, roster: Roster) -> tuple[str, tuple[str, str]]:
    """A tenant and a scope: half single agents, a quarter tenants, the rest labels (where there are any) and everything."""
    kind = stream.pick(SCOPES)
    agent = stream.pick(roster.agents).removeprefix("agent/")
    tenant = agent.partition("/")[0]
    labels = sorted({f"{key}={value}" for group in scenario.topology.tenants[tenant].groups() for key, value in group.labels.items()})
    if kind == "agent":
        return tenant, ("agent", agent)
    if kind == "global":
        return "", ("global", "")
    if kind == "label" and labels:
        return tenant, ("label", stream.pick(labels))
    return tenant, ("tenant", tenant)
