"""Plays a schedule against real processes: the live driver.

Owns the course of a run (lay out, start, chaos, heal, settle, end, clean up) and what becomes of it when something outside the experiment
breaks: a run whose means failed is `unknown`, whatever its history says. Knows the schedule and an implementation's name; never a checker.
Nothing is left running: not after Ctrl-C, not after an exception, and not after a SIGKILL of the harness itself.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from harness.live import ledger, lever, own_network, refold, residue, small_disks
from harness.live.cell import Cell, Link, plan
from harness.live.fleet import Fleet, FleetFailed
from harness.live.injections import CapabilityMissing, Healing, Stage
from harness.live.ledger import File, Ledger, Opened, Process
from harness.live.nemesis import Nemesis
from harness.live.packet_queue import PacketQueue
from harness.live.paths import PathFailed, Paths
from harness.live.ports import give_back
from harness.live.server import Server, ServerMissing, locate
from harness.live.sight import Sight
from harness.live.toxiproxy import Toxiproxy, ToxiproxyFailed
from harness.shared import implementation as implementations
from harness.shared import trail
from harness.shared.history import Fact, History
from harness.shared.interruption import sigterm_raises
from harness.shared.judge import Judge
from harness.shared.operations import Stopped, topology_fact
from harness.shared.root_keys import RootKeys
from killswitch.core import audit
from killswitch.core.events import Record
from killswitch.core.keys import Ed25519
from killswitch.core.messages import Task
from killswitch.live.process import identify
from killswitch.live.upstream import Desk
from scenarios.faults import FAULTS
from scenarios.schedule import Fault, Schedule
from scenarios.units import SECOND_NS

DRIVER = "live"
LOOK_S = 0.005
WATCH_S = 0.25
FACTS_MAX = 500_000
OVERTIME_S = 30.0

Logs = Mapping[str, tuple[Sequence[Record], Mapping[int, int]]]


class LiveFailure(Exception):
    """The means of the experiment failed, not its subject: the verdict is unknown."""


class Halted(Exception):
    """Somebody has pulled the safety lever: nothing starts until it is released."""


class Unclean(Exception):
    """A run that was cut short, by its cause, could not be cleaned up wholly; ``left`` names what is still there."""

    def __init__(self, left: tuple[str, ...]) -> None:
        super().__init__("; ".join(left))
        self.left = left


class PlayedLive(Struct, kw_only=True):
    """A live run. ``why``: what makes its verdict unknown (empty: nothing). ``left``: what could not be cleaned up (exit code 4).

    ``containment``: how agents' process trees were held, ``cgroup`` or ``session``. ``fired``: {fault id: how often it made a difference}.
    ``logs``: {node: (its records, {lsn: stamp})}, as it left them. ``public``: {name: key} of whoever signs.
    """

    history: History
    ended: str
    why: str
    left: tuple[str, ...]
    fired: dict[str, int]
    wall_ns: int
    containment: str
    directory: Path
    logs: Logs
    public: Mapping[str, bytes]


def play(schedule: Schedule, implementation: str, directory: Path, watch: Callable[[Fact], None] | None = None) -> PlayedLive:
    """Play ``schedule`` under ``directory``, which is made. Takes its duration, the settling time and a few seconds.

    ``implementation``: a name for `harness.shared.implementation.load`. ``watch`` is told of each fact as it is seen, and may raise `Stopped` to end
    the run. Raises `Halted` or `ServerMissing` before a process has started; and after everything has been cleaned up `CapabilityMissing`, where a
    fault cannot be made as this schedule asks for it, `KeyboardInterrupt` or `Terminated`, or `Unclean` from any of these.
    """
    halted = lever.why_halted()
    if halted:
        raise Halted(halted)
    binary = locate()
    implementations.load(implementation)
    directory.mkdir(parents=True, exist_ok=True)
    with sigterm_raises(), network_for(schedule) as network:
        run = LiveRun(schedule, implementation, directory, binary, watch, network)
        try:
            return asyncio.run(run.play())
        except BaseException as cut_short:
            if run.left:
                raise Unclean(run.left) from cut_short
            raise


@contextmanager
def network_for(schedule: Schedule) -> Iterator[int]:
    """A network namespace of the run's own, and its number, if its faults touch packets; else the host's, and 0. Raises `CapabilityMissing`."""
    kinds = [FAULTS[entry.action.what] for entry in schedule.timeline if isinstance(entry.action, Fault)]
    if not any(kind.live is not None and kind.live.mechanism == "packet-queue" for kind in kinds):
        yield 0
        return
    with ExitStack() as stack:
        try:
            network = stack.enter_context(own_network.entered())
        except OSError as error:
            raise CapabilityMissing(f"packet-queue: no network namespace of one's own: {error.strerror}; it takes root") from error
        yield network


class LiveRun:
    """One run, from empty directory to history."""

    def __init__(
        self,
        schedule: Schedule,
        implementation: str,
        directory: Path,
        binary: Path,
        watch: Callable[[Fact], None] | None = None,
        network: int = 0,
    ) -> None:
        """``network``: the namespace of the run's own in which it is made and played, if its faults touch packets."""
        self._schedule = schedule
        self._network = network
        self._packets: PacketQueue | None = None
        self._implementation = implementation
        self._directory = directory
        self._binary = binary
        self._watch = watch
        self._facts: list[Fact] = []
        self._run = secrets.token_hex(8)
        self._cell: Cell = plan(schedule, implementation, directory, self._run, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        self._public = {**next(iter(self._cell.deployments.values())).public, **self._cell.successors}
        replicas = tuple(node for node in self._cell.deployments if node.startswith("replica/"))
        judge = Judge(Ed25519({}, self._public), replicas, schedule.parameters.approvals)
        owner = identify(os.getpid())
        assert owner is not None, "this process lives"
        self._ledger = Ledger(directory / ledger.FILE, Opened(self._run, owner, str(directory.resolve())))
        lever.register(self._run, directory / ledger.FILE)
        self._sight = Sight(self._cell, judge, self._record, self._on_send)
        self._desk = Desk()
        self._nemesis: Nemesis | None = None
        self._wish: Stopped | None = None
        self._ended_ns: int | None = None
        self.left: tuple[str, ...] = ()

    async def play(self) -> PlayedLive:
        """The whole of it. Whatever happens, everything that was started is ended before this returns or raises."""
        why = stopped = ""
        fleet: Fleet | None = None
        server: Server | None = None
        paths: Paths | None = None
        try:
            fleet = Fleet(self._cell, self._implementation, self._directory, self._ledger)
            fleet.lay_out()
            server = Server(self._binary, self._directory / "toxiproxy.log", fleet.environment)
            if (identified := identify(server.pid)) is not None:
                self._ledger.intend(Process("toxiproxy", identified))
            paths = Paths(self._cell, Toxiproxy(server.host, server.port), self._ledger)
            await _unless_halted(self._course(fleet, server, paths))
        except (LiveFailure, FleetFailed, PathFailed, ToxiproxyFailed, ServerMissing, OSError) as failure:
            why = f"{type(failure).__name__}: {failure}"
        except Stopped as wish:
            stopped = str(wish)
            why = stopped if stopped.startswith(lever.PREFIX) else ""  # cut short from outside: whatever it says is not the whole of it
        finally:
            lost = await self._clean_up(fleet, server, paths)
        why = why or lost
        return self._conclude(why or stopped or "complete", why)

    # -- The course ------------------------------------------------------------------------------------------------------------------

    async def _course(self, fleet: Fleet, server: Server, paths: Paths) -> None:
        schedule = self._schedule
        self._ledger.intend(File(str((self._directory / "upstream").resolve())))
        await self._desk.open(self._directory / "upstream")
        if self._network:
            self._packets = PacketQueue(self._run, self._network, self._ledger)
        roots = RootKeys(Ed25519(self._cell.keys, {}), self._cell.successors)
        stage = Stage(schedule.seed, self._directory, self._ledger, self._cell, fleet, paths, self._sight, Healing(), roots, self._packets)
        self._note("run-started", {"scenario": schedule.scenario, "seed": schedule.seed, "driver": DRIVER})
        self._note("topology", topology_fact(schedule))
        self._nemesis = Nemesis(schedule, stage, self._desk, self._note)
        await paths.open()
        await fleet.start_all()
        self._sight.begin()
        await paths.prove()
        watching = asyncio.create_task(_watch_means(fleet, server, self._packets))
        try:
            async with asyncio.timeout((schedule.duration_ns + schedule.settle_ns) / SECOND_NS + OVERTIME_S):
                await self._chaos_and_rest(watching)
        except TimeoutError:
            raise LiveFailure(f"not over {OVERTIME_S} s after its time") from None
        finally:
            self._ended_ns = self._sight.now_ns()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        await _look_at_means(fleet, server, self._packets)  # what died since the last look spoilt the run's end

    async def _chaos_and_rest(self, watching: asyncio.Task[None]) -> None:
        schedule, nemesis = self._schedule, self._nemesis
        assert nemesis is not None
        work = sorted(schedule.work, key=lambda each: each.at_ns, reverse=True)
        healing: asyncio.Task[None] | None = None
        while self._sight.now_ns() < schedule.duration_ns + schedule.settle_ns or (healing is not None and not healing.done()):
            self._sight.look()
            if self._wish is not None:
                raise self._wish
            if healing is None:
                nemesis.poll()
            while work and work[-1].at_ns <= self._sight.now_ns():
                due = work.pop()
                self._desk.submit(f"agent/{due.agent}", Task(due.task, due.sink, due.steps, due.step_ns, due.undo))
                for name in self._sight.answering_to(f"agent/{due.agent}"):
                    told = {"agent": due.agent, "task": due.task, "steps": due.steps, "sink": due.sink, "undo": due.undo}
                    self._sight.note("task-submitted", name, told)
            if healing is None and self._sight.now_ns() >= schedule.duration_ns:
                healing = asyncio.create_task(nemesis.heal())
            if nemesis.failure is not None:
                raise nemesis.failure
            if watching.done():
                watching.result()
            await asyncio.sleep(LOOK_S)
        if healing is not None:
            healing.result()
        if nemesis.failure is not None:
            raise nemesis.failure

    async def _clean_up(self, fleet: Fleet | None, server: Server | None, paths: Paths | None) -> str:
        """In the order in which each still helps the next; the last part does not wait for anybody, so that a second Ctrl-C finds it done.

        Sets ``left``; returns what was to be kept of the run and could not be, in words.
        """
        lost = ""
        try:
            if self._nemesis is not None:
                await self._nemesis.close()
            if self._packets is not None:
                self._packets.close()
            if fleet is not None:
                await fleet.stop_all()
            self._desk.close()
            if paths is not None:
                await paths.close()
        finally:
            if fleet is not None:
                fleet.clean_up()
            if server is not None:
                server.stop()
            for small in self._cell.small.values():
                try:
                    small_disks.copy_out(small)
                except OSError as error:
                    lost = f"what is on {small} could not be kept: {error}"
            self.left = (*self._ledger.undo_all(), *residue.search(self._ledger.story, self._cell.ports))
            self._ledger.close()
            for small in self._cell.small.values():
                small_disks.put_back(small)
            if not self.left:
                give_back(self._cell.ports)
                ledger.mark_closed(self._directory / ledger.FILE)
                lever.unregister(self._run)
        return lost

    # -- What is recorded ------------------------------------------------------------------------------------------------------------

    def _record(self, fact: Fact) -> None:
        """Raises no `Stopped`: it is called from the middle of a look, and what has been read has to be taken in whole."""
        self._facts.append(fact)
        if self._ended_ns is not None:
            return  # the run is over; what the last look still finds is only put in its place
        if self._nemesis is not None:
            self._nemesis.see(fact)
        if len(self._facts) > FACTS_MAX:
            self._wish = Stopped(f"more than {FACTS_MAX} facts")
        elif self._watch is not None and self._wish is None:
            try:
                self._watch(fact)
            except Stopped as wish:
                self._wish = wish

    def _note(self, kind: str, body: dict[str, Any], at_ns: int | None = None) -> None:
        """A fact of the world; before anything runs, all of them are of the instant 0."""
        when_ns = self._sight.now_ns() if at_ns is None else at_ns
        self._record(Fact(when_ns, kind, "world", when_ns, body))

    def _on_send(self, link: Link) -> None:
        if self._nemesis is not None:
            self._nemesis.on_send(link)

    def _conclude(self, ended: str, why: str) -> PlayedLive:
        """What the traces tell after the last process has ended, in one order."""
        ended_ns = self._sight.now_ns() if self._ended_ns is None else self._ended_ns
        self._sight.look()
        facts = [fact for fact in self._facts if fact.at_ns <= ended_ns]
        facts.sort(key=lambda fact: fact.at_ns)  # stable: facts of one step stay in their order
        facts += self._refolded(ended_ns)
        logs = self._logs()
        facts += self._audited(ended_ns, logs)
        facts.append(Fact(ended_ns, "run-ended", "world", ended_ns, {"reason": ended}))
        held = {sight.containment for sight in self._sight.nodes.values() if sight.containment}
        self._sight.close()
        return PlayedLive(
            history=History(facts),
            ended=ended,
            why=why,
            left=self.left,
            fired=dict(self._nemesis.fired) if self._nemesis else {},
            wall_ns=ended_ns,
            containment=" and ".join(sorted(held)),
            directory=self._directory,
            logs=logs,
            public=self._public,
        )

    def _refolded(self, at_ns: int) -> Iterator[Fact]:
        """Replay every process through the core, and fold every log at its end."""
        chosen = implementations.load(self._implementation)
        faults = [entry.action for entry in self._schedule.timeline if isinstance(entry.action, Fault)]
        rotten = {node for fault in faults if fault.what == "bit-flip" for node in fault.targets}
        for node, sight in self._sight.nodes.items():
            deployment = self._cell.deployments[node]
            signer = Ed25519(deployment.private, deployment.public)
            for number, life in enumerate(sight.lives):
                joins = sight.joins_from is not None and number >= sight.joins_from
                config = structs.replace(deployment.config, joins=True) if joins else deployment.config
                machine = chosen.machine(config, signer)
                clock_ns = life[-1].clock_ns
                differs = refold.replay(life, machine)
                if differs:
                    yield Fact(at_ns, "step-raised", node, clock_ns, {"error": differs})
                elif life is sight.lives[-1] and deployment.config.role != "agent":
                    log = None if node in rotten else Path(deployment.directory) / "log.db"  # a bit that no boot has found is still turned
                    body = refold.fold(life, machine, partial(chosen.machine, config, signer), log)
                    if body is not None:
                        yield Fact(at_ns, "log-folded", node, clock_ns, body)

    def _logs(self) -> Logs:
        """What each node wrote, and the stamps that lie beside those of its records which came to the disk."""
        logs = {}
        for node, sight in self._sight.standing().items():
            deployment = self._cell.deployments[node]
            logs[deployment.config.node] = (refold.written(sight.lives[-1]), refold.stamps_on_disk(Path(deployment.directory) / "log.db"))
        return logs

    def _audited(self, at_ns: int, logs: Logs) -> Iterator[Fact]:
        """What the logs that the processes wrote say of each other."""
        judged = {node: logs[node] for node in logs if node.startswith(("replica/", "sidecar/"))}
        heads = trail.cosigned({node: records for node, (records, _) in judged.items()})
        called = {self._cell.deployments[node].config.node: node for node in self._sight.standing()}
        for writer, (records, stamps) in judged.items():
            node = called[writer]
            clock_ns = self._sight.nodes[node].lives[-1][-1].clock_ns
            chain_ok = isinstance(audit.verify(records), int)
            yield Fact(at_ns, "log-verified", node, clock_ns, trail.verified(writer, records, heads, chain_ok=chain_ok))
            kept = [record for record in records if record.seq in stamps]
            yield Fact(at_ns, "log-stamped", node, clock_ns, trail.stamped(node, kept, [stamps[record.seq] for record in kept]))


async def _unless_halted(course: Coroutine[Any, Any, None]) -> None:
    """Go the course; at any point of it, raise `Stopped` when somebody pulls the lever."""
    going, watching = asyncio.create_task(course), asyncio.create_task(_watch_lever())
    try:
        await asyncio.wait((going, watching), return_when=asyncio.FIRST_COMPLETED)
        if going.done():
            going.result()
        else:
            watching.result()
    finally:
        for task in (going, watching):
            task.cancel()
        await asyncio.gather(going, watching, return_exceptions=True)


async def _watch_lever() -> None:
    while not (halted := lever.why_halted()):  # noqa: ASYNC110  # a file sets no Event
        await asyncio.sleep(WATCH_S)
    raise Stopped(halted)


async def _watch_means(fleet: Fleet, server: Server, packets: PacketQueue | None) -> None:
    """Raise `LiveFailure` as soon as something died that no fault killed."""
    while True:
        await _look_at_means(fleet, server, packets)
        await asyncio.sleep(WATCH_S)


async def _look_at_means(fleet: Fleet, server: Server, packets: PacketQueue | None) -> None:
    dead = await asyncio.to_thread(server.why_dead) or fleet.why_ended() or (packets.failure if packets is not None else "")
    if dead:
        raise LiveFailure(dead)
