"""Every message of the protocol, as data.

Owns the vocabulary that nodes speak (protocol 3.4): frozen structs of integers, strings, bytes, booleans and tuples, no floats, so that an encoding
is canonical; what is signed travels as it was. Must not know how a message is framed (``codec``), who may say it, or what it causes.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from msgspec import UNSET, Struct, UnsetType

from killswitch.core.bundles import Decision, PolicyNews, RolloutRequest, RolloutStatus
from killswitch.core.cells import CellStatus
from killswitch.core.certificates import ResumeCertificate, ResumeDraft, ResumeDraftRequest, ResumeStatus, ResumeSubmit
from killswitch.core.countersigns import CountersignedRequest
from killswitch.core.heads import Cosigned, ForkProof, HeadNotice
from killswitch.core.keychanges import KeysetNews
from killswitch.core.lessons import Lesson, LessonRequest
from killswitch.core.scopes import Scope
from killswitch.core.stamps import NO_READING, Reading, Stamps


class Gate(IntEnum):
    """What may leave the agent: everything, only what is already in flight, or nothing."""

    OPEN = 0
    DRAIN = 1
    CLOSED = 2


class Life(IntEnum):
    """What the agent's process should do: live, stop by itself, or be killed."""

    ALIVE = 0
    STOP = 1
    KILL = 2


class EffectClass(StrEnum):
    """A ``new`` effect starts a task, ``inflight`` continues one, ``undo`` compensates one (protocol 2)."""

    NEW = "new"
    INFLIGHT = "inflight"
    UNDO = "undo"


class SinkClass(StrEnum):
    """How a sink bounds late effects: F fences by token, C challenges within a time to live, U does neither (theorem T3)."""

    FENCED = "F"
    CHALLENGED = "C"
    UNBOUNDED = "U"


class Token(Struct, frozen=True, array_like=True, order=True):
    """Fencing token of one start of an agent; later starts compare greater. ``instance`` is random per start."""

    epoch: int
    counter: int
    instance: str


NO_TOKEN = Token(0, 0, "")
COUNTER_MAX = GRACE_MAX_NS = 1 << 62  # beyond it numbers are nobody's: what is added to one still has to fit into the 64 bits of the wire
ASK_ANOTHER = "ASK_ANOTHER"


class Task(Struct, frozen=True, array_like=True):
    """A unit of upstream work: ``steps`` effects on ``sink``, ``step_ns`` of thinking before each. ``undo``: what was done can be undone."""

    task: str
    sink: str
    steps: int
    step_ns: int
    undo: bool = False


# -- Signed bodies (encoded once, signed as bytes, identified by their hash) --------------------------------------------------------


class OrderBody(Struct, frozen=True):
    """The content of a kill order. There is no expiry field: prohibitions never expire (D6)."""

    tenant: str
    scope: Scope
    gate: int
    life: int
    grace_ns: int
    issuer: str
    nonce: str
    reason: str
    cleanup: str = "none"
    parent: str = ""
    keyset: int = 1
    decision: Decision = Decision(0, "", "")


class Order(Struct, frozen=True, tag=True):
    """A signed order: ``raw`` is the canonical encoding of an `OrderBody`; its hash is the order's id."""

    raw: bytes
    signer: str
    signature: bytes


class Evidence(Struct, frozen=True, tag=True):
    """A proof about one order, bound to a token. ``stage``: GATE_CLOSED, DRAINING, STOPPED_CLEAN, STOPPED_FORCED or KILL_FAILED."""

    agent: str
    token: Token
    order: str
    stage: str
    checkpoint: int
    in_doubt: tuple[str, ...]
    signature: bytes = b""


# -- Operator and control plane -----------------------------------------------------------------------------------------------------


class OrderRequest(Struct, frozen=True, tag=True):
    """An operator asks for a stop. Retries carry the same ``request`` and give the same order."""

    request: str
    principal: str
    tenant: str
    scope: Scope
    gate: int
    life: int
    grace_ns: int
    reason: str
    cleanup: str = "none"
    signature: bytes = b""


