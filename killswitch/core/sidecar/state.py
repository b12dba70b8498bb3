"""What a sidecar knows, and what follows from it at an instant.

Owns the state and the derivations: gate, mode, admission. These are functions of facts and of the clock, never stored, so that no
forgotten update can leave a gate open. Must not know how facts arrive (``step``) or leave (``starts``, ``permits``, ``proof``).

    mode        when                                               gate             agent's process
    BOOT        before the first quorum lease of this instance     CLOSED           none
    RUNNING     nothing ordered, lease live                        OPEN             running
    STANDBY     ISOLATE, no lease, disk failed or full, bad clock  CLOSED           kept
    DRAINING    SOFT, drain lease live, before the deadline        DRAIN            asked to stop
    QUIESCING   to stop with the gate closed                       CLOSED           asked to stop
    KILLING     HARD, or the deadline has passed                   CLOSED           killed until reaped
    STOPPED     no process                                         CLOSED           none
"""

from __future__ import annotations

from typing import Final, NamedTuple

from msgspec import UnsetType

from killswitch.core.certificates import ResumeCertificate
from killswitch.core.heads import ForkProof
from killswitch.core import audit, drift, intent, leases
from killswitch.core.attempts import Attempts
from killswitch.core.events import Effect
from killswitch.core.intent import Identity, Intent, Severity
from killswitch.core.machine import NodeConfig
from killswitch.core.messages import (
    NO_TOKEN, EffectClass, EffectResult, Evidence, Gate, LeaseReply, Life, Message, Order, OrderPush, StartReply, Token,
)  # fmt: skip
from killswitch.core.outlet import send
from killswitch.core.publication import Publication
from killswitch.core.trust import Trust

PERMITS_MAX = 64
PAYLOAD_MAX = 1 << 16  # bytes of one effect
PERMITS_A_RECORD = 64
QUESTIONS_MAX = 3  # how often a sink is asked about a key, at least, before its agent is told that nobody can say
NEVER = -(1 << 62)
NO_DOUBTS: Final[dict[str, str]] = {}  # shared by the many that have none, and never written to


class Floor(NamedTuple):
    """A least severity beside the signed orders, on whose word, and since when on the sidecar's clock."""

    severity: Severity
    origin: str
    since_ns: int


class Floors:
    """What is enforced unread or unverified (V3, D7). ``held``: {reason: floor}; ``severity``: all of them, joined; ``withheld``: {reason: (order,
    sender)}, for a later keyset to verify."""

    __slots__ = ("held", "severity", "withheld")

    def __init__(self) -> None:
        self.held: dict[str, Floor] = {}
        self.severity = intent.RUN
        self.withheld: dict[str, tuple[Order, str]] = {}


class Permit:
    """One effect on its way: asked for, perhaps challenged, perhaps sent."""

    __slots__ = ("cls", "key", "nonce", "payload", "sent", "sink", "step", "task", "tried_ns")

    def __init__(self, task: str, step: int, key: str, cls: str, sink: str, now_ns: int, payload: bytes | UnsetType) -> None:
        self.task = task
        self.step = step
        self.key = key
        self.cls = cls
        self.sink = sink
        self.payload = payload
        self.nonce = ""
        self.sent = False
        self.tried_ns = now_ns


class Question:
    """What is being asked of a sink about a key: the nonce that its answer has to bring, since when, and how often it was asked."""

    __slots__ = ("nonce", "since_ns", "sink", "tries")

    def __init__(self, sink: str, nonce: str, now_ns: int) -> None:
        self.sink = sink
        self.nonce = nonce
        self.since_ns = now_ns
        self.tries = 0


class Standing:
    """How long the process has been on standby without an order: ``stood_ns`` in earlier spells, and since ``since_ns`` in this one, if it is one."""

    __slots__ = ("ran_since_ns", "since_ns", "stood_ns")

    def __init__(self) -> None:
        self.since_ns: int | None = None
        self.ran_since_ns: int | None = None
        self.stood_ns = 0


