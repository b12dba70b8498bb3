"""The world of one run: its time, its nodes, the network between them, upstream's tasks, and everything that is recorded.

Owns how the parts are put together and how facts are recorded. Knows the schedule's topology, not its timeline (``nemesis``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from harness.doubles import COPY, watching
from harness.history import Fact
from harness.judge import Judge
from harness.observe import Observer
from killswitch.core.events import ProcessExited, Receive, Submit
from killswitch.core.keys import KeyedHash
from killswitch.core.machine import Implementation, Machine, NodeConfig
from killswitch.core.messages import Message, Task
from scenarios.deploy import OPERATOR, configurations
from scenarios.faults.keys import PEOPLE
from scenarios.schedule import ClockSpec, Schedule, Work
from sim.clock import Clock
from sim.network import Network
from sim.node import BOOT_OFFSET_MAX_NS, PIPE_NS, SPAWN_NS, Node
from sim.queue import TIE_BITS, Act, Lane, Queue, TooMuch
from sim.tape import Tape

FACTS_MAX = 500_000
BOOTTIME = "CLOCK_BOOTTIME"  # what an implementation runs on, unless it says otherwise


class Upstream:
    """Where tasks come from. It hands a task over again to each new process of its agent until the task is acknowledged."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._open: dict[str, dict[str, Task]] = {}  # agent -> its tasks by name
        self._given: dict[str, str] = {}  # task -> agent

    def submit(self, work: Work) -> None:
        task = Task(work.task, work.sink, work.steps, work.step_ns, work.undo)
        self._open.setdefault(work.agent, {})[work.task] = task
        self._given[work.task] = work.agent
        for node in self._world.answering_to(f"agent/{work.agent}"):
            self._world.fact("task-submitted", node, {"agent": work.agent, "task": work.task, "steps": work.steps, "sink": work.sink})
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
            node.receive(Submit(task))

    def acknowledge(self, task: str) -> None:
        self._open.get(self._given.get(task, ""), {}).pop(task, None)


def _share_host(sidecar: Node, agent: Node) -> None:
    sidecar.mate, agent.mate = agent, sidecar


def _mate_of(node: Node) -> Node:
    if node.mate is None:
        raise ValueError(f"{node.id} has its host to itself")
    return node.mate


