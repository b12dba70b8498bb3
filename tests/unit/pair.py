"""A fake link that joins real cores: what a driver owes them (`killswitch.core.events`), kept by hand and in one place.

Owns seats (one machine, its log, its timers, what it holds back until durable) and the link between them, with one clock for all. Knows no
network, no drift and no chance: messages arrive in the order sent unless a test drops, keeps or repeats them itself, and disks sync at
once unless a test says otherwise. Must not know the simulator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from killswitch.core import build, codec, intent, trust
from killswitch.core.certificates import ResumeBody, ResumeCertificate
from killswitch.core.events import (
    AcknowledgeTask,
    Append,
    Boot,
    CheckpointDurable,
    DiskFailed,
    Durable,
    Effect,
    Exit,
    Input,
    Observe,
    ProcessExited,
    Receive,
    Record,
    Send,
    SetTimer,
    Signal,
    SignalKind,
    Spawn,
    Submit,
    Timer,
    WriteCheckpoint,
)
from killswitch.core.keys import KeyedHash, Keyset
from killswitch.core.machine import NodeConfig, Parameters
from killswitch.core.messages import COUNTER_MAX, Message, Order, OrderBody, Task, Token
from killswitch.core.scopes import Scope
from killswitch.core.stamps import Reading
from killswitch.core.trust import Trust

SECOND = 1_000_000_000
AGENT = "acme/1"
SIDECAR = f"sidecar/{AGENT}"
AGENT_NODE = f"agent/{AGENT}"
LEDGER = "sink/acme/ledger"
BANK = "sink/acme/bank"
POST = "sink/acme/post"
SINKS = {LEDGER: "F", BANK: "C", POST: "U"}
REPLICAS = ("replica/1", "replica/2", "replica/3")
PARAMETERS = Parameters(drift_ppm=200_000)
SIGNER = KeyedHash(b"a cell of fakes")
FLEET = {AGENT: ("tier=gold",), "acme/2": (), "globex/1": ("tier=gold",)}
WHOLE_TENANT = Scope("tenant", "acme")
THIS_AGENT = Scope("agent", AGENT)
EVERYBODY = Scope("global")


def config(node: str, *, sinks: dict[str, str] | None = None, parameters: Parameters = PARAMETERS) -> NodeConfig:
    """The deployment record of a node of the usual cell: three replicas, majorities, a sink of each class."""
    role, _, rest = node.partition("/")
    agent = rest if role in ("sidecar", "agent") else ""
    return NodeConfig(
        node=node, role=role, parameters=parameters, replicas=REPLICAS, kill_quorum=2, quorum=2, tenant=rest.partition("/")[0], agent=agent,
        labels=FLEET.get(agent, ()), sinks=dict(SINKS if sinks is None else sinks), fleet=dict(FLEET),
    )  # fmt: skip


TRUST = Trust(SIGNER, build.keyset_of(config("replica/1")), PARAMETERS.approvals)


def order(
    severity: intent.Severity,
    *,
    scope: Scope = WHOLE_TENANT,
    tenant: str = "acme",
    grace_ns: int = 30 * SECOND,
    nonce: str = "",
    signer: str = "replica/1",
) -> Order:
    """A signed order. Orders that differ in nothing else differ by ``nonce``."""
    body = OrderBody(tenant, scope, int(severity.gate), int(severity.life), grace_ns, "alice", nonce or severity.title, "because")
    return trust.sign_order(TRUST, signer, body)


def id_of(signed: Order | ResumeCertificate) -> str:
    return intent.content_id(signed.raw)


def resume(
    *orders: Order, scope: Scope = WHOLE_TENANT, tenant: str = "acme", approvers: Iterable[str] = ("bob", "carol"), nonce: str = "resume",
    requester: str = "alice", ends: Iterable[Reading] = (),
) -> ResumeCertificate:  # fmt: skip
    """A certificate that covers ``orders``, with the approvals of ``approvers``; it can be handed in at every replica, for ever in its first boot,
    unless ``ends`` says otherwise."""
    readings = tuple(ends) or tuple(Reading(replica, "boot-1", COUNTER_MAX) for replica in REPLICAS)
    covers = tuple(sorted(id_of(each) for each in orders))
    body = ResumeBody(tenant, scope, covers, 1, "all clear", requester, nonce, ends=readings)
    return signed(codec.pack(body), *approvers)


def signed(raw: bytes, *approvers: str) -> ResumeCertificate:
    """A draft with the signatures of whoever asked for it and of ``approvers``."""
    body = trust.read_draft(raw)
    assert body is not None
    return ResumeCertificate(raw, (trust.sign_asked(TRUST, body.requester, raw), *(trust.sign_approval(TRUST, each, raw) for each in approvers)))


class Seat:
    """One node: its machine (None while no process runs), its log, and everything it did.

    ``disk``: prompt, stuck or broken. ``room``: how many records can become durable at all, for a crash at just that one.
    """

    def __init__(self, configuration: NodeConfig, keyset: Keyset | None = None) -> None:
        self.config = configuration
        self.node = configuration.node
        self.keyset = keyset
        self.machine: Any = None
        self.records: list[Record] = []
        self.durable = 0
        self.slots: dict[int, bytes] = {}
        self.disk = "prompt"
        self.room = 1 << 30
        self.timers: dict[str, int] = {}
        self.held: list[Send | AcknowledgeTask | Exit] = []
        self.effects: list[Effect] = []  # of all steps, in order
        self.inputs: list[tuple[Input, int]] = []  # of this start, with its clock
        self.starts = 0

    @property
    def state(self) -> Any:
        return self.machine.state

    def boot(
        self, now_ns: int, *, boot: str = "boot-1", records: Iterable[Record] | None = None, token: Token | None = None, truncated: int = 0
    ) -> list[Effect]:
        """Start the process with what survived: ``records``, or everything that was durable."""
        self.records = list(self.records[: self.durable] if records is None else records)
        self.durable = len(self.records)
        self.timers.clear()
        self.held.clear()
        self.inputs.clear()
        self.starts += 1
        self.machine = build.machine(self.config, SIGNER, self.keyset)
        slots = tuple(self.slots[slot] for slot in sorted(self.slots))
        return self.take(Boot(tuple(self.records), boot, f"{boot}.{self.starts}", truncated, slots, token), now_ns)

    def take(self, event: Input, now_ns: int) -> list[Effect]:
        """One step, and the log's part of its effects. The rest is the caller's."""
        if self.machine is None:
            return []
        self.inputs.append((event, now_ns))
        effects: list[Effect] = list(self.machine.step(event, now_ns))
        self.effects += effects
        for effect in effects:
            if isinstance(effect, Append):
                assert effect.record.seq == len(self.records) + 1, "records are appended in order, without gaps"
                self.records.append(effect.record)
            elif isinstance(effect, SetTimer):
                self.timers.pop(effect.name, None)
                if effect.at_ns is not None:
                    self.timers[effect.name] = effect.at_ns
        return effects

    def sync(self, now_ns: int) -> list[Effect]:
        """Make everything written so far durable, as far as there is room."""
        self.durable = min(len(self.records), self.room)
        return self.take(Durable(self.durable), now_ns)

    def fail(self, now_ns: int) -> list[Effect]:
        """The next sync fails, and with it all that come after."""
        self.disk = "broken"
        return self.take(DiskFailed(len(self.records)), now_ns)

    def kinds(self) -> list[str]:
        return [record.kind for record in self.records]

    def observed(self, kind: str) -> list[dict[str, object]]:
        return [effect.fields for effect in self.effects if isinstance(effect, Observe) and effect.kind == kind]

    def sent(self, kind: type[Any], to: str = "") -> list[Any]:
        """The messages of a type that were sent, perhaps only to one node, whether or not they waited for the log."""
        sends = (effect for effect in self.effects if isinstance(effect, Send))
        return [effect.message for effect in sends if type(effect.message) is kind and to in ("", effect.to)]


class Link:
    """The cores of a cell, joined. ``cut`` decides which messages are lost, ``keep`` which are put into ``kept`` instead of delivered."""

    def __init__(self, *nodes: str, sinks: dict[str, str] | None = None, parameters: Parameters = PARAMETERS, agent_boots: bool = True) -> None:
        self.now = SECOND
        self.seats = {node: Seat(config(node, sinks=sinks, parameters=parameters)) for node in nodes}
        self.queue: list[tuple[str, str, Message]] = []
        self.kept: list[tuple[str, str, Message]] = []
        self.cut: Callable[[str, str, Message], bool] = lambda sender, to, message: False
        self.keep: Callable[[str, str, Message], bool] = lambda sender, to, message: False
        self.upstream: list[Task] = []  # handed to each start of the agent until acknowledged
        self.acknowledged: list[tuple[str, str]] = []
        self.agent_boots = agent_boots
        self.reaps = True  # whether a signal that kills does so: False is a process in uninterruptible sleep

    def __getitem__(self, node: str) -> Seat:
        return self.seats[node]

    def boot(self, *nodes: str, boot: str = "boot-1") -> None:
        for node in nodes or [node for node in self.seats if not node.startswith("agent/")]:
            self.carry_out(self.seats[node], self.seats[node].boot(self.now, boot=boot))
        self.settle()

    def give(self, node: str, event: Input, *, settle: bool = True) -> list[Effect]:
        """One input to one node, then everything that follows from it without time going by."""
        effects = self.seats[node].take(event, self.now)
        self.carry_out(self.seats[node], effects)
        if settle:
            self.settle()
        return effects

    def tell(self, node: str, message: Message, sender: str = "replica/1", *, settle: bool = True) -> list[Effect]:
        return self.give(node, Receive(sender, message), settle=settle)

    def carry_out(self, seat: Seat, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send | AcknowledgeTask | Exit):
                if effect.after_lsn > seat.durable:
                    seat.held.append(effect)
                else:
                    self._let_go(seat, effect)
            elif isinstance(effect, WriteCheckpoint) and seat.disk == "prompt":
                seat.slots[effect.generation % 2] = effect.body
                self.carry_out(seat, seat.take(CheckpointDurable(effect.generation), self.now))
            elif isinstance(effect, Spawn) and self.agent_boots:
                self.boot_agent(effect.token)
            elif isinstance(effect, Signal) and (effect.kind in (SignalKind.REAP_ORPHANS, SignalKind.KILL) and self.reaps):
                self._end_agent(-9)

    def boot_agent(self, token: Token) -> None:
        agent = self.seats.get(AGENT_NODE)
        if agent is not None:
            self.carry_out(agent, agent.boot(self.now, token=token))
            self.hand_over()

    def hand_over(self, *tasks: Task) -> None:
        """Give the agent these tasks, and again all that have not come to an end."""
        self.upstream += tasks
        ended = {task for task, _ in self.acknowledged}
        for task in [task for task in self.upstream if task.task not in ended]:
            self.give(AGENT_NODE, Submit(task), settle=False)

    def crash_agent(self, *, keep: int | None = None) -> None:
        """The agent dies; of its log survive ``keep`` records (default: what was durable)."""
        agent = self.seats[AGENT_NODE]
        agent.durable = agent.durable if keep is None else keep
        agent.room = 1 << 30
        agent.machine = None
        agent.timers.clear()
        self.give(SIDECAR, ProcessExited(-9, True, tuple(agent.slots.values())))

    def _let_go(self, seat: Seat, effect: Send | AcknowledgeTask | Exit) -> None:
        if isinstance(effect, Send):
            self.queue.append((seat.node, effect.to, effect.message))
        elif isinstance(effect, AcknowledgeTask):
            self.acknowledged.append((effect.task, effect.outcome))
        else:
            self._end_agent(effect.code)

    def _end_agent(self, code: int) -> None:
        """The agent's process is gone; its sidecar hears of it after everything that it still said."""
        agent = self.seats.get(AGENT_NODE)
        alive = agent is not None and agent.machine is not None
        while any(sender == AGENT_NODE for sender, _, _ in self.queue):
            self._deliver(next(index for index, (sender, _, _) in enumerate(self.queue) if sender == AGENT_NODE))
        if agent is not None:
            agent.machine = None
            agent.timers.clear()
        code = code if alive or not self.agent_boots else 0
        left = () if agent is None else tuple(agent.slots.values())
        if SIDECAR in self.seats:
            self.carry_out(self.seats[SIDECAR], self.seats[SIDECAR].take(ProcessExited(code, code < 0, left), self.now))

    def settle(self) -> None:
        """Sync prompt disks and deliver until nothing is under way."""
        for _ in range(10_000):
            behind = next((seat for seat in self.seats.values() if self._behind(seat)), None)
            if behind is not None:
                self.sync(behind.node)
            elif self.queue:
                self._deliver(0)
            else:
                return
        raise AssertionError("the cores never come to rest")

    def _behind(self, seat: Seat) -> bool:
        return seat.disk == "prompt" and seat.machine is not None and seat.durable < min(len(seat.records), seat.room)

    def sync(self, node: str) -> None:
        """Make a node's log durable and release what waited for it."""
        seat = self.seats[node]
        effects = seat.sync(self.now)
        waited = [effect for effect in seat.held if effect.after_lsn <= seat.durable]
        seat.held = [effect for effect in seat.held if effect.after_lsn > seat.durable]
        for effect in waited:
            self.carry_out(seat, [effect])
        self.carry_out(seat, effects)

    def _deliver(self, index: int) -> None:
        sender, to, message = self.queue.pop(index)
        if to not in self.seats or self.cut(sender, to, message):
            return
        if self.keep(sender, to, message):
            self.kept.append((sender, to, message))
            return
        self.carry_out(self.seats[to], self.seats[to].take(Receive(sender, message), self.now))

    def release(self) -> None:
        """Deliver what was kept."""
        self.queue += self.kept
        self.kept = []
        self.keep = lambda sender, to, message: False
        self.settle()

    def run(self, span_ns: int) -> None:
        """Let time go by: each timer at its moment, in order."""
        end = self.now + span_ns
        while True:
            due = [(at, node, name) for node, seat in self.seats.items() if seat.machine is not None for name, at in seat.timers.items()]
            at, node, name = min(due, default=(end + 1, "", ""))
            if at > end:
                break
            self.now = max(self.now, at)
            del self.seats[node].timers[name]
            self.give(node, Timer(name))
        self.now = end


