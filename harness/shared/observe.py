"""From what goes in and out of a state machine to facts of the history: one mapping for both drivers.

Owns what each input and effect means in the history's vocabulary. What a node did is read off its effects (what it appended, sent, signalled),
not off its own word; `Observe` effects are taken only for inner state that nothing else shows. Knows the core's contract
(`killswitch.core.events`) and no driver.

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
from harness.shared.observe_records import RECORDS
from harness.shared.observe_heard import Heard
from killswitch.core import checkpoints
from harness.shared.rulings import Rulings
from killswitch.core.bundles import PolicyNews, RolloutStatus
from killswitch.core.cells import CellStatus
from killswitch.core.certificates import ResumeBody, ResumeDraft, ResumeStatus
from killswitch.core.heads import Cosigned, HeadNotice, Sth
from killswitch.core.audit import COSIG
from killswitch.core.keychanges import KeyChange
from killswitch.core.lessons import Lesson
from killswitch.core.events import (
    AcknowledgeTask, Append, Boot, CheckpointDurable, DiskFailed, DiskFreed, DiskFull, Durable, Effect, Input, Observe, ProcessExited, Receive, Send,
    Signal, SignalKind, Spawn, WriteCheckpoint,
)  # fmt: skip
from killswitch.core.messages import (
    COUNTER_MAX, AgentStatus, Apply, ApplyResult, Challenge, Evidence, Fence, FenceAck, Gossip, LeaseReply, LeaseRequest, OrderStatus,
    Query, QueryResult, StartReply, StartRequest, StopAck, Token,
)  # fmt: skip

HEADS_KEPT: Final = 4  # of each writer; a replica has to keep more than that
NO_KEYS: Final[frozenset[str]] = frozenset()  # shared: each empty set of its own would be 216 bytes
_decode = msgspec.msgpack.Decoder().decode  # made once: every record comes by here


class Observer:
    """Watches one node across its restarts. ``agent`` is the agent that a sidecar guards or an agent is, else empty."""

    __slots__ = (
        "_appended", "_at", "_begun", "_claims", "_clock", "_dead", "_durable", "_grown", "_heads", "_heard", "_inputs", "_news", "_process",
        "_record", "_records", "_round", "_rulings", "_said", "_sends", "_signed", "_slots", "_witnessed", "agent", "judge", "node", "revoked",
    )  # fmt: skip

    def __init__(self, node: str, agent: str, judge: Judge, record: Callable[[Fact], None]) -> None:
        self.node = node
        self.agent = agent
        self.judge = judge
        self._record = record
        self._inputs = _INPUTS_OF.get(node.partition("/")[0], _INPUTS)
        self._records: list[tuple[int, str, dict[str, Any]]] = []  # facts that a record's durability makes
        self._sends: list[tuple[int, str, dict[str, Any]]] = []  # facts of what leaves once a record is durable
        self._durable = 0
        self._process: tuple[int, int, str] | None = None
        self._round = ""
        self._said: dict[object, int] = {}  # what this start has sent -> what it waits for at most, or 0; whose head it cosigned -> its size
        self._claims: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())  # what this start's latest gossip says of copies and of waits
        self._begun: dict[int, dict[bytes, int]] = {}  # generation -> {hash of a checkpoint begun under it: lsn}: a disk that lied goes far back
        self._slots: tuple[bytes, ...] = ()
        self._heads: dict[str, dict[int, Sth]] = {}  # writer -> the longest heads of its that this start cosigned or was told of
        self._heard = Heard(agent)
        self._appended = 0
        self.revoked = NO_KEYS  # by the changes of the keyset that this node holds
        self._at = self._clock = 0
        self._dead = False
        self._witnessed = node.startswith(("replica/", "sidecar/"))
        self._signed = 0  # size of the last head
        self._news = 0  # lsn of the last record that calls for a head
        self._grown = False  # since that head, as far as is durable
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
        self._at, self._clock = at_ns, clock_ns
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
            self._record(Fact(self._at, kind, self.node, self._clock, body))

    def once_durable(self, lsn: int, kind: str, body: dict[str, Any], *, sends: bool = False) -> None:
        """Emit as soon as ``lsn`` is durable. What a process still had to send dies with it; what it wrote may prove durable at the next boot."""
        if lsn <= self._durable:
            self.emit(kind, body)
        else:
            (self._sends if sends else self._records).append((lsn, kind, body))

    def _release(self, waiting: list[tuple[int, str, dict[str, Any]]]) -> list[tuple[int, str, dict[str, Any]]]:
        """Emit what has become durable; give back what has not, or what a death in the middle of the telling left untold."""
        left = []
        for entry in waiting:
            lsn, kind, body = entry
            if lsn <= self._durable and not self._dead:
                self.emit(kind, body)
            else:
                left.append(entry)
        return left

    # -- inputs

    def on_boot(self, event: Boot) -> None:
        """Whatever survived is durable, though nobody had been told; the rest is gone."""
        self.emit("node-started", {"boot": event.boot, "instance": event.instance, "records": len(event.records)})
        self._durable = self._appended = len(event.records)
        if self.revoked:
            changes = [msgspec.msgpack.decode(record.body)["raw"] for record in event.records if record.kind == "KEYSET"]
            self.revoked = frozenset(key for raw in changes for key in msgspec.msgpack.decode(raw, type=KeyChange).revokes)
        self._slots = tuple(hashlib.sha256(slot).digest() for slot in event.checkpoints)
        self._release(self._records)
        self._records, self._sends = [], []
        self._signed, self._news, self._grown = 0, len(event.records), False
        self._said.clear()
        self._heads.clear()
        self._heard = Heard(self.agent)
        self._claims = ((), ())

    def on_durable(self, event: Durable) -> None:
        self._durable = max(self._durable, event.lsn)
        if self._witnessed and not self._grown and self._signed < self._news <= self._durable:
            self._grown = True
            self.emit("log-grown", {"size": self._news})
        if self._records:
            self._records = self._release(self._records)
        if self._sends:
            self._sends = self._release(self._sends)

    def on_disk_failed(self, event: DiskFailed) -> None:
        self.emit("disk-failed", {"lsn": event.lsn})

    def on_disk_full(self, event: DiskFull) -> None:
        self.emit("disk-full", {"lsn": event.lsn})

    def on_disk_freed(self, event: DiskFreed) -> None:
        self.emit("disk-freed", {})

    def on_process_exited(self, event: ProcessExited) -> None:
        if self._process is not None:
            token, self._process = self._process, None
            self.emit("process-reaped", {"agent": self.agent, "token": token, "code": event.code, "signalled": event.signalled})
            found = checkpoints.choose(event.checkpoints, COUNTER_MAX)
            if found is not None:
                self.emit("checkpoint-found", {"agent": self.agent, "generation": found.generation})

    def on_checkpoint_durable(self, event: CheckpointDurable) -> None:
        lsn = next(reversed(self._begun.get(event.generation, {}).values()), 0)
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
            token = _parts(message.token)
            self.emit("agent-status", {"order": message.order, "agent": message.agent, "token": token, "stage": message.stage})
        elif isinstance(message, ResumeStatus):
            self.emit("resume-status", {"request": message.request, "certificate": message.certificate, "stage": message.stage})
        elif isinstance(message, RolloutStatus):
            self.emit("rollout-status", {"request": message.request, "stage": message.stage, "seq": message.seq})

    def on_peer_receive(self, event: Receive) -> None:
        """What others cosigned is there to be held against what is shown here."""
        if isinstance(event.message, Cosigned) and event.sender.startswith("replica/"):
            for cosignature in event.message.cosignatures:
                if cosignature.head.origin != self.node:
                    self.hold_against(cosignature.head)

    def hold_against(self, head: Sth) -> None:
        """Tell when two heads of one size, both the word of their writer, are of two logs."""
        kept = self._heads.setdefault(head.origin, {})
        known = kept.setdefault(head.size, head)
        if known.root != head.root and self.judge.head(known) and self.judge.head(head):
            self.emit("fork-shown", {"origin": head.origin, "size": head.size, "roots": [known.root.hex(), head.root.hex()]})
        if len(kept) > HEADS_KEPT:
            del kept[min(kept)]

    def on_told(self, event: Receive) -> None:
        """Which tokens others have promised or fenced out, for a start has to be greater; and what the agent asks."""
        self._heard.hear(event, self.emit)

    # -- effects

    def on_append(self, effect: Append) -> None:
        record = effect.record
        self._appended = record.seq
        if record.kind != COSIG:
            self._news = record.seq
        handler = RECORDS.get(record.kind)
        if handler is not None:
            handler(self, record.seq, _decode(record.body))

    def on_send(self, effect: Send) -> None:
        handler = _SENDS.get(type(effect.message))
        if handler is not None:
            handler(self, effect, effect.message)

    def on_spawn(self, effect: Spawn) -> None:
        self._process = _parts(effect.token)
        self.emit("process-started", {"agent": self.agent, "token": self._process})

    def on_signal(self, effect: Signal) -> None:
        if self._process is not None:
            self.emit(_SIGNALS.get(effect.kind, "process-killed"), {"agent": self.agent, "token": self._process})

    def on_write_checkpoint(self, effect: WriteCheckpoint) -> None:
        begun, written = self._begun.setdefault(effect.generation, {}), hashlib.sha256(effect.body).digest()
        begun.pop(written, None)  # so that it is the last of them, if it was there before
        begun[written] = self._appended
        self.emit("checkpoint-begun", {"agent": self.agent, "generation": effect.generation, "lsn": self._appended})

    def on_acknowledge(self, effect: AcknowledgeTask) -> None:
        kind = "task-acknowledged" if effect.outcome == "COMPLETED" else "task-returned"
        self.once_durable(effect.after_lsn, kind, {"agent": self.agent, "task": effect.task}, sends=True)

    def on_observe(self, effect: Observe) -> None:
        if effect.kind == "token-opened":
            self._heard.open(effect.fields["token"])
        if effect.kind == "checkpoint-recovered":
            self.on_recovered(effect.fields)
        elif effect.kind in VOCABULARY:
            self.emit(effect.kind, effect.fields)

    def on_recovered(self, fields: dict[str, Any]) -> None:
        """Which one is the agent's word; whether that one is there, and as it was written, is not."""
        generation = fields["generation"]
        intact = not generation or not self._begun.get(generation, {}).keys().isdisjoint(self._slots)
        self.emit("checkpoint-recovered", {**fields, "intact": intact})

    # -- messages

    def on_head_notice(self, effect: Send, message: HeadNotice) -> None:
        head = message.head
        if head.size > self._signed:  # one fact for the head, not one for each witness that it is shown to
            self._signed, self._grown = head.size, False
            self.emit("sth-signed", {"origin": head.origin, "size": head.size, "root": head.root.hex(), "previous": head.previous})

    def on_cosigned(self, effect: Send, message: Cosigned) -> None:
        """One fact for each cosignature, not one for each node that is told of it."""
        for cosignature in message.cosignatures:
            head = cosignature.head
            if cosignature.witness == self.node and self._said.get(head.origin, 0) < head.size:
                self._said[head.origin] = head.size
                fields = {"origin": head.origin, "size": head.size, "root": head.root.hex(), "witness": self.node}
                self.once_durable(effect.after_lsn, "cosignature-sent", fields, sends=True)

    def on_lease_request(self, effect: Send, message: LeaseRequest) -> None:
        for proof in message.evidence:
            self.on_evidence(effect, proof)
        if message.nonce != self._round and message.token.counter:
            self._round = message.nonce
            instance = message.token.instance
            self.emit("lease-requested", {"agent": message.agent, "nonce": message.nonce, "token": _parts(message.token), "instance": instance})

    def on_lease_reply(self, effect: Send, message: LeaseReply) -> None:
        common = {"agent": message.agent, "nonce": message.nonce, "replica": self.node, "token": _parts(message.token)}
        if message.len_ns > 0:
            self.emit("lease-granted", {**common, "len_ns": message.len_ns})
        elif message.token.counter:
            self.emit("lease-denied", {**common, "why": message.why})

    def on_apply(self, effect: Send, message: Apply) -> None:
        fields = {"agent": message.agent, "token": _parts(message.token), "instance": message.token.instance, "task": message.task}
        fate = {"step": message.step, "key": message.key, "cls": str(message.cls), "sink": effect.to}
        self.emit("effect-admitted", {**fields, **fate})

    def on_query(self, effect: Send, message: Query) -> None:
        """One fact for each question of the agent, not one for each time that its sink is asked it."""
        if message.key in self._heard.asked:
            self._heard.asked -= {message.key}
            self.emit("question-asked", {"agent": message.agent, "sink": effect.to, "key": message.key, "nonce": message.nonce})

    def on_challenge(self, effect: Send, message: Challenge) -> None:
        self.emit("challenge-issued", {"sink": message.sink, "key": message.key, "nonce": message.nonce})

    def on_evidence(self, effect: Send, message: Evidence) -> None:
        """One fact for each proof, not one for each replica or each heartbeat that it goes out with."""
        mark = (message.order, message.stage, message.token.counter)
        if mark not in self._said:
            self._said[mark] = 0
            fields = {"agent": message.agent, "token": _parts(message.token), "order": message.order, "stage": message.stage}
            self.once_durable(effect.after_lsn, "evidence-sent", fields, sends=True)
            self.vouch(effect, "proof", f"{message.order} {message.stage} {message.token.counter}")

    def on_start_request(self, effect: Send, message: StartRequest) -> None:
        for proof in message.evidence:
            self.on_evidence(effect, proof)
        mark = ("start", message.token)
        if mark not in self._said:
            self._said[mark] = 0
            told, by = self._heard.greatest
            self.emit("start-proposed", {"agent": message.agent, "token": _parts(message.token), "told": _parts(told), "by": by})

    def on_start_reply(self, effect: Send, message: StartReply) -> None:
        """One fact for each promise, not one for each time that it is asked for again."""
        promise = (message.agent, message.token)
        if message.granted and promise not in self._said:
            self._said[promise] = 0
            self.once_durable(effect.after_lsn, "promise-sent", {"agent": message.agent, "token": _parts(message.token)}, sends=True)
        readied = ("ready", message.agent, message.token)
        if message.ready and readied not in self._said:
            self._said[readied] = 0
            self.once_durable(effect.after_lsn, "start-readied", {"agent": message.agent, "token": _parts(message.token)}, sends=True)

    def vouch(self, effect: Send, what: str, about: str) -> None:
        """One fact for each thing that this start vouches for, when it is first said: what leaves later than that is no news, what leaves before it
        is."""
        mark = (what, about)
        waits_for = self._said.get(mark)
        if waits_for is None or max(effect.after_lsn, self._durable) < waits_for:
            self._said[mark] = effect.after_lsn
            self.once_durable(effect.after_lsn, "vouched", {"what": what, "about": about}, sends=True)

    def on_gossip(self, effect: Send, message: Gossip) -> None:
        claims = (message.durable, message.waited)
        if claims != self._claims:
            self._claims = claims
            for what, orders in zip(("copy", "wait"), claims, strict=True):
                for order in orders:
                    self.vouch(effect, what, order)

    def on_policy_news(self, effect: Send, message: PolicyNews) -> None:
        for signed in message.records:
            self.vouch(effect, "rollout", hashlib.sha256(signed.raw).hexdigest())

    def on_lesson(self, effect: Send, message: Lesson) -> None:
        for each in message.promised:
            self.vouch(effect, "promise", f"{each.agent} {each.epoch}.{each.counter}.{each.instance}")

    def on_fence(self, effect: Send, message: Fence) -> None:
        """One fact for each fence, not one for each time that its sink is told of it again."""
        asked = ("fence", effect.to, message)
        if asked not in self._said:
            self._said[asked] = 0
            fields = {"sink": effect.to, "agent": message.agent, "min_token": _parts(message.min_token), "order": message.order}
            self.once_durable(effect.after_lsn, "fence-sent", fields, sends=True)

    def on_fence_ack(self, effect: Send, message: FenceAck) -> None:
        token = message.min_token
        self.vouch(effect, "fence", f"{message.agent} {token.epoch}.{token.counter}.{token.instance}")

    def on_effect_told(self, effect: Send, message: ApplyResult | QueryResult) -> None:
        if message.status == "APPLIED":
            self.vouch(effect, "effect", message.key)

    def on_rollout_status(self, effect: Send, message: RolloutStatus) -> None:
        if message.stage != "REFUSED":
            self.vouch(effect, "request", f"{message.seq}/{message.request}")

    def on_resume_status(self, effect: Send, message: ResumeStatus) -> None:
        if message.stage == "ACCEPTED":
            self.vouch(effect, "certificate", message.certificate)

    def on_draft(self, effect: Send, message: ResumeDraft) -> None:
        if message.stage != "REFUSED":
            body = msgspec.msgpack.decode(message.raw, type=ResumeBody) if message.raw else None
            covers, heard = ([], []) if body is None else (list(body.covers), self.heard_for(body))
            certificate = hashlib.sha256(message.raw).hexdigest()
            self.emit("draft-sent", {"request": message.request, "covers": covers, "certificate": certificate, "heard": heard})

    def heard_for(self, draft: ResumeBody) -> list[tuple[str, str, int]]:
        """Whom the drafter heard, and when: a draft ends for each a fixed span after its answer, and for the drafter that long from now."""
        own = next((end.clock_ns for end in draft.ends if end.replica == self.node), self._clock)
        return [(end.replica, end.boot, end.clock_ns - (own - self._clock)) for end in draft.ends if end.replica != self.node]

    def on_stop_ack(self, effect: Send, message: StopAck) -> None:
        self.emit("checkpoint-acknowledged", {"agent": self.agent, "generation": message.checkpoint})


def _parts(token: Token) -> tuple[int, int, str]:
    return (token.epoch, token.counter, token.instance)


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
_SENDS: dict[type, Callable[[Observer, Send, Any], None]] = {
    LeaseRequest: Observer.on_lease_request,
    StartRequest: Observer.on_start_request,
    LeaseReply: Observer.on_lease_reply,
    StartReply: Observer.on_start_reply,
    ResumeDraft: Observer.on_draft,
    Gossip: Observer.on_gossip,
    Lesson: Observer.on_lesson,
    Fence: Observer.on_fence,
    FenceAck: Observer.on_fence_ack,
    Challenge: Observer.on_challenge,
    Query: Observer.on_query,
    ApplyResult: Observer.on_effect_told,
    QueryResult: Observer.on_effect_told,
    PolicyNews: Observer.on_policy_news,
    RolloutStatus: Observer.on_rollout_status,
    ResumeStatus: Observer.on_resume_status,
    HeadNotice: Observer.on_head_notice,
    Cosigned: Observer.on_cosigned,
    Apply: Observer.on_apply,
    Evidence: Observer.on_evidence,
    StopAck: Observer.on_stop_ack,
}
