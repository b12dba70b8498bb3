"""The shell around one state machine: it keeps the driver's side of the contract in `killswitch.core.events`, and nothing else.

Owns the order of things: `Boot` first; one input at a time, its effects carried out before the next; `Durable` only after a commit that
returned; what waits for an lsn waits; timers late, never early, never once replaced. Must not know any role: what a message or
a record means is the machine's.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from msgspec import Struct

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
    Timer,
    WriteCheckpoint,
)
from killswitch.core.keysets import KEYSET
from killswitch.core.machine import Machine
from killswitch.core.messages import Message, Token
from killswitch.live.checkpoint import Checkpoints
from killswitch.live.clock import Clock
from killswitch.live.inbox import Inbox
from killswitch.live.log import LogFailed, NoRoom, SqliteLog
from killswitch.live.stamps import Stamps
from killswitch.live.trace import Raised, Released, Step, TraceWriter, Untraced, monotonic_ns

EXIT_BUG = 70
EXIT_DISK = 74
NAP_S = 0.25  # the longest sleep between looks at the node's clock: a host that slept must not oversleep a deadline


class Surroundings(Protocol):
    """What a host needs beside log, clock and trace; a role that lacks one of these never asks for it."""

    def send(self, to: str, message: Message) -> None: ...
    def spawn(self, token: Token, on_gone: Callable[[int], None]) -> None: ...
    def proceed(self) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    def reap_orphans(self) -> bool: ...
    def checkpoints_left(self) -> tuple[bytes, ...]: ...
    def acknowledge(self, task: str, outcome: str) -> None: ...
    def keyset_turned(self) -> None: ...


class _Due(Struct, frozen=True):
    """A timer ran out; stale if the name was set again meanwhile."""

    name: str
    generation: int


class Host:
    """Runs ``machine`` until it exits. ``checkpoints`` only for agents. ``before`` is awaited with each input: whether it is taken.
    ``stamps``: a stamp is put beside each record."""

    def __init__(
        self,
        machine: Machine,
        log: SqliteLog,
        clock: Clock,
        trace: TraceWriter | Untraced,
        around: Surroundings,
        checkpoints: Checkpoints | None = None,
        before: Callable[[Input], Awaitable[bool]] | None = None,
        stamps: Stamps | None = None,
    ) -> None:
        self._machine = machine
        self._log = log
        self._clock = clock
        self._trace = trace
        self._around = around
        self._checkpoints = checkpoints
        self._before = before
        self._stamps = stamps or Stamps()
        self._inbox: Inbox[Input | _Due] = Inbox()
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="disk")
        self._unsynced: list[tuple[Record, int]] = []
        self._syncing: asyncio.Task[None] | None = None
        self._is_full = False  # the disk, and the machine has been told
        self._more = asyncio.Event()  # a record came, while others wait for room
        self._durable = 0
        self._waiting: list[Send | AcknowledgeTask | Exit] = []
        self._timers: dict[str, tuple[int, int, asyncio.TimerHandle]] = {}
        self._timer_generation = 0
        self._background: set[asyncio.Task[None]] = set()
        self.exit_code: int | None = None

    async def run(self, boot: Boot) -> int:
        """Play ``boot`` and then whatever comes; the exit code. ``boot.records`` must be what `SqliteLog.load` gave."""
        self._durable = len(boot.records)
        self._step(boot)
        try:
            while self.exit_code is None:
                event = await self._inbox.take()
                if isinstance(event, _Due):
                    if self._timers.get(event.name, (0,))[0] != event.generation:
                        continue
                    del self._timers[event.name]
                    event = Timer(event.name)
                if self._before is None or await self._before(event):
                    self._step(event)
                await asyncio.sleep(0)  # an inbox that is never empty must not keep sockets and timers waiting
        finally:
            self._quit()
        return self.exit_code

    async def receive(self, sender: str, message: Message) -> None:
        """A message from a peer; waits while too many of that peer's do, which holds back its connection and no other."""
        await self._inbox.receive(Receive(sender, message))

    def offer(self, event: Input) -> None:
        """Anything else that happens to the node."""
        self._inbox.put(event)

    def stop(self, code: int) -> None:
        """End the loop after the step at hand; what waits for durability is dropped, as in any crash."""
        if self.exit_code is None:
            self.exit_code = code
        self._inbox.put(_Due("", -1))  # wakes the loop; no timer has that generation

    # -- Steps -----------------------------------------------------------------------------------------------------------------------

    def _step(self, event: Input) -> None:
        at_ns, now_ns = monotonic_ns(), self._clock.read_ns()
        try:
            effects = self._machine.step(event, now_ns)
        except Exception as error:  # noqa: BLE001  # the contract says never: whatever it is, it is a violation that has to be seen
            self._trace.write(Raised(at_ns, now_ns, event, f"{type(error).__name__}: {error}"))
            self.stop(EXIT_BUG)
            return
        self._trace.write(Step(at_ns, now_ns, event, effects))
        if isinstance(event, Durable):
            self._release_up_to(event.lsn)
        for effect in effects:
            self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Send() | AcknowledgeTask() | Exit():
                if effect.after_lsn <= self._durable:
                    self._release(effect)
                else:
                    self._waiting.append(effect)
            case Append(record=record):
                self._append(record)
                if record.kind == KEYSET:
                    self._around.keyset_turned()
            case SetTimer(name=name, at_ns=at_ns):
                self._set_timer(name, at_ns)
            case Spawn(token=token):
                self._around.spawn(token, self._gone)
            case Signal(kind=SignalKind.CONT):
                self._around.proceed()
            case Signal(kind=SignalKind.TERM):
                self._around.terminate()
            case Signal(kind=SignalKind.KILL):
                self._around.kill()
            case Signal(kind=SignalKind.REAP_ORPHANS):
                self._reap_orphans()
            case WriteCheckpoint(generation=generation, body=body):
                self._begin(self._write_checkpoint(generation, body))
            case Observe():
                pass  # it is in the trace

    def _release_up_to(self, lsn: int) -> None:
        """Only now, and not when the commit returned: in the trace nothing may leave before the step that learned of its durability."""
        self._durable = lsn
        freed = [effect for effect in self._waiting if effect.after_lsn <= lsn]
        self._waiting = [effect for effect in self._waiting if effect.after_lsn > lsn]
        for effect in freed:
            self._trace.write(Released(monotonic_ns(), self._clock.read_ns(), effect))
            self._release(effect)

    def _release(self, effect: Send | AcknowledgeTask | Exit) -> None:
        match effect:
            case Send(to=to, message=message):
                self._around.send(to, message)
            case AcknowledgeTask(task=task, outcome=outcome):
                self._around.acknowledge(task, outcome)
            case Exit(code=code):
                self.stop(code)

    def _gone(self, status: int) -> None:
        self.offer(ProcessExited(status, status < 0, self._around.checkpoints_left()))

    def _reap_orphans(self) -> None:
        """Again until nothing is left, and only then say so: the machine starts nothing before it hears that."""
        if self._around.reap_orphans():
            self._gone(-signal.SIGKILL)
        else:
            asyncio.get_running_loop().call_later(NAP_S, self._reap_orphans)

    # -- Disk ------------------------------------------------------------------------------------------------------------------------

    def _append(self, record: Record) -> None:
        self._unsynced.append((record, self._stamps.tick()))
        self._more.set()
        if self._syncing is None or self._syncing.done():
            self._syncing = self._begin(self._sync())

    async def _sync(self) -> None:
        """Commit whatever has gathered, until nothing has: one sync serves all records that waited for it. On a full disk go on trying."""
        loop = asyncio.get_running_loop()
        while self._unsynced or self._is_full:
            batch, self._unsynced = self._unsynced, []
            self._more.clear()  # here, and not before the nap: what comes while the disk is busy must cut the nap short
            records, stamps = [record for record, _ in batch], [stamp for _, stamp in batch]
            written = len(records)
            try:
                await loop.run_in_executor(self._disk, self._log.append, records, stamps)
            except NoRoom as no_room:
                written = no_room.written
                self._unsynced = batch[written:] + self._unsynced
                self._say_full(records)
            except (LogFailed, sqlite3.Error):
                self._is_full = False  # it is worse: nothing will be written any more
                if records:
                    self.offer(DiskFailed(records[0].seq))
                continue
            else:
                self._say_freed()
            if written:
                self.offer(Durable(records[written - 1].seq))
            if self._is_full:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(NAP_S):
                        await self._more.wait()

    def _say_full(self, records: list[Record]) -> None:
        """Once, with the first record that found it so. A log that was opened on a full disk tells at its first."""
        if records and not self._is_full:
            self._is_full = True
            self.offer(DiskFull(records[0].seq))

    def _say_freed(self) -> None:
        if self._is_full:
            self._is_full = False
            self.offer(DiskFreed())

    async def _write_checkpoint(self, generation: int, body: bytes) -> None:
        assert self._checkpoints is not None, "only an agent writes checkpoints"
        try:
            await asyncio.get_running_loop().run_in_executor(self._disk, self._checkpoints.write, generation, body)
        except OSError:
            # No input says "that checkpoint failed", and going on without an answer would leave the agent waiting for ever: end, so that
            # the next start recovers from the other slot.
            self.stop(EXIT_DISK)
        else:
            self.offer(CheckpointDurable(generation))

    # -- Timers ----------------------------------------------------------------------------------------------------------------------

    def _set_timer(self, name: str, at_ns: int | None) -> None:
        if name in self._timers:
            self._timers.pop(name)[2].cancel()
        if at_ns is not None:
            self._timer_generation += 1
            self._arm(name, self._timer_generation, at_ns)

    def _arm(self, name: str, generation: int, at_ns: int) -> None:
        nap_s = min(NAP_S, self._clock.seconds_until(at_ns))
        self._timers[name] = (generation, at_ns, asyncio.get_running_loop().call_later(nap_s, self._look, name, generation, at_ns))

    def _look(self, name: str, generation: int, at_ns: int) -> None:
        if self._clock.read_ns() >= at_ns:
            self._inbox.put(_Due(name, generation))
        else:
            self._arm(name, generation, at_ns)

    # -- The end ---------------------------------------------------------------------------------------------------------------------

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    def _quit(self) -> None:
        for _, _, handle in self._timers.values():
            handle.cancel()
        for task in self._background:
            task.cancel()
        self._disk.shutdown(wait=True)
