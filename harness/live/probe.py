"""A measurement of a path, from outside: does an echo come back through it, and after how long.

Owns one connection for each question. It asks what every server of the protocol answers without knowing who asks: a PING frame.
Attestation rests on this and on what the control API reads back, never on an injection having raised no error.
"""

from __future__ import annotations

import asyncio
import os
import time
from enum import StrEnum

from msgspec import Struct

from harness.live.guard import LOOPBACK
from killswitch.live import frames
from killswitch.live.credentials import Credentials
from killswitch.live.frames import BrokenFrame, Kind


class Outcome(StrEnum):
    """ECHOED; REFUSED: nobody listens; CLOSED: accepted, then ended; SILENT: nothing came back within the deadline."""

    ECHOED = "echoed"
    REFUSED = "refused"
    CLOSED = "closed"
    SILENT = "silent"


class Measured(Struct, frozen=True):
    """``trip_ns``: from the ping to its echo; 0 unless echoed. Connecting and the handshake are no part of it."""

    outcome: Outcome
    trip_ns: int = 0


async def probe(port: int, deadline_s: float, load_bytes: int = 8, credentials: Credentials | None = None) -> Measured:
    """Ping once through ``port``, with a payload of so many bytes. Takes about ``deadline_s`` at most, twice with a handshake; never raises."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(deadline_s):
            reader, writer = await asyncio.open_connection(LOOPBACK, port, ssl=credentials.client() if credentials else None)
        async with asyncio.timeout(deadline_s):
            nonce = os.urandom(load_bytes)
            began_ns = time.monotonic_ns()
            writer.write(frames.pack(Kind.PING, nonce))
            kind, payload = await frames.read(reader)
            trip_ns = time.monotonic_ns() - began_ns
        return Measured(Outcome.ECHOED, trip_ns) if (kind, payload) == (Kind.PONG, nonce) else Measured(Outcome.CLOSED)
    except TimeoutError:
        return Measured(Outcome.SILENT)
    except ConnectionRefusedError:
        return Measured(Outcome.REFUSED)
    except (OSError, EOFError, BrokenFrame):
        return Measured(Outcome.CLOSED)
    finally:
        if writer is not None:
            writer.transport.abort()
