"""The agent's door: JSON lines over a Unix socket, for programs in any language that want more than to be started and stopped.

Owns what the protocol asks of an agent and no program should have to write anew: its journal, its checkpoints, its keys of idempotency (protocol 4).
Must not know orders or leases; what may leave is the sidecar core's to say. A program that never opens the door is run and stopped all the same.

    the program says                                          and hears, with the same id
    {"id": 1, "do": "hello"}                                  {"id": 1, "agent": ..., "checkpoint": {...} or null, "open": [...], "stop": ...}
    {"id": 2, "do": "effect", "task": "t", "step": 0,         {"id": 2, "status": "APPLIED", "result": "..."}, or DENIED: it did not take place
        "sink": "ledger", "payload": ANY}                     and may be asked for again when the gate opens; or IN_DOUBT: nobody can say
    {"id": 3, "do": "done", "task": "t"}                      {"id": 3}: durable
    {"id": 4, "do": "checkpoint", "state": ANY}               {"id": 4, "generation": 7}: durable
    {"id": 5, "do": "stopping", "in_doubt": ["t"]}            {"id": 5}: the last word before it exits
    and, unasked:  {"event": "stop", "drain": true}           {"event": "gate", "gate": "OPEN"}

J1 to J5: an INTENT is durable before the sidecar is asked, a RESULT before the program is told. An effect that was intended by an earlier start and
has no result is resolved first, so a program may simply ask again for whatever it is not sure of: the answer is that of the first time.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from killswitch.core import audit, checkpoints
from killswitch.core.checkpoints import Checkpoint, OpenTask
from killswitch.core.messages import (
    EffectClass,
    EffectRequest,
    EffectResult,
    Gate,
    GateNotice,
    Message,
    ResolveRequest,
    ResolveResult,
    StopAck,
    StopRequest,
    Task,
)
from killswitch.core.sidecar.state import PAYLOAD_MAX
from killswitch.live.checkpoint import Checkpoints
from killswitch.live.clock import Clock, boot_id
from killswitch.live.log import LogFailed, SqliteLog

SOCKET_VARIABLE = "KILLSWITCH_SOCKET"
LINE_MAX = 1 << 20
READ_OUT_S = 1.0
EFFECTS_MAX = 256
NAMED = 8  # open tasks, where one is looked for that is not there
ENDED_MAX = 1024  # tasks that are over and still answered for
SEAL_BYTES = 32
UNREAD_MAX = 4 << 20
PATH_MAX = 107  # of a Unix socket, in bytes

Deliver = Callable[[str, Message], Awaitable[None]]


class Malformed(Exception):
    """A line that is no request; the message says what is wrong with it."""


class Asked(Struct, forbid_unknown_fields=True):
    """One line of the program's. ``cls`` "": ``new`` for step 0, else ``inflight``."""

    do: str
    id: int | str | None = None
    task: str = ""
    step: int = 0
    sink: str = ""
    cls: str = msgspec.field(default="", name="class")
    payload: msgspec.Raw = msgspec.Raw(b"")
    state: msgspec.Raw = msgspec.Raw(b"")
    in_doubt: tuple[str, ...] = ()


class Named(Struct):
    """The name of a request, whatever it asks for."""

    id: int | str | None = None


class Kept(Checkpoint, array_like=True):
    """What a slot holds: a checkpoint as the core knows it, which says what is over and what is not, and the program's own state behind it."""

    state: bytes = b"null"


