"""The model of a scenario file: every key there is, with its type, limits and default.

Owns the shape. Each value's own grammar is in ``forms``; what only several keys together can get wrong (quorums that do not intersect, a
target that matches nothing) is in ``checks``; faults come from the reference table in ``faults``. Nothing in here says which driver
plays a scenario.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import msgspec
from pydantic import BeforeValidator, Field, create_model

from scenarios import bundles, forms
from scenarios.faults import FAULTS, Aim, FaultKind, Unit
from scenarios.forms import Form

VERBS = ("soft", "hard", "isolate", "quiesce", "resume")
POLICY_VERBS = ("policy-shadow", "policy-canary", "policy-promote", "policy-rollback")
FAULT_NAMES = tuple(FAULTS)
ACTIONS = (*VERBS, *POLICY_VERBS, *FAULT_NAMES)
APPROVERS = ("bob", "carol", "dave")

Kind = Literal["worker", "tool-calling", "federated"]
Verb = Literal["soft", "hard", "isolate", "quiesce", "resume", "policy-shadow", "policy-canary", "policy-promote", "policy-rollback"]
Principal = Literal["alice", "bob", "carol", "dave", "erin", "frank", "mallory"]
Key = Literal["alice", "bob", "carol", "dave", "erin", "frank", "mallory", "alice#2", "bob#2", "carol#2", "dave#2"]


def default(written: Any, **more: Any) -> Any:
    """A default as it would be written in a file, so that the JSON Schema and the docs show it so."""
    return Field(default=written, validate_default=True, **more)


# -- Topology -----------------------------------------------------------------------------------------------------------------------


class CellForm(Form):
    """One cell of several. Both quorums default to a majority."""

    replicas: int = Field(default=3, ge=1, le=9)
    quorum: int | None = Field(default=None, ge=1, description="replicas that must grant a lease")
    kill_quorum: int | None = Field(default=None, ge=1, description="replicas that must hold an order durably for it to be effective")

    def majority(self) -> int:
        return self.replicas // 2 + 1

    def lease_quorum(self) -> int:
        return self.majority() if self.quorum is None else self.quorum

    def order_quorum(self) -> int:
        return self.majority() if self.kill_quorum is None else self.kill_quorum


class AgentGroup(Form):
    """Several agents alike. Agents of a tenant are numbered on from 1 over its groups."""

    count: int = Field(default=1, ge=0, le=200)
    kind: Kind = "worker"
    cell: int = Field(default=1, ge=1, description="the number of the cell that is its home, where there are several")
    labels: dict[forms.Name, Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,63}$")]] = {}


class SinkForm(Form):
    """A system that agents act on. F fences by token, C challenges, U does neither: its bound is measured, not guaranteed."""

    name: forms.Name
    class_: Literal["F", "C", "U"] = "F"


def _groups(value: Any) -> Any:
    """``4``, one group or a list of groups, as a list of groups."""
    if isinstance(value, int) and not isinstance(value, bool):
        return ({"count": value},)
    return (value,) if isinstance(value, dict) else value


def _sinks(value: Any) -> Any:
    """Names or forms of sinks, as forms."""
    return tuple({"name": each} if isinstance(each, str) else each for each in value) if isinstance(value, tuple) else value


Groups = Annotated[tuple[AgentGroup, ...], BeforeValidator(_groups, json_schema_input_type=int | AgentGroup | tuple[AgentGroup, ...])]
Sinks = Annotated[tuple[SinkForm, ...], BeforeValidator(_sinks, json_schema_input_type=tuple[forms.Name | SinkForm, ...])]


class Tenant(Form):
    """One tenant. ``workers: 4`` is short for ``agents: {count: 4, kind: worker}``, and its agents are numbered first."""

    workers: int = Field(default=0, ge=0, le=200)
    agents: Groups = ()
    sinks: Sinks = default(("ledger",), max_length=20)

    def groups(self) -> tuple[AgentGroup, ...]:
        return (AgentGroup(count=self.workers), *self.agents) if self.workers else self.agents


class TopologyForm(CellForm):
    """One cell, or with ``cells`` several, whose replicas are numbered on. Both quorums default to a majority."""

    cells: tuple[CellForm, ...] = Field(default=(), max_length=4, description="instead of replicas and quorums: each cell's own")
    tenants: dict[forms.Name, Tenant] = Field(min_length=1, max_length=20)

    def federation(self) -> tuple[CellForm, ...]:
        return self.cells or (self,)

    def all_replicas(self) -> int:
        return sum(cell.replicas for cell in self.federation())


# -- The world ----------------------------------------------------------------------------------------------------------------------


class ParametersForm(Form):
    """The protocol's parameters (protocol 2). ``drift`` is the promised bound rho on every clock."""

    lease: forms.Duration = default("5s")
    renew: forms.Duration = default("1s")
    grace: forms.Duration = default("30s")
    grace_max: forms.Duration = default("300s")
    challenge: forms.Duration = default("500ms")
    drift: forms.Percent = default("1%")
    slack: forms.Duration = default("2s")
    stop_timeout: forms.Duration = default("10s")
    kill_retry: forms.Duration = default("500ms")
    gossip: forms.Duration = default("500ms")
    approvals: int = Field(default=2, ge=1, le=3)
    standby_max: forms.Duration = default("600s")
    approval: forms.Duration = default("3600s")


