"""The schedule: the concrete, serialisable list of everything that a seed decided.

Owns the form of a schedule, and nothing of how it is drawn (``draw``) or played (``sim``, ``harness.live``). A schedule alone
replays a run, byte for byte, on another machine. All times are whole nanoseconds since the start of the run.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from killswitch.core import unreadable
from killswitch.core.machine import Parameters
from scenarios import schedule_checks
from scenarios.problems import shown

SCHEMA = "haltproof/schedule/1"
PROBLEMS_SHOWN = 20


class AgentSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One agent and its sidecar. ``agent`` is ``tenant/name``; ``kind`` names a workload profile, never a branch in the core.

    ``cell``: the number of its home, where there are several.
    """

    agent: str
    tenant: str
    kind: str = "worker"
    labels: tuple[str, ...] = ()
    sinks: tuple[str, ...] = ()
    cell: int = 1


class SinkSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``sink`` is the node id ``sink/tenant/name``; ``sink_class`` is F, C or U."""

    sink: str
    tenant: str
    sink_class: str = "F"


class CellSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One cell of several: its replicas come after those of the cells before it."""

    replicas: int
    kill_quorum: int
    quorum: int


class Topology(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One cell: ``replicas`` replicas of which ``kill_quorum`` make an order effective and ``quorum`` grant a lease.

    ``cells``: where there are several, each of them; then ``replicas`` counts the replicas of all, and the quorums are the first cell's.
    """

    replicas: int
    kill_quorum: int
    quorum: int
    agents: tuple[AgentSpec, ...]
    sinks: tuple[SinkSpec, ...]
    cells: tuple[CellSpec, ...] = ()


class ClockSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node's own clock at the start, its reading and its rate, 1 + ``drift_ppm`` / 10^6; and its host's wall clock.

    ``wall``: (from when on, how far the wall clock is ahead of true time), in order. Only stamps of audit records read it.
    """

    offset_ns: int = 0
    drift_ppm: int = 0
    wall: tuple[tuple[int, int], ...] = ()


class LinkSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How every network link behaves when no fault is on. Loss, duplication and reordering are chances in parts per million."""

    latency_ns: int = 2_000_000
    jitter_ns: int = 1_000_000
    loss_ppm: int = 0
    duplicate_ppm: int = 0
    reorder_ppm: int = 0
    reorder_ns: int = 50_000_000


class DiskSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a sync takes when no fault is on: ``sync_ns``, and up to ``jitter_ns`` more."""

    sync_ns: int = 1_500_000
    jitter_ns: int = 1_000_000


class Work(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A task that upstream hands to ``agent`` at ``at_ns``. ``undo``: what it has done can be undone.

    ``cost``: of each of its effects, in cents. ``expires_ns``: from then on upstream goes on without it (None: never).
    """

    at_ns: int
    agent: str
    task: str
    sink: str
    steps: int
    step_ns: int
    undo: bool = False
    cost: int = 0
    expires_ns: int | None = None


class Trigger(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When an entry plays: exactly one of three forms.

    ``at_ns``: at that time. ``after``: ``delay_ns`` after the ``count``-th fact of that kind whose fields equal ``where`` (the key
    ``node`` stands for the fact's node, ``what`` and ``fault`` and so on for its fields). ``when``: as soon as the state holds,
    ``(quantity, subject, comparison, value)``: quantity ``lease.left`` or ``drain.left`` (value in parts per million of the lease or
    grace), or ``gate`` (value OPEN, DRAIN or CLOSED) or ``mode``; subject an agent.
    """

    at_ns: int | None = None
    after: str = ""
    where: dict[str, Any] = {}
    count: int = 1
    delay_ns: int = 0
    when: tuple[str, str, str, str] | None = None


class Operation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="operation"):
    """Something a person does. ``verb``: soft, hard, isolate, quiesce, resume, policy-shadow, -canary, -promote, -rollback.

    ``scope`` = [kind, value]. ``replica``: the node the client asks first. ``approvers``: who signs a resume, or countersigns a stop, in what time.
    ``policy``: the name of the one to try (``bundles``); a canary also has a ``percent`` of scopes and a ``guard``. A policy is rolled out at the
    global scope. ``allow_empty``: that the scope covers nobody is meant.
    """

    verb: str
    tenant: str
    scope: tuple[str, str]
    principal: str
    reason: str
    request: str
    grace_ns: int = 0
    cleanup: str = "none"
    replica: str = "replica/1"
    approvers: tuple[str, ...] = ()
    approve_after_ns: int = 0
    policy: str = ""
    percent: int = 0
    guard: int = 0
    allow_empty: bool = False


class Fault(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="fault"):
    """Something that breaks. ``what`` is its name in the fault reference; ``targets`` are node ids; ``links`` are directed pairs.

    ``for_ns`` None lasts to the heal at the end. ``settings`` are whole numbers or strings named in the fault reference.
    """

    what: str
    targets: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    for_ns: int | None = None
    settings: dict[str, int | str] = {}


class Entry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the timeline. ``id`` is unique in the schedule and is the ``fault`` or ``operation`` of its facts."""

    id: str
    trigger: Trigger
    action: Operation | Fault


class StopTimeGoal(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A service level: the ``percentile`` (in percent) of stop times, from effective to the last admission or reap, stays under ``under_ns``."""

    percentile: int
    under_ns: int


class Expectations(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``invariants`` empty means all that apply. ``reached``: facts or states that must be reached in a campaign."""

    invariants: tuple[str, ...] = ()
    reached: tuple[str, ...] = ()
    stop_time: tuple[StopTimeGoal, ...] = ()


class StopCondition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """End the run when ``quantity`` (unbounded-agents, violations, facts) is above ``above``."""

    quantity: str
    above: int


class Tape(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the remaining choices come from: streams seeded by ``seed`` and their name, but for ``fixed``.

    ``fixed``: {stream: {index of the draw: choice}}; a fixed choice 0 is the benign one. ``benign``: streams that always choose 0.
    """

    seed: str
    fixed: dict[str, dict[str, int]] = {}
    benign: tuple[str, ...] = ()


class Schedule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a driver needs. ``core``: who is healed at ``duration_ns``, with the rest broken for another ``core_ns``; nobody: all at once.

    ``scenario_digest`` is of the scenario file's meaning; ``version`` of the code that drew it.
    """

    schema: str = SCHEMA
    scenario: str
    scenario_digest: str
    version: str
    seed: int
    duration_ns: int
    settle_ns: int
    core: tuple[str, ...] = ()
    core_ns: int = 0
    topology: Topology
    parameters: Parameters
    link: LinkSpec
    disk: DiskSpec
    clocks: dict[str, ClockSpec]
    work: tuple[Work, ...]
    timeline: tuple[Entry, ...]
    expect: Expectations
    stop_when: tuple[StopCondition, ...] = ()
    tape: Tape

    def encode(self) -> bytes:
        """Canonical JSON: equal schedules give equal bytes."""
        return msgspec.json.encode(self, order="deterministic")

    def digest(self) -> str:
        return hashlib.sha256(self.encode()).hexdigest()

    def save(self, path: Path) -> None:
        path.write_bytes(msgspec.json.format(self.encode(), indent=1))


def load(path: Path) -> Schedule:
    """Read a schedule file. Raises `ValueError` naming the file and what is wrong with it, at most `PROBLEMS_SHOWN` things."""
    content = path.read_bytes()
    try:
        schedule = msgspec.json.decode(content, type=Schedule)
        fields = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    except (ValueError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        why = unreadable.why(content, error)
        raise ValueError(f"{path}: {why}; a schedule file is what `haltproof run` leaves beside a violation") from error
    if "schema" not in fields:
        raise ValueError(f'{path}: schema: missing; a schedule says its form: add "schema": "{SCHEMA}" if it is one of this version')
    if schedule.schema != SCHEMA:
        raise ValueError(f"{path}: schema: unknown form (got {shown(schedule.schema)}); this version reads {SCHEMA}")
    found = [*unreadable.repeated(content), *schedule_checks.problems(schedule)]
    if found:
        more = [f"and {len(found) - PROBLEMS_SHOWN} more"] if len(found) > PROBLEMS_SHOWN else []
        raise ValueError("\n".join(f"{path}: {problem}" for problem in (*found[:PROBLEMS_SHOWN], *more)))
    return schedule