class Door:
    """The door of ``agent`` in ``directory``. ``deliver(sender, message)`` takes the agent's side of the protocol to the sidecar's core."""

    def __init__(self, agent: str, sinks: tuple[str, ...], path: Path, directory: Path, clock: Clock, deliver: Deliver) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._agent = agent
        self._node = f"agent/{agent}"
        self._sinks = {sink.rpartition("/")[2]: sink for sink in sinks}
        self._path = path
        self._deliver = deliver
        self._clock = clock
        self._log = SqliteLog(directory / "agent.db")
        records, _ = self._log.load()
        self._chain = audit.recover(records, boot_id()).chain
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._open: dict[str, OpenTask] = {}
        self._ended: dict[str, str] = {}  # the latest of them
        self._intents: dict[str, tuple[str, int, str]] = {}  # key -> (task, step, sink), of those without a result
        self._results: dict[str, dict[str, str]] = {}  # task -> {key: result}
        self._resolve: set[str] = set()  # intents of earlier starts: nobody knows yet whether they took place
        self._denied: set[str] = set()  # intents of which this start was told that they did not
        for entry in records:
            self._fold(entry.kind, audit.content(entry))
        self._slots = Checkpoints(directory / "checkpoints")
        self._generation, self._state = self._newest()
        self._under_way: set[str] = set()  # keys of steps that are being asked for, from before their intent is durable
        self._saving = asyncio.Lock()  # a checkpoint takes its generation and its slot for itself
        self._waiting: dict[str, asyncio.Future[str]] = {}
        self._lines: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._stop: StopRequest | None = None
        self._server: asyncio.Server | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What tells the program where its door is."""
        return {SOCKET_VARIABLE: str(self._path)}

    async def open(self) -> None:
        """Raises `OSError`."""
        if len(str(self._path).encode()) > PATH_MAX:
            raise OSError(f"{self._path}: longer than the {PATH_MAX} bytes that a socket's path may have; take a shorter `state`")
        self._path.unlink(missing_ok=True)  # what an earlier process of this sidecar left
        self._server = await asyncio.start_unix_server(self._serve, str(self._path), limit=LINE_MAX)
        self._path.chmod(0o600)

    def begin(self) -> None:
        """A program is being started: what an earlier one intended and never heard of has to be resolved first."""
        self._stop = None
        self._resolve = set(self._intents)
        self._denied = set()

    async def read_out(self) -> None:
        """The program is gone: until all that it still said has been taken in, but not for ever."""
        if self._lines:
            await asyncio.wait(tuple(self._lines), timeout=READ_OUT_S)
        for task in tuple(self._lines):
            task.cancel()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in tuple(self._lines):
            task.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)
        self._disk.shutdown(wait=True)
        self._log.close()
        self._path.unlink(missing_ok=True)

    def hear(self, message: Message) -> None:
        """The sidecar's core says something to its agent."""
        match message:
            case EffectResult(key=key, status=status, result=result) | ResolveResult(key=key, status=status, result=result):
                waiting = self._waiting.get(key)
                if waiting is not None and not waiting.done():
                    waiting.set_result(f"{status} {result}")
            case StopRequest(drain=drain):
                if self._stop != message:
                    self._stop = message
                    self._tell({"event": "stop", "drain": drain})
            case GateNotice(gate=gate):
                self._tell({"event": "gate", "gate": Gate(gate).name})

    # -- Lines -----------------------------------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._lines[task] = writer
        effects: set[asyncio.Task[None]] = set()
        try:
            async for line in _lines_of(reader):
                asked, named, wrong = _read(line)
                if asked is not None and asked.do == "effect" and len(effects) < EFFECTS_MAX:
                    # In a task of its own: its answer may take as long as a lease does, and a program may have several under way.
                    one = asyncio.create_task(self._answer(asked, writer))
                    effects.add(one)
                    one.add_done_callback(effects.discard)
                elif asked is not None and asked.do != "effect":
                    await self._answer(asked, writer)
                else:
                    _say(writer, {"id": named, "error": wrong or f"more than {EFFECTS_MAX} effects under way"})
        except (OSError, asyncio.CancelledError):
            pass  # the program left; or the sidecar does, and asyncio would take its log for one of failures
        finally:
            del self._lines[task]
            for one in effects:
                one.cancel()
            writer.transport.abort()

    async def _answer(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        try:
            answer = await self._do(asked)
        except (Malformed, LogFailed, OSError) as error:
            answer = {"error": str(error)}
        _say(writer, {"id": asked.id, **answer})

    async def _do(self, asked: Asked) -> dict[str, Any]:
        match asked.do:
            case "hello":
                return self._hello()
            case "effect":
                return await self._effect(asked)
            case "done":
                if not asked.task:
                    raise Malformed("done: needs a task")
                if asked.task not in self._open and asked.task not in self._ended:
                    known = ", ".join(sorted(self._open)[:NAMED]) or "none"
                    raise Malformed(f"done: no effect of such a task was ever asked for here, or long ago; open: {known} (got {asked.task!r})")
                await self._record("DONE", {"task": asked.task})
                return {}
            case "checkpoint":
                if not bytes(asked.state):
                    raise Malformed("checkpoint: needs a state, which may be any JSON, null among it")
                return await self._checkpoint(bytes(asked.state))
            case "stopping":
                return await self._leave(asked.in_doubt)
        raise Malformed(f"do: one of hello, effect, done, checkpoint, stopping (got {asked.do!r})")

    def _hello(self) -> dict[str, Any]:
        saved = None if self._generation == 0 else {"generation": self._generation, "state": msgspec.Raw(self._state)}
        begun = [{"task": task, "step": step, "sink": sink.rpartition("/")[2]} for task, step, sink in self._intents.values()]
        stop = None if self._stop is None else {"drain": self._stop.drain}
        return {"agent": self._agent, "sinks": sorted(self._sinks), "checkpoint": saved, "open": begun, "stop": stop}

    # -- Effects ---------------------------------------------------------------------------------------------------------------------

    async def _effect(self, asked: Asked) -> dict[str, Any]:
        """J1 to J4 of one step."""
        if not asked.task:
            raise Malformed("effect: needs a task")
        if asked.step < 0:
            raise Malformed(f"step: from 0 on (got {asked.step})")
        if asked.sink not in self._sinks:
            raise Malformed(f"sink: one of {', '.join(sorted(self._sinks)) or 'none'} (got {asked.sink!r})")
        cls = asked.cls or (EffectClass.NEW if asked.step == 0 else EffectClass.INFLIGHT)
        if cls not in tuple(EffectClass):
            raise Malformed(f"class: one of {', '.join(EffectClass)} (got {cls!r})")
        payload = bytes(asked.payload)
        if len(payload) > PAYLOAD_MAX:
            raise Malformed(
                f"payload: {len(payload)} bytes of JSON are more than the {PAYLOAD_MAX} that one step may carry; send a reference to it instead"
            )
        key = _key(self._agent, asked.task, asked.step)
        if key in self._under_way:
            raise Malformed(f"effect: step {asked.step} of {asked.task} is under way already")
        self._under_way.add(key)
        try:
            return await self._take_step(asked, key, cls, payload)
        finally:
            self._under_way.discard(key)

    async def _take_step(self, asked: Asked, key: str, cls: str, payload: bytes) -> dict[str, Any]:
        sink = self._sinks[asked.sink]
        if key in self._results.get(asked.task, {}):
            return {"status": "APPLIED", "result": self._results[asked.task][key]}
        if key in self._resolve:
            status, result = await self._ask(key, ResolveRequest(key, sink))
            if status != "ABSENT":
                return await self._conclude(key, asked.task, status, result)
        if key not in self._intents:
            await self._record("INTENT", {"task": asked.task, "step": asked.step, "key": key, "sink": sink})
        self._resolve.discard(key)
        request = EffectRequest(asked.task, asked.step, key, cls, sink, payload or msgspec.UNSET)
        return await self._conclude(key, asked.task, *await self._ask(key, request))

    async def _ask(self, key: str, message: Message) -> tuple[str, str]:
        waiting = self._waiting[key] = asyncio.get_running_loop().create_future()
        try:
            await self._deliver(self._node, message)
            status, _, result = (await waiting).partition(" ")
        finally:
            del self._waiting[key]
        return status, result

    async def _conclude(self, key: str, task: str, status: str, result: str) -> dict[str, Any]:
        if status == "APPLIED":
            await self._record("RESULT", {"task": task, "key": key, "result": result})
        elif status == "IN_DOUBT":
            await self._record("IN_DOUBT", {"task": task, "key": key})
        else:
            self._denied.add(key)
        return {"status": status, "result": result}

    async def _leave(self, in_doubt: tuple[str, ...]) -> dict[str, Any]:
        """The last word. Tasks of which nothing took place, for certain, are rolled back; the checkpoint that is left behind says what is over and
        what is not. The program can add to what is in doubt, and take nothing off."""
        for task, begun in list(self._open.items()):
            untouched = begun.done == 0 and not begun.in_doubt and task not in in_doubt
            if untouched and all(key in self._denied for key, intent in self._intents.items() if intent[0] == task):
                await self._record("ROLLED_BACK", {"task": task})
        for task in in_doubt:
            await self._record("IN_DOUBT", {"task": task, "key": ""})
        await self._checkpoint(self._state)
        await self._deliver(self._node, StopAck(self._generation, tuple(sorted(self._open))))
        return {}

    # -- Journal and checkpoints -----------------------------------------------------------------------------------------------------

    async def _record(self, kind: str, body: dict[str, object]) -> None:
        """Durable when it returns. Raises `LogFailed`."""
        await asyncio.get_running_loop().run_in_executor(self._disk, self._append, kind, body)
        self._fold(kind, body)

    def _append(self, kind: str, body: dict[str, object]) -> None:
        self._log.append([self._chain.append(kind, body, self._clock.read_ns()).record])

    def _fold(self, kind: str, body: dict[str, Any]) -> None:
        match kind:
            case "INTENT":
                self._intents[body["key"]] = (body["task"], body["step"], body["sink"])
                self._task(body["task"], body["sink"]).key = body["key"]
            case "RESULT":
                self._intents.pop(body["key"], None)
                self._results.setdefault(body["task"], {})[body["key"]] = body["result"]
                begun = self._task(body["task"])
                begun.done, begun.key, begun.in_doubt = begun.done + 1, "", False
            case "IN_DOUBT":
                self._task(body["task"]).in_doubt = True
            case "DONE" | "ROLLED_BACK":
                self._end(body["task"], "COMPLETED" if kind == "DONE" else kind)

    def _task(self, task: str, sink: str = "") -> OpenTask:
        return self._open.setdefault(task, OpenTask(Task(task, sink, 0, 0)))  # how many steps it has, the program alone knows

    def _end(self, task: str, outcome: str) -> None:
        self._open.pop(task, None)
        self._intents = {key: intent for key, intent in self._intents.items() if intent[0] != task}
        self._ended[task] = outcome
        while len(self._ended) > ENDED_MAX:
            oldest = next(iter(self._ended))
            del self._ended[oldest]
            self._results.pop(oldest, None)

    async def _checkpoint(self, state: bytes) -> dict[str, Any]:
        """CK1 to CK4, then the record."""
        async with self._saving:
            generation = self._generation + 1
            sealed = checkpoints.seal(Kept(generation, self._chain.seq, self._ended, self._open, state))
            await asyncio.get_running_loop().run_in_executor(self._disk, self._slots.write, generation, sealed)
            await self._record("CKPT", {"generation": generation})
            self._generation, self._state = generation, state
        return {"generation": generation}

    def _newest(self) -> tuple[int, bytes]:
        """The newest whole slot; generation 0 if there is none."""
        whole = [(0, b"null")]
        for slot in self._slots.load():
            if checkpoints.unseal(slot) is not None:
                kept = msgspec.msgpack.decode(slot[SEAL_BYTES:], type=Kept)
                whole.append((kept.generation, kept.state))
        return max(whole)

    def _tell(self, event: dict[str, Any]) -> None:
        for writer in self._lines.values():
            _say(writer, event)


async def _lines_of(reader: asyncio.StreamReader) -> AsyncIterator[bytes | None]:
    """What the program says, line by line; None for one that is longer than a line may be. Raises `OSError`."""
    whole = True
    while True:
        try:
            line = await reader.readuntil()
        except asyncio.LimitOverrunError as over:
            await reader.readexactly(over.consumed)
            if whole:
                yield None
            whole = False
            continue
        except asyncio.IncompleteReadError as end:
            if whole and end.partial:
                yield end.partial
            return
        if whole:
            yield line
        whole = True


def _read(line: bytes | None) -> tuple[Asked | None, int | str | None, str]:
    """A request, its id, and what is wrong with the line if it is none."""
    if line is None:
        return None, None, f"a line of more than {LINE_MAX} bytes: keep a checkpoint's state below that, or put it into a file and its name here"
    try:
        asked = msgspec.json.decode(line, type=Asked)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return None, _id_of(line), f"no request: {error}"
    return asked, asked.id, ""


def _id_of(line: bytes) -> int | str | None:
    """The id of a line that is no request otherwise, so that whoever waits for an answer gets it."""
    try:
        return msgspec.json.decode(line, type=Named).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _say(writer: asyncio.StreamWriter, said: dict[str, Any]) -> None:
    """A program that does not read what it is told is not waited for, and loses its door before it takes our memory."""
    if writer.transport.get_write_buffer_size() > UNREAD_MAX:
        writer.transport.abort()
    elif not writer.is_closing():
        writer.write(msgspec.json.encode(said) + b"\n")


def _key(agent: str, task: str, step: int) -> str:
    """The idempotency key of a step: H(agent, task, step)."""
    return hashlib.sha256(f"{agent}/{task}/{step}".encode()).hexdigest()[:32]
