"""Where work and wishes come from: the door through which a node is handed tasks and commands, and tells how tasks ended.

Owns the two ends of a Unix socket on the node's host: `Desk`, which hands out, and `Counter`, at which a node is served. Must not know
what a task does. Upstream keeps a task until it hears how it ended, and hands it out again to whoever comes back: at least once,
which the agent's journal makes exactly once where the sink can (protocol 4).
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from killswitch.core.events import Command, Submit
from killswitch.core.messages import Task

LENGTH = struct.Struct(">I")
LIMIT = 1 << 16
RETRY_S = 0.1


class Present(Struct, frozen=True, tag=True):
    """A node is here, and ready to be handed things."""

    node: str


class Ended(Struct, frozen=True, tag=True):
    """How a task ended: COMPLETED or ROLLED_BACK."""

    task: str
    outcome: str


Handed = Submit | Command
Told = Present | Ended


def pack(message: Handed | Told) -> bytes:
    body = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(body)) + body


async def unpack(reader: asyncio.StreamReader) -> bytes:
    """The next message's body. Raises `EOFError`, `OSError`, or `ValueError` if it is too long."""
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    if length > LIMIT:
        raise ValueError(f"length over {LIMIT} (got {length})")
    return await reader.readexactly(length)


class Counter:
    """The node's end: ``accept`` is called with everything that is handed over."""

    def __init__(self, node: str, path: Path, accept: Callable[[Handed], None]) -> None:
        self._node = node
        self._path = path
        self._accept = accept
        self._writer: asyncio.StreamWriter | None = None

    async def serve(self) -> None:
        """Be there until cancelled; upstream that went away is tried again."""
        while True:
            with contextlib.suppress(OSError, EOFError, ValueError):
                reader, self._writer = await asyncio.open_unix_connection(str(self._path))
                try:
                    self._writer.write(pack(Present(self._node)))
                    while True:
                        self._accept(msgspec.msgpack.decode(await unpack(reader), type=Handed))
                finally:
                    self._writer.transport.abort()
                    self._writer = None
            await asyncio.sleep(RETRY_S)

    def tell_ended(self, task: str, outcome: str) -> None:
        """Nobody there to hear it: upstream will ask again, by handing the task over once more."""
        if self._writer is not None:
            self._writer.write(pack(Ended(task, outcome)))


class Desk:
    """Upstream's end, for all nodes of a host.

    Two may go by one name, if a host was cloned: both are handed its tasks, and a command goes to the one that came last.
    """

    def __init__(self) -> None:
        self._open_tasks: dict[str, dict[str, Task]] = {}
        self._commands: dict[str, list[Command]] = {}
        self._writers: dict[str, list[asyncio.StreamWriter]] = {}  # whoever is there under a name
        self._server: asyncio.Server | None = None

    async def open(self, path: Path) -> None:
        self._server = await asyncio.start_unix_server(self._serve, str(path))

    def submit(self, node: str, task: Task) -> None:
        """Hand ``task`` to the agent at ``node``, now and whenever it comes back, until it says how the task ended."""
        self._open_tasks.setdefault(node, {})[task.task] = task
        for writer in self._present(node):
            writer.write(pack(Submit(task)))

    def command(self, node: str, command: Command) -> None:
        """Hand ``command`` over once, now or when the node comes."""
        if not self._hand(node, command):
            self._commands.setdefault(node, []).append(command)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in [writer for writers in self._writers.values() for writer in writers]:
            writer.transport.abort()

    def _hand(self, node: str, message: Command) -> bool:
        present = self._present(node)
        for writer in present[-1:]:
            writer.write(pack(message))
        return bool(present)

    def _present(self, node: str) -> list[asyncio.StreamWriter]:
        return [writer for writer in self._writers.get(node, ()) if not writer.is_closing()]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        node = ""
        try:
            while True:
                match msgspec.msgpack.decode(await unpack(reader), type=Told):
                    case Present(node=node):
                        self._writers.setdefault(node, []).append(writer)
                        for command in self._commands.pop(node, ()):
                            writer.write(pack(command))
                        for task in self._open_tasks.get(node, {}).values():
                            writer.write(pack(Submit(task)))
                    case Ended(task=task):
                        self._open_tasks.get(node, {}).pop(task, None)
        except (OSError, EOFError, ValueError, asyncio.CancelledError):
            pass  # the node is gone, or this desk is closing
        finally:
            if writer in self._writers.get(node, ()):
                self._writers[node].remove(writer)
            writer.transport.abort()
