"""A stage for one node: everything of the world that a node asks for, and a machine that follows a script.

Owns what the node did, in order, as (time, what, ...). Knows no protocol: the script says what each input brings about.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from harness.shared.judge import Judge
from harness.shared.observe import Observer
from killswitch.core.audit import Chain
from killswitch.core.events import Append, Boot, Effect, Input
from killswitch.core.keys import KeyedHash
from killswitch.core.machine import Machine, NodeConfig, Parameters
from killswitch.core.messages import Message, StopAck
from scenarios.schedule import DiskSpec, Schedule
from scenarios.schedule import Tape as TapeSpec
from sim.clock import Clock
from sim.node import Node
from sim.queue import TIE_BITS, Queue
from sim.tape import Tape
from sim.trace import Trace
from tests.live.schedules import short

MS = 1_000_000
SYNC_NS = 10 * MS
ASK = StopAck(1, ())
BENIGN = ("disk.sync/sidecar/acme/1", "timer.lag/sidecar/acme/1", "process/sidecar/acme/1")

Step = Callable[[Input, int], list[Effect]]


class Actor:
    """A machine that does what the stage's script says, and leaves every input on the stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def step(self, event: Input, now_ns: int) -> list[Effect]:
        if isinstance(event, Boot) and event.instance == "fold":  # the world's own look at the log, not a start
            return []
        self._stage.inputs.append((self._stage.queue.now, event))
        return self._stage.script(event, now_ns)

    def digest(self) -> str:
        return ""


class Upstream:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def hand_over_again(self, node: Node) -> None:
        self._stage.did.append((self._stage.queue.now, "hand-over", node.id))

    def acknowledge(self, task: str) -> None:
        self._stage.did.append((self._stage.queue.now, "acknowledge", task))


class Stage:
    """``did``: what left the nodes; ``inputs``: what their machines took; ``facts``: kinds of facts. ``agent`` stands beside ``node``, a sidecar."""

    def __init__(self, *, tape: TapeSpec | None = None, drift_ppm: int = 0) -> None:
        self.schedule: Schedule = replace(short(), disk=DiskSpec(sync_ns=SYNC_NS, jitter_ns=0))
        self.tape = Tape(tape or TapeSpec(seed="7", benign=BENIGN))
        self.queue = Queue(self.tape.bits("ties", TIE_BITS))
        self.trace = Trace(keep=True)
        self.did: list[tuple[Any, ...]] = []
        self.inputs: list[tuple[int, Input]] = []
        self.facts: list[tuple[int, str, dict[str, Any]]] = []
        self.script: Step = lambda event, now_ns: []
        self._upstream = Upstream(self)
        self.chain = Chain("boot-1")
        self.node = self._node("sidecar/acme/1", "sidecar", drift_ppm)
        self.agent = self._node("agent/acme/1", "agent", 0)

    def _node(self, name: str, role: str, drift_ppm: int) -> Node:
        config = NodeConfig(node=name, role=role, parameters=Parameters(), replicas=(), kill_quorum=2, quorum=2, agent="acme/1", tenant="acme")
        judge = Judge(KeyedHash(b"secret"), (), 2)
        return Node(self, config, Clock(0, 0, drift_ppm), Observer(name, "acme/1", judge, lambda fact: None))

    @property
    def upstream(self) -> Upstream:
        return self._upstream

    # -- what a script says

    def follow(self, **answers: Any) -> None:
        """``answers``: {name of an input: the effects it brings about, or a function that makes them}."""

        def script(event: Input, now_ns: int) -> list[Effect]:
            answer = answers.get(type(event).__name__, [])
            effects: list[Effect] = answer(event) if callable(answer) else answer
            return effects

        self.script = script

    def append(self) -> Append:
        """The next record of the log."""
        return self.chain.append("NOTE", {}, 0)

    # -- what a node asks of its world

    def make_machine(self, config: NodeConfig) -> Machine:
        return Actor(self)

    def send(self, source: str, target: str, message: Message) -> None:
        self.did.append((self.queue.now, "send", target))

    def fact(self, kind: str, node: Node | None, body: dict[str, Any]) -> None:
        self.facts.append((self.queue.now, kind, body))

    def agent_of(self, sidecar: Node) -> Node:
        return self.agent

    def agent_exits(self, agent: Node, code: int) -> None:
        self.did.append((self.queue.now, "exit", code))
        agent.die(power=False)

    def reap(self, agent: Node, code: int) -> None:
        self.did.append((self.queue.now, "reap", code))

    def play(self, until: int) -> list[tuple[Any, ...]]:
        """Everything that left, so far."""
        self.queue.play(until)
        return self.did

    def sends(self) -> list[tuple[int, str]]:
        """When something was sent, and to whom."""
        return [(at, what[0]) for at, kind, *what in self.did if kind == "send"]

    def taken(self, kind: type) -> list[int]:
        """When the machines took inputs of a kind."""
        return [at for at, event in self.inputs if isinstance(event, kind)]
