"""A listening port and everybody who was let in by it: they all leave when it is closed.

Owns the sockets of accepted connections from the kernel's hand to their end, and the TLS handshake between. Must not know what is said on
them. It accepts by itself, rather than through `asyncio.start_server`, because that tells nobody of a handshake that failed.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from killswitch.live.credentials import Credentials

LOOPBACK = "127.0.0.1"
TURNS = 3  # of the loop: for a connection that is just being let in, and for the last words of those that were aborted
BACKLOG = 256
HANDSHAKE_S = 10.0
SHORTAGE_S = 0.1  # between attempts to accept while the host is out of descriptors

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


class Listener:
    """Serves each connection by ``serve`` in a task of its own; a connection ends with its task, however that ends.

    ``credentials``: speak TLS, and only with peers that have a certificate, too. ``refused(why, address)`` is told who failed at that.
    """

    def __init__(self, serve: Serve, credentials: Credentials | None = None, refused: Callable[[str, str], None] = lambda _why, _who: None) -> None:
        self._serve = serve
        self._credentials = credentials
        self._refused = refused
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, port: int, host: str = LOOPBACK) -> None:
        """Listen. Raises `OSError` if the port is taken."""
        listening = socket.create_server((host, port), backlog=BACKLOG, family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        listening.setblocking(False)
        self._socket = listening
        self._accepting = asyncio.create_task(self._accept(listening))

    async def close(self) -> None:
        """End the listening and every connection at once. Never waits on a peer."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connected, address = await loop.sock_accept(listening)
            except OSError:  # out of descriptors, or the peer left before it was let in: neither is the end of listening
                await asyncio.sleep(SHORTAGE_S)
                continue
            task = asyncio.create_task(self._let_in(connected, f"{address[0]}:{address[1]}"))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _let_in(self, connected: socket.socket, address: str) -> None:
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport = await self.secure(connected, protocol, address)
        if transport is not None:
            writer = asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())
            try:
                await self._serve(reader, writer)
            finally:
                writer.transport.abort()

    async def secure(self, connected: socket.socket, protocol: asyncio.Protocol, address: str) -> asyncio.Transport | None:
        """``protocol`` connected over ``connected``, after a handshake if there are credentials; None if that failed, which has been told."""
        context = None if self._credentials is None else self._credentials.server()
        timeout_s = None if context is None else HANDSHAKE_S
        try:
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol, connected, ssl=context, ssl_handshake_timeout=timeout_s
            )
        except (OSError, EOFError) as error:  # what TLS makes of a bad handshake are OSErrors
            self._refused(f"handshake: {getattr(error, 'reason', None) or error or type(error).__name__}", address)
            connected.close()
            return None
        except asyncio.CancelledError:
            connected.close()
            raise
        return transport