def cell(*extra: str, sinks: dict[str, str] | None = None, parameters: Parameters = PARAMETERS) -> Link:
    """Three replicas, the three sinks, one sidecar and its agent, booted and RUNNING."""
    link = Link(*REPLICAS, *(sinks or SINKS), SIDECAR, AGENT_NODE, *extra, sinks=sinks, parameters=parameters)
    link.boot()
    link.run(3 * SECOND)
    assert mode(link) == ("OPEN", "RUNNING"), "a cell without faults or orders runs"
    return link


def guarded(sinks: dict[str, str] | None = None) -> Link:
    """A RUNNING sidecar, cut off from everybody, whose agent is played by the test and outlives every signal."""
    link = Link(*REPLICAS, *(sinks or SINKS), SIDECAR, sinks=sinks, agent_boots=False)
    link.boot()
    link.run(3 * SECOND)
    assert mode(link) == ("OPEN", "RUNNING")
    link.cut = cut_off(SIDECAR)
    link.reaps = False
    return link


def mode(link: Link, node: str = SIDECAR) -> tuple[str, str]:
    """Gate and mode as last told."""
    gate, name = link[node].state.told
    return gate.name, name


def cut_off(*nodes: str) -> Callable[[str, str, Message], bool]:
    """Nothing in or out of these nodes, except between an agent and its sidecar, which share a host."""

    def cut(sender: str, to: str, message: Message) -> bool:
        one_host = {sender, to} == {SIDECAR, AGENT_NODE}
        return not one_host and (sender in nodes or to in nodes)

    return cut