class NetworkForm(Form):
    """Every network link when no fault is on; a range is drawn once per seed."""

    latency: forms.DurationSpan = default("2ms")
    jitter: forms.DurationSpan = default("1ms")
    loss: forms.PercentSpan = default("0%")
    duplicate: forms.PercentSpan = default("0%")
    reorder: forms.PercentSpan = default("0%")
    reorder_by: forms.DurationSpan = default("50ms")


class DiskForm(Form):
    """Every disk when no fault is on; a range is drawn once per seed."""

    sync: forms.DurationSpan = default("1.5ms")
    jitter: forms.DurationSpan = default("1ms")


class ClocksForm(Form):
    """Every node's own clock. ``none``: all run true; ``within``: each at a rate drawn within the promised drift; ``extremal``: at its very ends."""

    drift: Literal["none", "within", "extremal"] = "within"
    offset: forms.DurationSpan = default("0s..10s")


class Profile(Form):
    """What one agent is given to do. ``tasks`` is per agent, so that a fleet's load grows with it and no agent's work hangs on another's."""

    tasks: forms.Rate | None = None
    steps: forms.CountSpan | None = None
    think: forms.DurationSpan | None = None
    cost: int | None = Field(default=None, ge=0, le=1_000_000, description="what each effect costs, in cents, as paid calls do")
    undo: bool | None = Field(default=None, description="whether what its tasks have done can be undone; by default it cannot")


class WorkloadForm(Profile):
    """The keys of a profile hold for agents of every kind, unless ``kinds`` says otherwise for one."""

    kinds: dict[Kind, Profile] = {}


# -- The timeline -------------------------------------------------------------------------------------------------------------------


class OperationForm(Form):
    """What a person asks for: a stop of some severity, or (``resume``) that what was stopped may go on."""

    scope: forms.Scope
    tenant: forms.Name | None = Field(default=None, description="the tenant that a label scope belongs to")
    reason: forms.Text = "drill"
    grace: forms.DurationSpan | None = Field(default=None, description="for soft; the default is parameters.grace")
    cleanup: Literal["none", "compensate"] | None = Field(
        default=None, description="for soft: finish what is begun (none), or undo it where it can be; the default is none"
    )
    principal: Principal = "alice"
    approvers: tuple[Key, ...] | None = Field(
        default=None,
        description="who signs a resume, by default as many of bob, carol, dave as are needed; who countersigns a stop, by default nobody. "
        "bob#2: bob, with the key that a rotation gave him",
    )
    approve_after: forms.DurationSpan | None = Field(default=None, description="how long approvers take to sign; by default no time")
    replica: int | None = Field(default=None, ge=1, description="the replica asked first; drawn per seed if left out")
    request: forms.EntryId | None = Field(default=None, description="idempotency key; two operations with the same are one and its retry")
    allow_empty: bool = False