class OrderStatus(Struct, frozen=True, tag=True):
    """``stage``: REFUSED, ACCEPTED, EFFECTIVE, ALREADY_COVERED or NEEDS_KEYS; ``copies`` counts replicas known to hold it durably. ``keys``: how many
    more people have to ask before what was asked for is ordered; until then ``order`` isolates."""

    request: str
    order: str
    stage: str
    copies: int
    why: str = ""
    keys: int = 0


class AgentStatus(Struct, frozen=True, tag=True):
    """``stage`` of one agent under one order: an evidence stage, or FENCED, PRESUMED_STOPPED, KILL_FAILED."""

    order: str
    agent: str
    token: Token
    stage: str


# -- Control plane and sidecar ------------------------------------------------------------------------------------------------------


class LeaseRequest(Struct, frozen=True, tag=True):
    """A sidecar asks one replica for a share of a quorum lease; the lease counts from this request's send time (D3)."""

    agent: str
    token: Token
    nonce: str
    view: str
    sent_ns: int
    mode: str
    evidence: tuple[Evidence, ...] = ()
    keyset: int = 1


class LeaseReply(Struct, frozen=True, tag=True):
    """``len_ns`` 0 denies. ``orders`` and ``certificates`` are what the requester lacked of the replica's view, all of it if ``complete``."""

    agent: str
    nonce: str
    token: Token
    replica: str
    len_ns: int
    why: str
    view: str
    promised: Token
    received_ns: int
    complete: bool = True
    orders: tuple[Order, ...] = ()
    certificates: tuple[ResumeCertificate, ...] = ()
    boot: str = ""


class StartRequest(Struct, frozen=True, tag=True):
    """A sidecar proposes the token of a new start of its agent. ``stopped``: every start up to this token has been reaped on its host."""

    agent: str
    token: Token
    view: str
    stopped: Token = NO_TOKEN
    evidence: tuple[Evidence, ...] = ()


class StartReply(Struct, frozen=True, tag=True):
    """``granted`` when this replica has durably promised ``token``; ``promised`` is the highest token it knows of. ``ready``: by this replica's
    knowledge the predecessor's leases are out, or it is proven stopped (T4, S8)."""

    agent: str
    token: Token
    replica: str
    granted: bool
    ready: bool
    why: str
    promised: Token
    view: str
    complete: bool = True
    orders: tuple[Order, ...] = ()
    certificates: tuple[ResumeCertificate, ...] = ()


class OrderPush(Struct, frozen=True, tag=True):
    """Best effort: news handed on without waiting to be asked. Removing it costs latency, never safety; but for a sidecar's own stop (3.5)."""

    orders: tuple[Order, ...]
    certificates: tuple[ResumeCertificate, ...]


