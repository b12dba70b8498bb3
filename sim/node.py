"""A process on a host: one state machine, driven by the contract of `killswitch.core.events`.

Owns what a driver owes the core: records in order, sends that wait for durability, timers late but never early, Boot first. Owns what can
happen to a process: crash, power loss, pause. Must not know what the machine's messages mean; the sidecar's hold over its agent's process
is the one thing that goes from node to node without the network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from sys import intern
from typing import Any, Protocol

from harness.shared.observe import Observer
from killswitch.core import audit, hlc
from killswitch.core.events import (
    AcknowledgeTask, Append, Boot, Durable, Effect, Exit, Input, Observe, Send, SetTimer, Signal, Spawn,
    Timer, WriteCheckpoint,
)  # fmt: skip
from killswitch.core.machine import Machine, NodeConfig
from killswitch.core.messages import Message, Token
from scenarios.schedule import Schedule
from sim import processes
from sim.clock import Clock, WallClock
from sim.disk import EMPTY, NOTHING, Disk, without
from sim.lanes import Intake
from sim.network import Link
from sim.queue import Queue
from sim.tape import BITS, Tape
from sim.trace import PIECE, Trace

INBOX_MAX = 20_000
BOOT_OFFSET_MAX_NS = 50_000_000
TIMER_LAG_NS = 500_000
PIPE_NS = 20_000


class Tasks(Protocol):
    """Where an agent's tasks come from."""

    def hand_over_again(self, node: Node) -> None: ...

    def acknowledge(self, task: str) -> None: ...


class Surroundings(Protocol):
    """What a node needs of the world that it stands in."""

    schedule: Schedule
    queue: Queue
    tape: Tape
    trace: Trace

    @property
    def upstream(self) -> Tasks: ...

    def make_machine(self, config: NodeConfig) -> Machine: ...

    def send(self, source: str, target: str, message: Message) -> None: ...

    def fact(self, kind: str, node: Node | None, body: dict[str, Any]) -> None: ...

    def agent_of(self, sidecar: Node) -> Node: ...

    def agent_exits(self, agent: Node, code: int) -> None: ...

    def reap(self, agent: Node, code: int) -> None: ...