class PolicyForm(Form):
    """What a person asks for: that a policy be tried (shadow, canary), made the stable one (promote) or taken back (rollback), in the whole cell."""

    policy: Annotated[str, Field(json_schema_extra={"enum": list(bundles.NAMES)})] | None = Field(
        default=None, description="for shadow and canary: one of those in scenarios/policies; a canary without one is of what is on trial"
    )
    share: forms.WholePercentSpan | None = Field(default=None, description="for canary: of all scopes, in whole percent; the default is 100%")
    guard: forms.CountSpan | None = Field(
        default=None, description="for canary: stops that it alone may make before it is rolled back; the default is 3"
    )
    reason: forms.Text = "drill"
    principal: Principal = "alice"
    replica: int | None = Field(default=None, ge=1, description="the replica asked first; drawn per seed if left out")
    request: forms.EntryId | None = Field(default=None, description="idempotency key; two operations with the same are one and its retry")


class FaultForm(Form):
    """What every fault may say; its targets and settings are added from the fault reference, and read through this class."""

    allow_empty: bool = False

    def get(self, key: str) -> Any:
        """The value of a key of the file (a `Span`, words, a text, a flag), or None if it is left out or not a key of this fault."""
        return getattr(self, field_name(key), None)


_TYPES: dict[Unit, Any] = {
    Unit.DURATION: forms.DurationSpan, Unit.SIGNED_DURATION: forms.SignedDurationSpan, Unit.DURATION_OR_NONE: forms.DurationOrNone,
    Unit.CHANCE: forms.PercentSpan, Unit.SIGNED_RATE: forms.SignedPercentSpan, Unit.COUNT: forms.CountSpan, Unit.FLAG: bool,
    Unit.FREQUENCY: forms.FrequencySpan, Unit.BYTE_RATE: forms.ByteRateSpan,
}  # fmt: skip
_SIDES = Annotated[tuple[forms.Words, ...], Field(min_length=2, max_length=10)]
_TARGETS: dict[Aim, dict[str, Any]] = {
    Aim.LINKS: {
        "between": (_SIDES | None, Field(default=None, description="two or more sides; every link from one side to another is hit")),
        "from_": (forms.Words | None, Field(default=None, description="with `to`: only the links this way")),
        "to": (forms.Words | None, None),
    },
    Aim.NODES: {"nodes": (forms.Words, ...)},
    Aim.SIGNALS: {"to": (forms.Words, ...)},
}


def field_name(key: str) -> str:
    """The attribute behind a key of the file."""
    name = key.replace("-", "_")
    return f"{name}_" if name in ("for", "from", "class") else name


def _fault_form(kind: FaultKind) -> type[FaultForm]:
    """The form of one fault: its own settings, and only those common keys that make sense for it."""
    fields: dict[str, Any] = dict(_TARGETS[kind.aim])
    if kind.lasting:
        fields["for_"] = (forms.DurationSpan | None, Field(default=None, description="how long it lasts; left out: until all is healed"))
    for setting in kind.settings:
        of_type = cast(Any, Literal)[setting.choices] if setting.unit is Unit.CHOICE else _TYPES[setting.unit]
        field = Field(description=setting.doc) if setting.default is None else default(setting.default, description=setting.doc)
        fields[field_name(setting.name)] = (of_type, field)
    title = "".join(part.capitalize() for part in kind.name.split("-"))
    return create_model(title, __base__=FaultForm, __doc__=f"{kind.doc} Afterwards {kind.ends}.", **fields)