class Gossip(Struct, frozen=True, tag=True):
    """Digests first; ids and bodies only where they differ. ``durable``: uncovered orders that the sender holds durably; ``waited``: those held for
    the residue of a lease on its own clock (T4); ``evidence``: latest proofs; ``clocks``: stamps by which the receiver judges its clock (T5)."""

    digest: str
    durable: tuple[str, ...] = ()
    waited: tuple[str, ...] = ()
    order_ids: tuple[str, ...] | None = None
    certificate_ids: tuple[str, ...] | None = None
    orders: tuple[Order, ...] = ()
    certificates: tuple[ResumeCertificate, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    keyset: int = 1
    clocks: Stamps | None = None


class IntentRead(Struct, frozen=True, tag=True):
    """Ask a peer for all it knows, before approvers are shown what a resume would lift (protocol 3.8)."""

    nonce: str


class IntentReply(Struct, frozen=True, tag=True):
    """What the asked replica knows to be in force: every uncovered order if it is ``complete``, certificates. ``policy_seq``: the number of the
    rollout in force there; ``read``: the moment of the answer; earlier versions do not say."""

    nonce: str
    orders: tuple[Order, ...]
    certificates: tuple[ResumeCertificate, ...]
    complete: bool = True
    policy_seq: int = 0
    read: Reading = NO_READING


# -- Sinks ---------------------------------------------------------------------------------------------------------------------------


class Fence(Struct, frozen=True, tag=True):
    """Tell a class F sink to refuse every token of ``agent`` below ``min_token``."""

    agent: str
    min_token: Token
    order: str = ""


class FenceAck(Struct, frozen=True, tag=True):
    """The sink durably holds ``min_token`` for ``agent``."""

    sink: str
    agent: str
    min_token: Token
    order: str = ""


class ChallengeRequest(Struct, frozen=True, tag=True):
    """Ask a class C sink for a nonce before the effect of ``key``."""

    agent: str
    key: str


class Challenge(Struct, frozen=True, tag=True):
    """A class C sink's nonce; an apply that answers it is accepted only within the challenge time to live on the sink's clock."""

    sink: str
    key: str
    nonce: str


class Apply(Struct, frozen=True, tag=True):
    """One admitted effect on its way to a sink. ``key`` = H(task, step) makes it idempotent at class F."""

    agent: str
    token: Token
    task: str
    step: int
    key: str
    cls: str
    nonce: str = ""
    payload: bytes | UnsetType = UNSET


class ApplyResult(Struct, frozen=True, tag=True):
    """``status``: APPLIED (``result`` is equal on retries), REJECTED_FENCED or REJECTED_CHALLENGE."""

    sink: str
    key: str
    status: str
    result: str = ""


class Query(Struct, frozen=True, tag=True):
    """Was ``key`` applied? Final at class F behind a fence (D9), at class C as it takes its challenges back. The answer brings ``nonce`` back."""

    agent: str
    key: str
    nonce: str = ""


class QueryResult(Struct, frozen=True, tag=True):
    """``status``: APPLIED, ABSENT or UNKNOWN (the sink keeps no keys)."""

    sink: str
    key: str
    status: str
    result: str = ""
    nonce: str = ""


# -- Agent and sidecar, on one host -------------------------------------------------------------------------------------------------


class EffectRequest(Struct, frozen=True, tag=True):
    """The agent asks its sidecar, its only way out, for one step. ``payload``: what the sink is to do, if the step's key does not say it."""

    task: str
    step: int
    key: str
    cls: str
    sink: str
    payload: bytes | UnsetType = UNSET


class EffectResult(Struct, frozen=True, tag=True):
    """``status``: APPLIED, DENIED (gate, lease or fence; may be tried again when the gate opens) or IN_DOUBT."""

    key: str
    status: str
    result: str = ""


class ResolveRequest(Struct, frozen=True, tag=True):
    """The agent, recovering, asks whether an intent without a result took place."""

    key: str
    sink: str


class ResolveResult(Struct, frozen=True, tag=True):
    """``status``: APPLIED, ABSENT or IN_DOUBT (the sink did not or cannot say)."""

    key: str
    status: str
    result: str = ""


class StopRequest(Struct, frozen=True, tag=True):
    """Stop by yourself: ``drain`` says whether in-flight work may still be completed, ``compensate`` that it is to be undone where it can be."""

    drain: bool
    compensate: bool = False


class GateNotice(Struct, frozen=True, tag=True):
    """The gate is (again) open: what was denied may be asked for again."""

    gate: int


class StopAck(Struct, frozen=True, tag=True):
    """The agent is about to exit, by its own account: its final checkpoint's generation and what it leaves open. Nothing is proven by it."""

    checkpoint: int
    in_doubt: tuple[str, ...]


class UnknownProhibition(Struct, frozen=True, tag=True):
    """What the codec makes of a prohibition from a newer version: the severity floor of its frozen header (V3, V4)."""

    gate: int
    life: int
    sender: str
    why: str


Message = (
    Order | ResumeCertificate | OrderRequest | OrderStatus | CellStatus | AgentStatus | ResumeDraftRequest | ResumeDraft | ResumeSubmit
    | ResumeStatus | LeaseRequest | LeaseReply | StartRequest | StartReply | OrderPush | Gossip | Evidence | IntentRead | IntentReply | HeadNotice
    | Cosigned | ForkProof | KeysetNews | LessonRequest | Lesson | RolloutRequest | RolloutStatus | PolicyNews | Fence | FenceAck | ChallengeRequest
    | Challenge | Apply | ApplyResult | Query | QueryResult | EffectRequest | EffectResult | ResolveRequest | ResolveResult | StopRequest | GateNotice
    | StopAck | CountersignedRequest | UnknownProhibition
)  # fmt: skip
