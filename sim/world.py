"""The world of one run: its time, its nodes, the network between them, upstream's tasks, and everything that is recorded.

Owns how the parts are put together and how facts are recorded. Knows the schedule's topology, not its timeline (``nemesis``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.shared.history import Fact
from harness.shared.judge import Judge
from harness.shared.observe import Observer
from killswitch.core.events import ProcessExited, Receive, Submit
from killswitch.core.keys import KeyedHash
from killswitch.core.machine import Implementation, Machine, NodeConfig
from killswitch.core.messages import Message, Task
from scenarios.deploy import OPERATOR, configurations
from scenarios.faults.keys import PEOPLE
from scenarios.schedule import ClockSpec, Schedule, Work
from sim.clock import Clock
from sim.disk import EMPTY
from sim.doubles import Doubles
from sim.host import mate_of, share_host
from sim.network import Delivery, Network
from sim.node import BOOT_OFFSET_MAX_NS, PIPE_NS, Node
from sim.processes import SPAWN_NS
from sim.queue import TIE_BITS, Queue, TooMuch
from sim.tape import Tape
from sim.trace import Trace

FACTS_MAX = 500_000
CROWD_NS = 100_000_000_000  # divided by the agents it is a slot of the queue, which brings some thousand events then
SLOT_MIN_NS = 1_000_000
BOOTTIME = "CLOCK_BOOTTIME"  # what an implementation runs on, unless it says otherwise


class Upstream:
    """Where tasks come from. It hands a task over again to each new process of its agent until the task is acknowledged. ``ended``: {agent: its tasks
    of which that was heard}, kept only where upstream is to forget it, else none."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._open: dict[str, dict[str, Task]] = {}  # agent -> its tasks by name
        self._given: dict[str, str] = {}  # task -> agent
        self.ended: dict[str, dict[str, Task]] | None = None

    def submit(self, work: Work) -> None:
        task = Task(work.task, work.sink, work.steps, work.step_ns, work.undo)
        self._open.setdefault(work.agent, {})[work.task] = task
        self._given[work.task] = work.agent
        for node in self._world.answering_to(f"agent/{work.agent}"):
            told = {"agent": work.agent, "task": work.task, "steps": work.steps, "sink": work.sink, "undo": work.undo}
            self._world.fact("task-submitted", node, told)
            node.receive(Submit(task))
        if work.expires_ns is not None:
            self._world.queue.at(work.expires_ns, self._expire, work)

    def _expire(self, work: Work) -> None:
        """The round is closed. Whoever has not contributed by now is not waited for, nor asked again."""
        if self._open[work.agent].pop(work.task, None) is not None:
            for node in self._world.answering_to(f"agent/{work.agent}"):
                self._world.fact("task-expired", node, {"agent": work.agent, "task": work.task})

    def hand_over_again(self, node: Node) -> None:
        for task in list(self._open.get(node.config.agent, {}).values()):
            self._world.fact("task-handed-over-again", node, {"agent": node.config.agent, "task": task.task, "sink": task.sink})
            node.receive(Submit(task))

    def forget_what_ended(self, node: Node) -> None:
        """As if no end of a task of this agent had been heard of."""
        if self.ended is not None:
            self._open.setdefault(node.config.agent, {}).update(self.ended.pop(node.config.agent, {}))

    def acknowledge(self, task: str) -> None:
        agent = self._given.get(task, "")
        acknowledged = self._open.get(agent, {}).pop(task, None)
        if acknowledged is not None and self.ended is not None:
            self.ended.setdefault(agent, {})[task] = acknowledged