class Sidecar:
    """The state of one sidecar process. Times are on the sidecar's own clock, in nanoseconds."""

    __slots__ = (
        "__weakref__",  # whoever watches or replaces parts from outside keeps what it adds beside the state, not on it
        "answered", "attempts", "awaiting", "boot", "booted", "chain", "checkpoint", "clock", "config", "deadlines", "disk_failed", "disk_full",
        "doubtful", "effects", "evidence_told", "fences_missing", "floors", "forks", "highest", "identity", "instance", "intent", "kill_by_ns",
        "kill_failed", "killing", "last_applied", "last_stop", "lease_timer_set", "lease_until_ns", "leased", "let_out", "next_kill_ns", "opened",
        "opening", "outdated", "parameters", "permits", "process", "proposed", "proved", "publication", "ready", "reaping", "recorded_token",
        "resolving", "restart_after_ns", "round_count", "rounds", "seen_version", "shut_out_ns", "spawning", "standing", "stop_by_ns", "stop_drain",
        "stopping", "superseding", "token", "told", "trip_ns", "trust",
    )  # fmt: skip

    def __init__(self, config: NodeConfig, trust: Trust) -> None:
        self.config = config
        self.parameters = config.parameters
        self.trust = trust
        self.identity = Identity(config.agent, config.tenant, config.labels)
        self.effects: list[Effect] = []
        # -- what is durable or on its way to be (folded from the log at Boot)
        self.chain = audit.Chain("")
        self.intent = Intent()
        self.deadlines: dict[str, int] = {}  # order id -> end of its grace
        self.token: Token = NO_TOKEN  # of the latest opened start
        self.recorded_token: Token = NO_TOKEN  # the latest on the log, durable or not; opened when it is
        self.highest: int = 0  # greatest counter ever proposed or heard of
        self.proved: dict[str, Evidence] = {}  # order id -> latest durable evidence
        self.last_stop: tuple[Token, str, int, tuple[str, ...]] = (NO_TOKEN, "STOPPED_CLEAN", 0, ())
        self.forks: dict[str, ForkProof] = {}  # writer -> the proof that it keeps two logs: if a replica, it grants nothing any more
        self.awaiting: dict[int, tuple[str, object]] = {}  # lsn -> what may happen once it is durable
        # -- of this instance only
        self.boot = self.instance = ""
        self.booted = False
        self.disk_failed = self.disk_full = False
        self.floors = Floors()
        self.attempts = Attempts()
        self.rounds: dict[str, leases.Round] = {}
        self.round_count, self.trip_ns = 0, NEVER  # trip: the shortest that the answer to a heartbeat took, once one was answered
        self.lease_until_ns = NEVER
        self.leased = self.lease_timer_set = False
        self.proposed: Token | None = None
        self.ready: tuple[str, ...] = ()  # as are the others below: few members or none, and an empty set is 216 bytes
        self.opening = self.opened = False
        self.fences_missing: tuple[str, ...] = ()
        self.clock = drift.Monitor()  # suspected, if no quorum of replicas agrees with it
        # -- the agent's process
        self.reaping = False  # orphans of an earlier instance
        self.spawning = self.process = False
        self.outdated = False  # its token is fenced off although a quorum vouches for it, or no quorum ever will again: to be replaced
        self.shut_out_ns: int | None = None  # when a sink was found to be fenced above this token
        self.superseding: tuple[str, ...] = ()  # replicas that have promised a greater token than this one
        self.stopping = self.stop_drain = self.killing = self.kill_failed = False
        self.stop_by_ns: int | None = None
        self.next_kill_ns = self.kill_by_ns = NEVER
        self.last_applied = ""  # the task of the last effect that took place in this start
        self.restart_after_ns = NEVER
        self.standing = Standing()
        self.checkpoint = 0
        self.doubtful = NO_DOUBTS  # key -> the task of an effect that left, in whatever start, and whose sink has not said what became of it
        self.permits: dict[str, Permit] = {}
        self.answered: dict[str, EffectResult] = {}  # key -> the answer that its effect got, in this start
        self.resolving: dict[str, Question] = {}
        self.let_out = (0, bytes(32))  # how many admissions are not on record yet, and the hash over their keys
        # -- what was last told, to tell edges from levels
        self.told: tuple[Gate, str] = (Gate.CLOSED, "BOOT")
        self.evidence_told: dict[str, str] = {}
        self.seen_version = -1
        self.publication = Publication()