class World:
    """``facts`` and ``trace`` grow as the run goes on; ``watchers`` are told of each fact as it is recorded, ``listeners`` of each
    of the kind under which they are listed.
    """

    def __init__(self, schedule: Schedule, implementation: Implementation) -> None:
        self.schedule = schedule
        self._implementation = implementation
        self.runs_on_monotonic = getattr(implementation, "clock", BOOTTIME) != BOOTTIME
        self.tape = Tape(schedule.tape)
        self.queue = Queue(self.tape.bits("ties", TIE_BITS))
        if (told := getattr(implementation, "show_wall_clocks", None)) is not None:
            told(lambda node: self.nodes[node].wall.read_ms(self.queue.now))
        self.facts: list[Fact] = []
        self.trace: list[tuple[int, str, Any]] = []
        self.watchers: list[Callable[[Fact], None]] = []
        self.listeners: dict[str, list[Callable[[Fact], None]]] = {}
        self.fault_counts: dict[str, int] = {}
        self.secret = f"haltproof/{schedule.tape.seed}".encode()
        self.network = Network(self.queue, self.tape, schedule.link, self._deliver, self.fault_fired)
        self._pipes: defaultdict[tuple[str, str], Lane] = defaultdict(Lane)
        self.arrivals: set[tuple[str, int, bytes]] = set()  # (sidecar, start, order) that were put on record
        self.before_delivery: Callable[[str, str, Message], int] | None = None
        self.before_pipe: Callable[[str, str, Message], bool] | None = None
        self.upstream = Upstream(self)
        self.nodes: dict[str, Node] = {}  # by address
        self.doubles: dict[str, str] = {}  # of whom there are two: name -> the address of the copy
        self._cloned = False
        self._moved: dict[str, Node] = {}  # an address that was given up -> who was there
        self._heard: dict[tuple[str, str], str] = {}  # (a node, one of whom there are two) -> the address of the one that spoke last
        self._stamps: dict[int, int] = {}  # a message in memory is its own envelope: the sender's stamp goes beside it
        judge = Judge(KeyedHash(self.secret), tuple(f"replica/{n}" for n in range(1, schedule.topology.replicas + 1)), schedule.parameters.approvals)
        for config in configurations(schedule).values():
            self._add(config, judge)

    def _add(self, config: NodeConfig, judge: Judge) -> None:
        spec = self.schedule.clocks.get(config.node, ClockSpec())
        observer = Observer(config.node, config.agent, judge, self.record)
        node = self.nodes[config.node] = Node(self, config, Clock(0, spec.offset_ns, spec.drift_ppm), observer, spec.wall)
        if config.role == "agent":
            _share_host(self.nodes[f"sidecar/{config.agent}"], node)

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
        if self.doubles:
            target = self._whereabouts(source, target)
        sender, receiver = self.nodes.get(source), self.nodes.get(target)
        if sender is None or receiver is None:
            return
        self._stamps[id(message)] = sender.stamp
        if sender.mate is receiver:  # as `on_one_host` says
            self.queue.follow(self._pipes[source, target], PIPE_NS, Act.of(self._pipe, (source, target, message)))
        else:
            self.network.send(source, target, message)

    def stands_for(self, message: Message, original: Message) -> None:
        """A message was read from bytes: it brings the stamp of the one that was written."""
        self._stamps[id(message)] = self._stamps.get(id(original), 0)

    def on_one_host(self, source: str, target: str) -> bool:
        """A sidecar and its agent speak through a pipe that no network fault touches, and that keeps order."""
        return self.nodes[source].mate is self.nodes[target]

    def hand_over(self, journey: tuple[str, str, Message]) -> None:
        """A message has come to its node, whatever way it took."""
        self._pipe(journey)

    def _pipe(self, journey: tuple[str, str, Message]) -> None:
        source, target, message = journey
        node = self.nodes.get(target) or self._moved.get(target)
        if node is None or (self.before_pipe is not None and not self.before_pipe(source, target, message)):
            return
        stamp = self._stamps.get(id(message), 0)
        if stamp > node.stamp:
            node.hear(stamp)
        node.receive(Receive(self._name_of(source) if self._cloned else source, message))

    def _deliver(self, source: str, target: str, message: Message) -> None:
        if self._cloned:
            if target not in self.nodes:
                return
            self._heard[target, self._name_of(source)] = source
        copies = 1 if self.before_delivery is None else self.before_delivery(source, target, message)
        node = self.nodes[target]
        if node.intake is not None:
            for _ in range(copies):
                node.intake.put(message, source, (source, target, message))
            return
        stamp = self._stamps.get(id(message), 0)
        if stamp > node.stamp:
            node.hear(stamp)
        name = self._name_of(source) if self._cloned else source
        for _ in range(copies):
            node.receive(Receive(name, message))

    # -- hosts

    def agent_of(self, sidecar: Node) -> Node:
        return _mate_of(sidecar)

    def sidecar_of(self, agent: Node) -> Node:
        return _mate_of(agent)

    def answering_to(self, name: str) -> list[Node]:
        """Whoever goes by that name: one, or two while a copy of its host runs beside it."""
        return [self.nodes[address] for address in (name, self.doubles.get(name)) if address in self.nodes]

    def clone(self, sidecar: Node) -> bool:
        """Start a copy of a sidecar's host beside it, as another host that boots from a snapshot of its disk; whether that was done.

        The copy has the identity, the log and the checkpoints, and links of its own. One host in a run: a history tells apart two, and no more.
        """
        if self._cloned or sidecar.gone:
            return False
        self._cloned = True
        clock = Clock(self.queue.now, self.tape.stream("clone")(BOOT_OFFSET_MAX_NS), self._clock_of(sidecar).drift_ppm)
        twins = [each.copy(clock, watching(f"{each.id}{COPY}", each.observer)) for each in (sidecar, self.agent_of(sidecar))]
        _share_host(*twins)
        for twin in twins:
            self.nodes[twin.address] = twin
            self.doubles[twin.config.node] = twin.address
        self.fact("node-cloned", sidecar, {"copy": twins[0].id, "records": len(twins[0].disk.records)})
        self.queue.at(self.queue.now + SPAWN_NS, Node.boot_up, twins[0])
        return True

    def end_double(self, name: str, *, keep_copy: bool) -> None:
        """One of two hosts is ended for good. Whoever is left has the name, and its address, to itself. Nothing if there are not two."""
        if name not in self.doubles:
            return
        original, twin = self.nodes[name], self.nodes[self.doubles[name]]
        ended, left = (original, twin) if keep_copy else (twin, original)
        self.doubles.clear()
        for node in (ended, self.agent_of(ended)):
            node.die(power=True)
            node.gone = True
            del self.nodes[node.address]
        for node in (left, self.agent_of(left)):
            self._moved[node.address] = self.nodes.pop(node.address)  # what is in the pipe between them gets there
            node.address = node.config.node
            self.nodes[node.address] = node
        self.fact("clone-ended", ended, {"survivor": left.id})

    def _clock_of(self, node: Node) -> ClockSpec:
        return self.schedule.clocks.get(node.config.node, ClockSpec())

    def _name_of(self, address: str) -> str:
        """Who somebody is who speaks from there: a copy has the identity of what it was copied from."""
        return address.removesuffix(COPY)

    def _whereabouts(self, source: str, target: str) -> str:
        """Where a message to a name goes while two hosts have it: within a host to its own, and from elsewhere to the one that was heard last, as
        an answer goes back the way that the question came. So both are answered, which asks more of the core than a transport that knows one
        connection a peer.
        """
        if target not in self.doubles:
            return target
        if self.on_one_host(self._name_of(source), target):
            return self.doubles[target] if source.endswith(COPY) else target
        return self._heard.get((source, target), target)

    def agent_exits(self, agent: Node, code: int) -> None:
        agent.die(power=False)
        self.reap(agent, code)

    def reap(self, agent: Node, code: int) -> None:
        """Tell the sidecar that its agent is gone, once its children are and everything that it still wrote has been read."""
        linger_ns = agent.lingers_ns if agent.asks_on else 0
        self.queue.at(self.queue.now + 2 * PIPE_NS + linger_ns, self._reaped, (self.sidecar_of(agent), code, agent.disk.checkpoints()))

    def _reaped(self, ticket: tuple[Node, int, tuple[bytes, ...]]) -> None:
        sidecar, code, left = ticket
        self.agent_of(sidecar).asks_on.clear()
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
