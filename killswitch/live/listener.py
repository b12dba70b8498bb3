"""A listening port and everybody who was let in by it: they all leave when it is closed.

Owns the sockets of accepted connections from the kernel's hand to their end. Must not know what is said on them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

LOOPBACK = "127.0.0.1"
TURNS = 3  # of the loop: for a connection that is just being let in, and for the last words of those that were aborted

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


class Listener:
    """Serves each connection by ``serve`` in a task of its own; a connection ends with its task, however that ends."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    async def open(self, port: int) -> None:
        """Listen on the loopback interface. Raises `OSError` if the port is taken."""
        self._server = await asyncio.start_server(self._let_in, LOOPBACK, port)

    async def close(self) -> None:
        """End the listening and every connection at once. Never waits on a peer."""
        self._closing = True
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def _let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not a coroutine: a task that is cancelled before its first step runs none of its own clean-up, and would leave the socket open.
        if self._closing:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.transport.abort())