# -- derivations -----------------------------------------------------------------------------------------------------------------------


def ordered(state: Sidecar) -> Severity:
    """What the signed orders in force demand of this agent, raised to the floor of prohibitions that could not be read."""
    return intent.join(intent.view(state.intent, state.identity).severity, state.floors.severity)


def lease_live(state: Sidecar, gate: Gate, now_ns: int) -> bool:
    """Whether a quorum vouches for this agent right now. Draining needs a lease as much as running does (D4).

    The answer must not depend on ``gate``, which is here because excepting a drain is the mistake one would make (B05).
    """
    return now_ns < state.lease_until_ns


def drain_over(state: Sidecar, now_ns: int) -> bool:
    return state.stop_by_ns is not None and now_ns >= state.stop_by_ns


def gate(state: Sidecar, now_ns: int) -> Gate:
    """The gate at this instant: the orders', closed further by everything local that forbids more."""
    demanded = ordered(state).gate
    if state.stopping:
        demanded = max(demanded, Gate.DRAIN)
    unfit = state.disk_failed or state.disk_full or state.clock.suspected
    if unfit or state.killing or not state.process or not lease_live(state, demanded, now_ns):
        return Gate.CLOSED
    if demanded is Gate.DRAIN and drain_over(state, now_ns):
        return Gate.CLOSED
    return demanded


def mode(state: Sidecar, at_gate: Gate) -> str:
    """The name of what the sidecar is doing, for people and for the audit trail; nothing is decided by it."""
    if not state.process:
        return "STOPPED" if state.leased or state.token != NO_TOKEN else "BOOT"
    if state.killing:
        return "KILLING"
    if state.stopping or ordered(state).life is not Life.ALIVE:
        return "DRAINING" if at_gate is Gate.DRAIN else "QUIESCING"
    return "STANDBY" if at_gate is Gate.CLOSED else "RUNNING"


def allows(at_gate: Gate, cls: str) -> bool:
    """Which classes of effect a gate lets through: new ones only OPEN, in-flight and undo also DRAIN (protocol 2)."""
    return at_gate is Gate.OPEN or (at_gate is Gate.DRAIN and cls in (EffectClass.INFLIGHT, EffectClass.UNDO))


def admit(state: Sidecar, cls: str, now_ns: int) -> bool:
    """Whether an effect may leave at this very instant. Asked again for each effect and each retry; never remembered."""
    return allows(gate(state, now_ns), cls)


# -- whose word counts -----------------------------------------------------------------------------------------------------------------


def vouched_for(state: Sidecar, message: OrderPush, sender: str) -> tuple[ResumeCertificate, ...]:
    """The certificates of a replica: whether they were handed in in time is not to be seen from here."""
    return message.certificates if sender in state.config.replicas else ()


def counts_for(state: Sidecar, message: LeaseReply | StartReply, sender: str) -> bool:
    """Whether a replica may be taken at its word: it speaks for itself, and keeps one log."""
    return message.replica == sender and sender not in state.forks


def is_its_own(message: object, sender: str) -> bool:
    """A sink speaks only for itself."""
    return getattr(message, "sink", "") == sender


# -- the ways out ----------------------------------------------------------------------------------------------------------------------


def granters(state: Sidecar) -> tuple[str, ...]:
    """Who may vouch for this agent: the replicas of its home cell, and no others however near they are."""
    return state.config.replicas


def send_replicas(state: Sidecar, message: Message, after_lsn: int = 0) -> None:
    for replica in granters(state):
        send(state, replica, message, after_lsn)


def agent_node(state: Sidecar) -> str:
    return f"agent/{state.config.agent}"