class Node:
    """``machine`` is None while no process runs. ``boot`` counts boots of the host, ``start`` starts of the process.

    ``id`` is what the history calls it, ``address`` where the network finds it, ``config.node`` who it is to others: one name, but for a copy.
    """

    __slots__ = (
        "_at_work", "_durable", "_held", "_in_step", "_in_turn", "_lag", "_mark", "_queue", "_timer_count", "_timers", "address", "asks_on", "boot",
        "clock", "config", "died_ns", "disk", "gone", "id", "inbox", "intake", "kill_pending", "lingers_ns", "machine", "mate", "observer",
        "pause_in_step", "paused_by", "pipe", "slow_ns", "stamp", "stamps", "start", "timers_late_ns", "token", "tripwire", "undying", "unfinished",
        "wall", "world",
    )  # fmt: skip

    def __init__(self, world: Surroundings, config: NodeConfig, clock: Clock, observer: Observer, wall: tuple[tuple[int, int], ...] = ()) -> None:
        self.world = world
        self.config = config
        self.id = self.address = observer.node
        self._mark = self.id.removeprefix(config.node)  # sets the boots and starts of a copy apart
        self.mate: Node | None = None  # whom it shares its host with
        self.pipe: Link | None = None  # and speaks to through this
        self.gone = False  # with its host, for good
        self._queue = world.queue
        self.clock = clock
        self.observer = observer
        self.disk = Disk(self.id, world.queue, world.tape, world.schedule.disk, self.take)
        self.machine: Machine | None = None
        self.boot = 1
        self.start = 0
        self.died_ns: int | None = None  # when a process of it last ended
        self.token: Token | None = None
        self.intake: Intake | None = None  # while it can take in only so much
        self.paused_by = NOTHING
        self.pause_in_step = ""
        self.tripwire: Callable[[list[Effect]], bool] | None = None  # whether a step with these effects kills the process before any leaves it
        self._in_step = False
        self.undying = NOTHING  # faults that keep its process in a state in which no kill takes it
        self.kill_pending: Callable[[], None] | None = None
        self.timers_late_ns: Mapping[str, int] = EMPTY  # fault -> added to every timer
        self.lingers_ns = 0  # how long its children outlive it
        self.asks_on: Mapping[str, Message] = EMPTY  # fault -> what its children go on asking for
        self.inbox: list[tuple[Callable[[Any], None], Any]] = []  # lists: an empty deque is ten times as large, and most nodes never stand still
        self.slow_ns: Mapping[str, int] = EMPTY  # fault -> how long each input takes because of it
        self._at_work = self._in_turn = False  # a slow process: on what is next in the inbox, and whether that has had its time
        self.unfinished: tuple[Effect, ...] = ()
        self._timers: dict[str, tuple[int, int]] = {}
        self._timer_count = 0
        self._held: tuple[tuple[int, Effect], ...] = ()  # what waits for the log: a few, if anything
        self.stamp = 0  # the hybrid logical clock: of the last record, or heard of since
        self.stamps: list[int] = []  # of each record in its order, beside the log and not part of it
        self.wall = WallClock(wall)  # stamps alone read it
        self._durable = 0
        self._lag = world.tape.light("timer.lag", self.id)

    @property
    def running(self) -> bool:
        return self.machine is not None

    def stands_still(self) -> bool:
        return bool(self.paused_by)

    def choose(self, ways: int) -> int:
        """A draw of what befalls the process; most nodes never need the stream."""
        return self.world.tape.stream(f"process/{self.id}")(ways)

    # -- the life of the process

    def boot_up(self) -> None:
        """Start the process with what survived. Does nothing if one runs, or if the host is gone."""
        if self.machine is not None or self.gone:
            return
        self.start += 1
        try:
            machine: Machine | Any = self.world.make_machine(self.config)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever it is, a node that cannot start is the finding (S27)
            self._raised("machine()", error)
            return
        if machine is None:  # a stranger's implementation promises by its types only what it has been checked for
            self._raised("machine()", TypeError("it made none"))
            return
        self.machine = machine
        records, truncated = self.disk.recover()
        self._durable = self.disk.durable
        del self.stamps[len(records) :]  # of what was lost
        self.stamp = self.stamps[-1] if self.stamps else 0
        token = self.token if self.config.role == "agent" else None
        instance = f"{self.boot}.{self.start}{self._mark}"
        self.take(Boot(records, self._boot_name(), instance, truncated, self.disk.checkpoints(), token))

    def _boot_name(self) -> str:
        return intern(f"boot-{self.boot}{self._mark}")

    def die(self, *, power: bool) -> None:
        """The process ends at once; with ``power`` so does everything on the host that was not synced."""
        lost = 0
        if power:
            self._fold_log()
            lost = self.disk.power_lost()
            self.boot += 1
            self.undying = NOTHING
            self.kill_pending = None
            self.clock.restart(self.world.queue.now, self.choose(BOOT_OFFSET_MAX_NS))
        elif self.machine is not None:
            self._fold_log()
            self.disk.process_died()
        if self.machine is None:
            return
        self.machine = None
        self.died_ns = self.world.queue.now
        self.observer.died()
        if self.intake is not None:
            self.intake.forget()
        self.paused_by = NOTHING
        self.pause_in_step = ""
        self._at_work = False
        self.inbox.clear()
        self.unfinished = ()
        self._timers.clear()
        self._held = ()
        self.world.fact("node-crashed", self, {"lost_records": lost, "power": power})

    def pause(self, by: str) -> None:
        """Stand still until ``by`` is over; by several at once, until all are. Nothing if no process runs."""
        if self.machine is None:
            return
        if not self.paused_by:
            self.world.fact("node-paused", self, {})
        self.paused_by |= {by}

    def pause_soon(self, by: str) -> None:
        """Stand still in the middle of the next step that has effects: after it decided, before anything leaves."""
        self.pause_in_step = by

    def resume(self, by: str) -> None:
        """``by`` is over, if it still was."""
        if self.pause_in_step == by:
            self.pause_in_step = ""
        if by in self.paused_by:
            self.paused_by -= {by}
            if not self.paused_by:
                self._go_on()

    def continue_(self) -> None:
        """SIGCONT: whatever stopped it, it goes on; but for a process that hangs in the kernel, which hears nothing."""
        if self.paused_by:
            self.paused_by &= self.undying
            if not self.paused_by:
                self._go_on()

    def _go_on(self) -> None:
        """Where the process stood: first what the interrupted step still had to do, then all that has arrived."""
        self.world.fact("node-resumed", self, {})
        self._release()
        while self.unfinished and not self.paused_by:
            effect, *rest = self.unfinished
            self.unfinished = tuple(rest)
            self._carry_out(effect)
        self._catch_up()

    def _catch_up(self) -> None:
        """Take what has arrived meanwhile: all of it now, or one by one if the process is slow."""
        while self.inbox and not self.paused_by and not self.slow_ns and self.machine is not None:
            act, argument = self.inbox.pop(0)
            act(argument)
        self._work()

    def slow_down(self, by: str, each_ns: int) -> None:
        """From now on every input takes ``each_ns`` longer, and those that come meanwhile wait."""
        self.slow_ns = {**self.slow_ns, by: each_ns}

    def speed_up(self, by: str) -> None:
        """``by`` slows it down no longer."""
        self.slow_ns = without(self.slow_ns, by)
        if not self.slow_ns:
            self._catch_up()

    def _work(self) -> None:
        if self.slow_ns and self.inbox and not self._at_work and not self.paused_by:
            self._at_work = True
            self.world.queue.at(self.world.queue.now + sum(self.slow_ns.values()), self._worked, self.start)

    def _worked(self, start: int) -> None:
        """What is next has had its time: it happens now, by what the clock shows now."""
        if start != self.start or not self._at_work:
            return
        self._at_work = False
        if self.inbox and not self.paused_by:
            act, argument = self.inbox.pop(0)
            self._in_turn = True
            act(argument)
            self._in_turn = False
        self._work()

    def _waits(self, act: Callable[[Any], None], argument: Any) -> bool:
        """Whether something has to wait, in a process that stands still or is slow; it is next in the inbox then. Boot is first, always."""
        if type(argument) is Boot or (self._in_turn and not self.paused_by):
            return False
        self.inbox.append((act, argument))
        self._work()
        return True

    # -- inputs

    def take(self, event: Input) -> None:
        """One step of the machine: its facts, then its effects, in order."""
        machine = self.machine
        if machine is None:
            return
        if (self.paused_by or self.slow_ns) and self._waits(self.take, event):
            return
        if type(event) is Durable:
            self._durable = max(self._durable, event.lsn)
        now = self._queue.now
        clock_ns = self.clock.read(now)
        try:
            effects = machine.step(event, clock_ns)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever it is, that a step raises is the finding (S27)
            self._raised(type(event).__name__, error)
            self.die(power=False)  # nobody knows what state it is in
            return
        if type(effects) is not list or (effects and not _KINDS.issuperset(map(type, effects))):
            self._raised(type(event).__name__, TypeError(f"no list of effects, but {str(effects)[:100]}"))
            self.die(power=False)
            return
        trace = self.world.trace
        trace.append((now, self.id, event))
        if len(trace) == PIECE:
            trace.fold()
        if self.tripwire is not None and self._trips(effects):
            return
        self._in_step = True  # a fact may bring on a fault that kills the process before it has done what it decided
        self.observer.step(now, clock_ns, event, effects)
        self._in_step = False
        if self.pause_in_step and effects:
            self.pause(self.pause_in_step)
            self.pause_in_step = ""
        if type(event) is Durable and self._held and not self.paused_by:
            self._release()  # what waited for the log was asked for before what this step asks for
        for effect in effects:
            if self.paused_by:
                self.unfinished += (effect,)
            elif self.machine is machine:
                self._carry_out(effect)

    def _trips(self, effects: list[Effect]) -> bool:
        """Whether the step killed the process. Nothing of it got out, so there is no state to hold against the log (S15)."""
        self._in_step = True
        try:
            return self.tripwire is not None and self.tripwire(effects)
        finally:
            self._in_step = False

    def _raised(self, on: str, error: BaseException) -> None:
        self.world.fact("step-raised", self, {"error": f"{type(error).__name__}: {error} (on {on})"})

    def receive(self, event: Input) -> None:
        """An input from outside: lost if no process runs to take it, or if it has not read for too long."""
        if self.machine is not None and len(self.inbox) < INBOX_MAX:
            self.take(event)

    # -- effects

    def _carry_out(self, effect: Effect) -> None:
        act = _EFFECTS.get(type(effect))
        if act is not None:  # else an `Observe`: the observer has taken it
            act(self, effect)

    def _send(self, effect: Send) -> None:
        if effect.after_lsn > self._durable:
            self._held += ((effect.after_lsn, effect),)
        else:
            self.world.send(self.address, effect.to, effect.message)

    def _append(self, effect: Append) -> None:
        self.stamp = hlc.tick(self.stamp, self.wall.read_ms(self._queue.now))
        self.stamps.append(self.stamp)
        self.disk.append(effect.record)

    def hear(self, stamp: int) -> None:
        """A message brought its sender's stamp."""
        self.stamp = hlc.merge(self.stamp, stamp, self.wall.read_ms(self._queue.now))

    def _write_checkpoint(self, effect: WriteCheckpoint) -> None:
        self.disk.write_checkpoint(effect)

    def _acknowledge(self, effect: AcknowledgeTask) -> None:
        if effect.after_lsn > self._durable:
            self._held += ((effect.after_lsn, effect),)
        else:
            self.world.upstream.acknowledge(effect.task)

    def _exit(self, effect: Exit) -> None:
        if effect.after_lsn > self._durable:
            self._held += ((effect.after_lsn, effect),)
        else:
            self.world.agent_exits(self, effect.code)

    def _release(self) -> None:
        """What waited for the log may go now, in the order in which it was asked for."""
        machine = self.machine
        due = [effect for lsn, effect in self._held if lsn <= self._durable]
        self._held = tuple(entry for entry in self._held if entry[0] > self._durable)
        for effect in due:
            if self.machine is machine:  # an exit may be among them
                self._carry_out(effect)

    # -- timers

    def _set_timer(self, effect: SetTimer) -> None:
        self._timer_count += 1
        if effect.at_ns is None:
            self._timers.pop(effect.name, None)
            return
        self._timers[effect.name] = (self._timer_count, effect.at_ns)
        self._schedule_timer(effect.name, self._timer_count, effect.at_ns)

    def _schedule_timer(self, name: str, number: int, at_ns: int) -> None:
        at = self.clock.when(at_ns, self._queue.now) + (self._lag.draw() * TIMER_LAG_NS >> BITS)
        if self.timers_late_ns:
            at += sum(self.timers_late_ns.values())
        self._queue.at(at, self._timer_due, (name, number, self.start))

    def clock_changed(self) -> None:
        """The clock jumped, or runs at another rate: every timer is due at another time."""
        for name, (number, at_ns) in list(self._timers.items()):
            self._schedule_timer(name, number, at_ns)

    def _timer_due(self, ticket: tuple[str, int, int]) -> None:
        name, number, start = ticket
        entry = self._timers.get(name)
        if entry is None or entry[0] != number or start != self.start:
            return
        if (self.paused_by or self.slow_ns) and self._waits(self._timer_due, ticket):
            return  # what comes before it may still cancel it
        if self.clock.read(self._queue.now) < entry[1]:
            self._schedule_timer(name, number, entry[1])  # the clock has slowed down meanwhile; never early
            return
        del self._timers[name]
        self.take(Timer(name))

    # -- what the log says (S15)

    def _fold_log(self, chain_ok: bool | None = None) -> None:
        """Fold the records written so far into a fresh machine and put its digest beside the live one's. ``chain_ok``: if that is known already."""
        machine = self.machine
        records = [*self.disk.records, *self.disk.refused]  # what waits for room is part of the log that the process goes by
        if machine is None or self._in_step or self.unfinished or not records or self.disk.broken:
            return  # in the middle of a step the machine is ahead of what it has written
        try:
            live = machine.digest()
            fresh = self.world.make_machine(self.config)
            fresh.step(Boot(tuple(records), self._boot_name(), "fold", 0, self.disk.checkpoints()), self.clock.read(self.world.queue.now))
            folded = fresh.digest()
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a log that cannot be folded is a finding, too (S27)
            self._raised("the fold of its log", error)
            return
        if chain_ok is None:
            chain_ok = isinstance(audit.verify(records), int)
        body = {"records": len(records), "live": live, "folded": folded, "chain_ok": chain_ok}
        self.world.fact("log-folded", self, body)

    def finish(self) -> bool:
        """The run is over. Whether the log that is left verifies."""
        chain_ok = isinstance(audit.verify(self.disk.records), int)
        self._fold_log(chain_ok)
        return chain_ok


_EFFECTS: dict[type, Callable[[Node, Any], None]] = {
    Send: Node._send,
    Append: Node._append,
    SetTimer: Node._set_timer,
    Spawn: processes.spawn,
    Signal: processes.signal,
    WriteCheckpoint: Node._write_checkpoint,
    AcknowledgeTask: Node._acknowledge,
    Exit: Node._exit,
}
_KINDS = frozenset((*_EFFECTS, Observe))
