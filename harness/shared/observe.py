"""From what goes in and out of a state machine to facts of the history: one mapping for both drivers.

Owns what each input and effect means in the history's vocabulary; records and messages have files of their own. What a node did is read off its
effects (what it appended, sent, signalled), not off its own word; `Observe` effects are taken only for inner state that nothing else shows. Knows
the core's contract (`killswitch.core.events`) and no driver.

Facts that hold only once something is durable (an order's copy, an effect at a sink, a proof that waits for its record) are held back until
`Durable` covers them, and are dropped with the process if it dies before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final

import msgspec

from harness.shared.history import VOCABULARY, Fact
from harness.shared.judge import Judge
from harness.shared.observe_heard import Heard
from harness.shared.observe_records import RECORDS, is_known, on_handed_in
from harness.shared.observe_sent import SENT
from harness.shared.rulings import Rulings
from killswitch.core import checkpoints
from killswitch.core.audit import COSIG
from killswitch.core.bundles import RolloutStatus
from killswitch.core.cells import CellStatus
from killswitch.core.certificates import ResumeDraft, ResumeStatus, ResumeSubmit
from killswitch.core.events import (
    AcknowledgeTask,
    Append,
    Boot,
    CheckpointDurable,
    DiskFailed,
    DiskFreed,
    DiskFull,
    Durable,
    Effect,
    Input,
    Observe,
    ProcessExited,
    Receive,
    Send,
    Signal,
    SignalKind,
    Spawn,
    WriteCheckpoint,
)  # fmt: skip
from killswitch.core.heads import Cosigned, Sth
from killswitch.core.keychanges import KeyChange
from killswitch.core.messages import COUNTER_MAX, AgentStatus, OrderStatus
from killswitch.core.outlet import parts

HEADS_KEPT: Final = 4  # of each writer; a replica has to keep more than that
NO_KEYS: Final[frozenset[str]] = frozenset()  # shared: each empty set of its own would be 216 bytes
_decode = msgspec.msgpack.Decoder().decode  # made once: every record comes by here


class Observer:
    """Watches one node across its restarts. ``agent`` is the agent that a sidecar guards or an agent is, else empty. What it keeps for what is sent,
    `observe_sent.Sending` explains."""

    __slots__ = (
        "_appended", "_at", "_begun", "_dead", "_full", "_heads", "_inputs", "_news", "_process", "_record", "_records", "_rulings", "_sends",
        "_slots", "_witnessed", "accepted", "agent", "claims", "clock_ns", "durable", "grown", "heard", "judge", "node", "revoked", "round", "said",
        "signed",
    )  # fmt: skip

    def __init__(self, node: str, agent: str, judge: Judge, record: Callable[[Fact], None]) -> None:
        self.node = node
        self.agent = agent
        self.judge = judge
        self._record = record
        self._inputs = _INPUTS_OF.get(node.partition("/")[0], _INPUTS)
        self._records: list[tuple[int, str, dict[str, Any]]] = []  # facts that a record's durability makes
        self._sends: list[tuple[int, str, dict[str, Any]]] = []  # facts of what leaves once a record is durable
        self.durable = 0
        self._process: tuple[int, int, str] | None = None
        self.round = ""
        self.said: dict[object, int] = {}
        self.accepted: dict[str, str] | None = None
        self.claims: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        # generation -> {hash of a checkpoint begun under it: lsn}, if there is any: a disk that lied goes far back
        self._begun: dict[int, dict[bytes, int]] | None = None
        self._slots: tuple[bytes, ...] = ()
        self._full: dict[int, str] | None = None  # while the disk is known to be full: lsn -> kind of what was appended since
        self._heads: dict[str, dict[int, Sth]] | None = None  # writer -> the longest heads of its that this start cosigned or was told of, if any
        self.heard = Heard(agent)
        self._appended = 0
        self.revoked = NO_KEYS  # by the changes of the keyset that this node holds
        self._at = self.clock_ns = 0
        self._dead = False
        self._witnessed = node.startswith(("replica/", "sidecar/"))
        self.signed = 0  # size of the last head
        self._news = 0  # lsn of the last record that calls for a head
        self.grown = False  # since that head, as far as is durable
        self._rulings: Rulings | None = None  # from when its log first speaks of policies

    @property
    def rulings(self) -> Rulings:
        if self._rulings is None:
            self._rulings = Rulings()
        return self._rulings

    def step(self, at_ns: int, clock_ns: int, event: Input, effects: list[Effect]) -> None:
        """Record the facts of one step, in order."""
        before = self._inputs.get(type(event))
        if before is None and not effects:
            return  # most steps are of messages that bring nothing new
        self._at, self.clock_ns = at_ns, clock_ns
        self._dead = False
        if before is not None:
            before(self, event)
        for effect in effects:
            handler = _EFFECTS.get(type(effect))
            if handler is not None and not self._dead:
                handler(self, effect)

    def died(self) -> None:
        """The process ended, perhaps in the middle of the step that is being told: of that step nothing more comes about."""
        self._dead = True

    def emit(self, kind: str, body: dict[str, Any]) -> None:
        if not self._dead:
            self._record(Fact(self._at, kind, self.node, self.clock_ns, body))

    def once_durable(self, lsn: int, kind: str, body: dict[str, Any], *, sends: bool = False) -> None:
        """Emit as soon as ``lsn`` is durable. What a process still had to send dies with it; what it wrote may prove durable at the next boot."""
        if lsn <= self.durable:
            self.emit(kind, body)
        else:
            (self._sends if sends else self._records).append((lsn, kind, body))

    def _release(self, waiting: list[tuple[int, str, dict[str, Any]]]) -> list[tuple[int, str, dict[str, Any]]]:
        """Emit what has become durable; give back what has not, or what a death in the middle of the telling left untold."""
        left = []
        for entry in waiting:
            lsn, kind, body = entry
            if lsn <= self.durable and not self._dead:
                self.emit(kind, body)
            else:
                left.append(entry)
        return left

    # -- inputs

    def on_boot(self, event: Boot) -> None:
        """Whatever survived is durable, though nobody had been told; the rest is gone."""
        self.emit("node-started", {"boot": event.boot, "instance": event.instance, "records": len(event.records)})
        if event.truncated:
            self.emit("log-truncated", {"bytes": event.truncated})
        self.durable = self._appended = len(event.records)
        unread = sum(not is_known(record) for record in event.records)
        if unread:
            self.emit("log-unread", {"records": unread})
        if self.revoked:
            changes = [msgspec.msgpack.decode(record.body)["raw"] for record in event.records if record.kind == "KEYSET"]
            self.revoked = frozenset(key for raw in changes for key in msgspec.msgpack.decode(raw, type=KeyChange).revokes)
        self._full = None
        self._slots = tuple(hashlib.sha256(slot).digest() for slot in event.checkpoints)
        self._release(self._records)
        self._records, self._sends = [], []
        self.signed, self._news, self.grown = 0, len(event.records), False
        self.said.clear()
        self.accepted = self._heads = None
        self.heard = Heard(self.agent)
        self.claims = ((), ())

    def on_durable(self, event: Durable) -> None:
        self.durable = max(self.durable, event.lsn)
        if self._full and event.lsn in self._full:
            self.emit("reserve-used", {"lsn": event.lsn, "what": self._full[event.lsn]})
        if self._witnessed and not self.grown and self.signed < self._news <= self.durable:
            self.grown = True
            self.emit("log-grown", {"size": self._news})
        if self._records:
            self._records = self._release(self._records)
        if self._sends:
            self._sends = self._release(self._sends)

    def on_disk_failed(self, event: DiskFailed) -> None:
        self.emit("disk-failed", {"lsn": event.lsn})

    def on_disk_full(self, event: DiskFull) -> None:
        self.emit("disk-full", {"lsn": event.lsn})
        self._full = {}

    def on_disk_freed(self, event: DiskFreed) -> None:
        self.emit("disk-freed", {})
        self._full = None

    def on_process_exited(self, event: ProcessExited) -> None:
        if self._process is not None:
            token, self._process = self._process, None
            self.emit("process-reaped", {"agent": self.agent, "token": token, "code": event.code, "signalled": event.signalled})
            found = checkpoints.choose(event.checkpoints, COUNTER_MAX)
            if found is not None:
                self.emit("checkpoint-found", {"agent": self.agent, "generation": found.generation})

    def on_checkpoint_durable(self, event: CheckpointDurable) -> None:
        lsn = next(reversed(self._begun_under(event.generation).values()), 0)
        self.emit("checkpoint-durable", {"agent": self.agent, "generation": event.generation, "lsn": lsn})

    def on_receive(self, event: Receive) -> None:
        """Only what the operator's client is told is a fact when it arrives; everything else is one when it is sent or acted on."""
        message = event.message
        if isinstance(message, CellStatus):
            fields = {"request": message.request, "order": message.order, "stage": message.stage, "copies": message.copies}
            self.emit("cell-status", {**fields, "cell": int(message.cell.removeprefix("cell-"))})
        elif isinstance(message, OrderStatus):
            self.emit("order-status", {name: getattr(message, name) for name in ("request", "order", "stage", "copies", "keys")})
        elif isinstance(message, AgentStatus):
            token = parts(message.token)
            self.emit("agent-status", {"order": message.order, "agent": message.agent, "token": token, "stage": message.stage})
        elif isinstance(message, ResumeDraft):
            if message.stage != "DRAFTED":
                self.emit("resume-status", {"request": message.request, "certificate": "", "stage": message.stage})
            else:
                self.emit("draft-shown", {"request": message.request, "certificate": hashlib.sha256(message.raw).hexdigest()})
        elif isinstance(message, ResumeStatus):
            self.emit("resume-status", {"request": message.request, "certificate": message.certificate, "stage": message.stage})
        elif isinstance(message, RolloutStatus):
            self.emit("rollout-status", {"request": message.request, "stage": message.stage, "seq": message.seq})
            if message.stage == "ACCEPTED":
                self.accepted = {**(self.accepted or {}), message.request: event.sender}

    def on_peer_receive(self, event: Receive) -> None:
        """What others cosigned is there to be held against what is shown here. And what people hand in calls for an answer."""
        if isinstance(event.message, ResumeSubmit):
            on_handed_in(self, event.message)
        if isinstance(event.message, Cosigned) and event.sender.startswith("replica/"):
            for cosignature in event.message.cosignatures:
                if cosignature.head.origin != self.node:
                    self.hold_against(cosignature.head)

    def hold_against(self, head: Sth) -> None:
        """Tell when two heads of one size, both the word of their writer, are of two logs."""
        if self._heads is None:
            self._heads = {}
        kept = self._heads.setdefault(head.origin, {})
        known = kept.setdefault(head.size, head)
        if known.root != head.root and self.judge.head(known) and self.judge.head(head):
            self.emit("fork-shown", {"origin": head.origin, "size": head.size, "roots": [known.root.hex(), head.root.hex()]})
        if len(kept) > HEADS_KEPT:
            del kept[min(kept)]

    def on_told(self, event: Receive) -> None:
        """Which tokens others have promised or fenced out, for a start has to be greater; and what the agent asks."""
        self.heard.hear(event, self.emit)

    # -- effects

    def on_append(self, effect: Append) -> None:
        record = effect.record
        self._appended = record.seq
        if record.kind != COSIG:
            self._news = record.seq
        if self._full is not None:
            self._full[record.seq] = record.kind
            own = _decode(record.body).get("signer") == self.node
            self.emit("recorded-without-room", {"lsn": record.seq, "what": record.kind, "own": own})
        handler = RECORDS.get(record.kind)
        if handler is not None:
            handler(self, record.seq, _decode(record.body))

    def on_send(self, effect: Send) -> None:
        handler = SENT.get(type(effect.message))
        if handler is not None:
            handler(self, effect, effect.message)

    def on_spawn(self, effect: Spawn) -> None:
        self._process = parts(effect.token)
        self.emit("process-started", {"agent": self.agent, "token": self._process})

    def on_signal(self, effect: Signal) -> None:
        if self._process is not None:
            self.emit(_SIGNALS.get(effect.kind, "process-killed"), {"agent": self.agent, "token": self._process})

    def on_write_checkpoint(self, effect: WriteCheckpoint) -> None:
        if self._begun is None:
            self._begun = {}
        begun, written = self._begun.setdefault(effect.generation, {}), hashlib.sha256(effect.body).digest()
        begun.pop(written, None)  # so that it is the last of them, if it was there before
        begun[written] = self._appended
        self.emit("checkpoint-begun", {"agent": self.agent, "generation": effect.generation, "lsn": self._appended})

    def on_acknowledge(self, effect: AcknowledgeTask) -> None:
        kind = "task-acknowledged" if effect.outcome == "COMPLETED" else "task-returned"
        self.once_durable(effect.after_lsn, kind, {"agent": self.agent, "task": effect.task}, sends=True)

    def on_observe(self, effect: Observe) -> None:
        if effect.kind == "token-opened":
            self.heard.open(effect.fields["token"])
        elif effect.kind == "rollout-requested" and self.accepted:
            self.accepted.pop(str(effect.fields["request"]), "")  # a person asks, whatever became of it before
        if effect.kind == "checkpoint-recovered":
            self.on_recovered(effect.fields)
        elif effect.kind in VOCABULARY:
            self.emit(effect.kind, effect.fields)

    def on_recovered(self, fields: dict[str, Any]) -> None:
        """Which one is the agent's word; whether that one is there, and as it was written, is not."""
        generation = fields["generation"]
        intact = not generation or not self._begun_under(generation).keys().isdisjoint(self._slots)
        self.emit("checkpoint-recovered", {**fields, "intact": intact})

    def _begun_under(self, generation: int) -> dict[bytes, int]:
        return (self._begun or {}).get(generation, {})


_INPUTS: dict[type, Callable[[Observer, Any], None]] = {
    Boot: Observer.on_boot,
    Durable: Observer.on_durable,
    DiskFailed: Observer.on_disk_failed,
    DiskFull: Observer.on_disk_full,
    DiskFreed: Observer.on_disk_freed,
    ProcessExited: Observer.on_process_exited,
    CheckpointDurable: Observer.on_checkpoint_durable,
}
_INPUTS_OF: dict[str, dict[type, Callable[[Observer, Any], None]]] = {
    "operator": {**_INPUTS, Receive: Observer.on_receive},
    "replica": {**_INPUTS, Receive: Observer.on_peer_receive},
    "sidecar": {**_INPUTS, Receive: Observer.on_told},
}
_SIGNALS = {SignalKind.CONT: "process-continued", SignalKind.TERM: "process-termed"}
_EFFECTS: dict[type, Callable[[Observer, Any], None]] = {
    Append: Observer.on_append,
    Send: Observer.on_send,
    Spawn: Observer.on_spawn,
    Signal: Observer.on_signal,
    WriteCheckpoint: Observer.on_write_checkpoint,
    AcknowledgeTask: Observer.on_acknowledge,
    Observe: Observer.on_observe,
}