class EntryForm(Form):
    """One line of the timeline: one trigger (``at``, ``after`` or ``when``) and one action. The keys of faults are added below."""

    id: forms.EntryId | None = None
    at: forms.DurationSpan | None = None
    after: forms.After | None = None
    count: int = Field(default=1, ge=1, le=10_000, description="with `after`: at the so-many-th such fact")
    wait: forms.DurationSpan = default("0s", description="with `after`: so long afterwards")
    when: forms.When | None = None
    soft: OperationForm | None = None
    hard: OperationForm | None = None
    isolate: OperationForm | None = None
    quiesce: OperationForm | None = None
    resume: OperationForm | None = None
    policy_shadow: PolicyForm | None = None
    policy_canary: PolicyForm | None = None
    policy_promote: PolicyForm | None = None
    policy_rollback: PolicyForm | None = None

    def actions(self) -> list[tuple[str, OperationForm | PolicyForm | FaultForm]]:
        """What it does, by name; a valid entry has exactly one."""
        given = ((name, getattr(self, field_name(name), None)) for name in ACTIONS)
        return [(name, form) for name, form in given if form is not None]


if TYPE_CHECKING:
    Entry = EntryForm
else:
    Entry = create_model(
        "Entry",
        __base__=EntryForm,
        __doc__="One line of the timeline: one trigger (at, after or when) and one action (an operation or a fault).",
        **{field_name(kind.name): (_fault_form(kind) | None, None) for kind in FAULTS.values()},
    )


class SwarmForm(Form):
    """Faults and operations drawn per seed. Each seed first draws which of ``faults`` are in play at all (swarm testing)."""

    between: forms.DurationSpan
    faults: forms.FaultNames = default(tuple(name for name, kind in FAULTS.items() if kind.swarms and not kind.breaks_clocks))
    count: forms.CountSpan = default("0..4")
    duration: forms.DurationSpan = default("500ms..4s")
    operations: tuple[Verb, ...] = ()
    orders: forms.CountSpan = default("1..3", description="how many operations, if any are named")


# -- What is expected ---------------------------------------------------------------------------------------------------------------


class ExpectForm(Form):
    """What the run must show. ``reached``: facts that some run of a campaign must reach, or the campaign has not tested what it claims."""

    invariants: forms.Invariants = default("all")
    reached: tuple[forms.FactKind, ...] = ()
    stop_time: dict[Annotated[str, Field(pattern=f"^{forms.PERCENTILE_PATTERN}$")], forms.Under] = {}


class StopWhenForm(Form):
    """When to end a run early."""

    unbounded_agents: forms.Above | None = None
    violations: forms.Above | None = None
    facts: forms.Above | None = None


class Scenario(Form):
    """A whole scenario file."""

    scenario: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
    hypothesis: forms.Text
    topology: TopologyForm
    parameters: ParametersForm = Field(default_factory=ParametersForm)
    network: NetworkForm = Field(default_factory=NetworkForm)
    disk: DiskForm = Field(default_factory=DiskForm)
    clocks: ClocksForm = Field(default_factory=ClocksForm)
    workload: WorkloadForm = Field(default_factory=WorkloadForm)
    timeline: tuple[Entry, ...] = Field(default=(), max_length=500)
    swarm: SwarmForm | None = None
    expect: ExpectForm = Field(default_factory=ExpectForm)
    stop_when: StopWhenForm = Field(default_factory=StopWhenForm)
    requires: forms.Requirements = Field(
        default=(), description="drivers, and mechanisms of a live host, without which the scenario misses its point"
    )
    duration: forms.Duration = default("30s")
    settle: forms.Duration | None = Field(default=None, description="fault-free time after all is healed; the default follows from the parameters")
    core: Literal["drawn", "none"] | None = Field(
        default=None,
        description="drawn: a quorum and some agents are healed first, the rest only later; left out: in a third of the seeds of a swarm",
    )
    seeds: forms.Seeds = default(20)

    def digest(self) -> str:
        """SHA-256 of what the file means for a run: comments, spacing, the order of keys, ``hypothesis`` and ``seeds`` do not count."""
        meaning = self.model_dump(mode="python", by_alias=True, exclude={"hypothesis", "seeds"})
        return hashlib.sha256(msgspec.json.encode(meaning, order="deterministic")).hexdigest()
