"""HTTPS for people: an ASGI application behind mutual TLS, told by each connection's certificate who is asking.

Owns connections, their limits, and the one fact that the application may believe about its caller: ``scope["killswitch.peer"]``, the node id that
the certificate proved. Must not know the application. uvicorn speaks HTTP; accepting is ours, so that failed handshakes are put on record.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, MutableMapping
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from killswitch.live.credentials import Credentials, Stranger
from killswitch.live.listener import Listener

PEER = "killswitch.peer"
BODY_MAX = 1 << 20
CONNECTION_S = 300.0  # the longest that one connection lives; a client that is in the middle of something comes again
CONNECTIONS_MAX = 256

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]


class Gateway(Listener):
    """Serves ``application`` to everybody who has a certificate of a person of this cell."""

    def __init__(self, application: Any, credentials: Credentials, refused: Callable[[str, str], None]) -> None:
        super().__init__(_never, credentials, refused)
        self._certificates = credentials
        self._config = Config(application, http=H11Protocol, ws="none", lifespan="off", log_config=None, access_log=False, server_header=False)
        self._config.load()
        self._state = ServerState()
        self._open = 0

    async def _let_in(self, connected: socket.socket, address: str) -> None:
        if self._open >= CONNECTIONS_MAX:
            self._refused(f"more than {CONNECTIONS_MAX} connections", address)
            connected.close()
            return
        self._open += 1
        protocol = _Named(self._config, self._state, self._certificates)
        try:
            transport = await self.secure(connected, protocol, address)
            if transport is None:
                return
            try:
                if protocol.stranger:
                    self._refused(protocol.stranger, address)
                else:
                    async with asyncio.timeout(CONNECTION_S):
                        await protocol.lost.wait()
            except TimeoutError:
                pass
            finally:
                transport.abort()
        finally:
            self._open -= 1


class _Named(H11Protocol):
    """One connection. ``stranger``: why nobody is served on it."""

    def __init__(self, config: Config, state: ServerState, credentials: Credentials) -> None:
        super().__init__(config, state, {})
        self._credentials = credentials
        self.stranger = ""
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn itself does
        super().connection_made(transport)
        try:
            peer = self._credentials.peer(transport.get_extra_info("ssl_object"))
        except Stranger as stranger:
            self.stranger = str(stranger)
            transport.abort()
            return
        application = self.app

        async def named(scope: Scope, receive: Any, send: Any) -> None:
            scope[PEER] = peer
            announced = next((value for name, value in scope.get("headers", ()) if name == b"content-length"), b"0")
            if int(announced) > BODY_MAX:  # h11 lets nothing but digits through
                await _too_large(send)
            else:
                await cast("Any", application)(scope, _limited(receive), send)

        self.app = cast("Any", named)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.lost.set()


async def _too_large(send: Any) -> None:
    await send({"type": "http.response.start", "status": 413, "headers": [(b"content-type", b"application/json"), (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": b'{"detail": "a request holds at most %d bytes"}' % BODY_MAX})


def _limited(receive: Any) -> Any:
    """A body that goes on too long, without having said so, ends as if the client had left."""
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message: Message = await receive()
        taken += len(message.get("body", b""))
        return {"type": "http.disconnect"} if taken > BODY_MAX else message

    return counted


async def _never(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """A gateway's connections are uvicorn's."""
