"""Somebody walks up to a node and tells it something: one connection of the harness's own, in which one message is said and heard.

Owns that connection. It is as real as any: mutual TLS with a certificate of the run, and it goes straight to the node, past every link. That the
message was taken in is known by an echo that was asked for behind it, since a node reads a connection in order.
"""

from __future__ import annotations

import asyncio

from harness.live import guard
from harness.live.guard import LOOPBACK
from killswitch.core import codec
from killswitch.core.messages import Message
from killswitch.live import frames
from killswitch.live.credentials import Credentials, Stranger
from killswitch.live.frames import BrokenFrame, Hello, Kind
from killswitch.live.sealing import Seals

ERRAND_S = 2.0


async def tell(port: int, node: str, cell: str, who: str, credentials: Credentials, seals: Seals, message: Message) -> bool:
    """Tell ``node``, which listens at ``port``, as ``who``, with these credentials and keys; whether it has heard. Takes `ERRAND_S` at most."""
    guard.loopback(f"{LOOPBACK}:{port}")
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(ERRAND_S):
            reader, writer = await asyncio.open_connection(LOOPBACK, port, ssl=credentials.client())
            credentials.expect(node, writer.get_extra_info("ssl_object"))
            said = frames.pack(Kind.SEALED, seals.seal(node, frames.message_payload(0, codec.encode(message, who, node, ""))))
            writer.write(frames.pack_hello(Hello(cell, who, node, seals=True)) + said + frames.pack(Kind.PING, said[-8:]))
            while await frames.read(reader) != (Kind.PONG, said[-8:]):
                pass
    except (OSError, EOFError, TimeoutError, BrokenFrame, Stranger):
        return False
    finally:
        if writer is not None:
            writer.transport.abort()
    return True