class World:
    """``facts`` and ``trace`` grow as the run goes on; ``watchers`` are told of each fact as it is recorded, ``listeners`` of each
    of the kind under which they are listed.
    """

    def __init__(self, schedule: Schedule, implementation: Implementation, *, keep_trace: bool = True) -> None:
        self.schedule = schedule
        self._implementation = implementation
        self.runs_on_monotonic = getattr(implementation, "clock", BOOTTIME) != BOOTTIME
        self.tape = Tape(schedule.tape)
        self.queue = Queue(self.tape.bits("ties", TIE_BITS), max(SLOT_MIN_NS, CROWD_NS // (1 + len(schedule.topology.agents))))
        if (told := getattr(implementation, "show_wall_clocks", None)) is not None:
            told(lambda node: self.nodes[node].wall.read_ms(self.queue.now))
        self.facts: list[Fact] = []
        self.trace = Trace(keep=keep_trace)
        self.watchers: list[Callable[[Fact], None]] = []
        self.listeners: dict[str, list[Callable[[Fact], None]]] = {}
        self.fault_counts: dict[str, int] = {}
        self.secret = f"haltproof/{schedule.tape.seed}".encode()
        self.network = Network(self.queue, self.tape, schedule.link, self._deliver, self.fault_fired)
        self._piped = (self.hand_over,)
        self.arrivals: set[tuple[str, int, bytes]] = set()  # (sidecar, start, order) that were put on record
        self.before_delivery: Callable[[str, str, Message], int] | None = None
        self.before_pipe: Callable[[str, str, Message], bool] | None = None
        self.upstream = Upstream(self)
        self.nodes: dict[str, Node] = {}  # by address
        self.doubles = Doubles(self.nodes)
        judge = Judge(KeyedHash(self.secret), tuple(f"replica/{n}" for n in range(1, schedule.topology.replicas + 1)), schedule.parameters.approvals)
        record = self.record  # one bound method for all, and not one for each
        for config in configurations(schedule).values():
            self._add(config, judge, record)

    def _add(self, config: NodeConfig, judge: Judge, record: Callable[[Fact], None]) -> None:
        spec = self.schedule.clocks.get(config.node, ClockSpec())
        observer = Observer(config.node, config.agent, judge, record)
        node = self.nodes[config.node] = Node(self, config, Clock(0, spec.offset_ns, spec.drift_ppm), observer, spec.wall)
        if config.role == "agent":
            share_host(self.nodes[f"sidecar/{config.agent}"], node)

    def make_machine(self, config: NodeConfig) -> Machine:
        holds = {config.node, *(PEOPLE if config.node == OPERATOR else ())}
        return self._implementation.machine(config, KeyedHash(self.secret, holds))

    # -- recording

    def record(self, fact: Fact) -> None:
        self.facts.append(fact)
        if len(self.facts) == FACTS_MAX:  # once: the end of the run is still to be recorded
            raise TooMuch(f"more than {FACTS_MAX} facts")
        for watch in self.watchers:
            watch(fact)
        for listen in self.listeners.get(fact.kind, ()):
            listen(fact)

    def fact(self, kind: str, node: Node | None, body: dict[str, Any]) -> None:
        now = self.queue.now
        if node is None:
            self.record(Fact(now, kind, "world", now, body))
        else:
            self.record(Fact(now, kind, node.id, node.clock.read(now), body))

    def fault_fired(self, fault: str) -> None:
        """A fault made a difference; the first time is a fact, the rest is a count. The empty name is the network's own nature."""
        if not fault:
            return
        count = self.fault_counts[fault] = self.fault_counts.get(fault, 0) + 1
        if count == 1:
            self.fact("fault-fired", None, {"fault": fault, "what": self._what(fault)})

    def _what(self, fault: str) -> str:
        return next((getattr(entry.action, "what", "") for entry in self.schedule.timeline if entry.id == fault), "")

    # -- messages

    def send(self, source: str, target: str, message: Message) -> None:
        if self.doubles.copies:
            target = self.doubles.whereabouts(source, target)
        sender, receiver = self.nodes.get(source), self.nodes.get(target)
        if sender is None or receiver is None:
            return
        if sender.mate is receiver and sender.pipe is not None:
            self.queue.follow(sender.pipe, PIPE_NS, Delivery(self._piped, sender.pipe, message, sender.stamp))
        else:
            self.network.send(source, target, message, sender.stamp)

    def on_one_host(self, source: str, target: str) -> bool:
        """Whether the two are a sidecar and its agent, between whom there is no network."""
        return self.nodes[source].mate is self.nodes[target]

    def hand_over(self, delivery: Delivery) -> None:
        """A message has come to its node, whatever way it took."""
        source, target, message = delivery.link.source, delivery.link.target, delivery.message
        node = self.doubles.at(target)
        if node is None or (self.before_pipe is not None and not self.before_pipe(source, target, message)):
            return
        if delivery.stamp > node.stamp:
            node.hear(delivery.stamp)
        node.receive(Receive(self.doubles.name_of(source) if self.doubles.ever else source, message))

    def _deliver(self, delivery: Delivery) -> None:
        link, message = delivery.link, delivery.message
        source, target = link.source, link.target
        cloned = self.doubles.ever
        if cloned:
            if target not in self.nodes:
                return
            self.doubles.heard(target, source)
        copies = 1 if self.before_delivery is None else self.before_delivery(source, target, message)
        node = self.nodes[target]
        if node.intake is not None:
            for _ in range(copies):
                node.intake.put(message, source, delivery)
            return
        if delivery.stamp > node.stamp:
            node.hear(delivery.stamp)
        name = self.doubles.name_of(source) if cloned else source
        for _ in range(copies):
            node.receive(Receive(name, message))

    # -- hosts

    def agent_of(self, sidecar: Node) -> Node:
        return mate_of(sidecar)

    def sidecar_of(self, agent: Node) -> Node:
        return mate_of(agent)

    def answering_to(self, name: str) -> list[Node]:
        """Whoever goes by that name: one, or two while a copy of its host runs beside it."""
        return [self.nodes[address] for address in (name, self.doubles.copies.get(name)) if address in self.nodes]

    def clone(self, sidecar: Node) -> bool:
        """Start a copy of a sidecar's host beside it, as another host that boots from a snapshot of its disk; whether that was done."""
        if self.doubles.ever or sidecar.gone:
            return False
        drift_ppm = self.schedule.clocks.get(sidecar.config.node, ClockSpec()).drift_ppm
        twin, _ = self.doubles.make(sidecar, Clock(self.queue.now, self.tape.stream("clone")(BOOT_OFFSET_MAX_NS), drift_ppm))
        self.fact("node-cloned", sidecar, {"copy": twin.id, "records": len(twin.disk.records)})
        self.queue.at(self.queue.now + SPAWN_NS, Node.boot_up, twin)
        return True

    def end_double(self, name: str, *, keep_copy: bool) -> None:
        """One of two hosts is ended for good. Nothing if there are not two."""
        if name in self.doubles.copies:
            ended, left = self.doubles.end(name, keep_copy=keep_copy)
            self.fact("clone-ended", ended, {"survivor": left.id})

    def agent_exits(self, agent: Node, code: int) -> None:
        agent.die(power=False)
        self.reap(agent, code)

    def reap(self, agent: Node, code: int) -> None:
        """Tell the sidecar that its agent is gone, once its children are and everything that it still wrote has been read."""
        linger_ns = agent.lingers_ns if agent.asks_on else 0
        self.queue.at(self.queue.now + 2 * PIPE_NS + linger_ns, self._reaped, (self.sidecar_of(agent), code, agent.disk.checkpoints()))

    def _reaped(self, ticket: tuple[Node, int, tuple[bytes, ...]]) -> None:
        sidecar, code, left = ticket
        self.agent_of(sidecar).asks_on = EMPTY
        sidecar.receive(ProcessExited(code, code < 0, left))

    def crash(self, node: Node, *, power: bool) -> None:
        """A process dies, or its host loses power. An agent's death is seen by its sidecar; a sidecar's takes its agent along, or mostly."""
        if node.config.role == "agent" and not power:
            was_running = node.running
            node.die(power=False)
            if was_running:
                self.reap(node, -9)
            return
        if node.config.role in ("agent", "sidecar"):
            sidecar = node if node.config.role == "sidecar" else self.sidecar_of(node)
            agent = self.agent_of(sidecar)
            sidecar.die(power=power)
            # PDEATHSIG ends the agent, but for the race in which it was not set yet.
            if power or not (agent.undying or self.tape.stream(f"orphans/{node.config.agent}")(4)):
                agent.die(power=power)
            return
        node.die(power=power)
