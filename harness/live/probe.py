"""A measurement of a path, from outside: does an echo come back through it, and after how long.

Owns one connection for each question. It asks what every server of the protocol answers without knowing who asks: a PING frame.
Attestation rests on this and on what the control API reads back, never on an injection having raised no error.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from enum import StrEnum

from msgspec import Struct

from harness.live.guard import LOOPBACK
from killswitch.live import frames
from killswitch.live.credentials import Credentials
from killswitch.live.frames import BrokenFrame, Kind

NONSENSE = b"\xff" * 64  # neither the beginning of a handshake nor a frame of a size that anybody reads


class Outcome(StrEnum):
    """ECHOED; REFUSED: nobody listens; CLOSED: accepted, then ended; SILENT: nothing came back within the deadline."""

    ECHOED = "echoed"
    REFUSED = "refused"
    CLOSED = "closed"
    SILENT = "silent"


class Measured(Struct, frozen=True):
    """``trip_ns``: from the ping to its echo; 0 unless echoed. Connecting and the handshake are no part of it. ``waited_ns``: from the first word on,
    in which no echo came; 0 if one did.

    ``reset``: it was closed by an RST, so the kernel says, and not by an end in good order.
    """

    outcome: Outcome
    trip_ns: int = 0
    reset: bool = False
    waited_ns: int = 0


async def probe(port: int, deadline_s: float, load_bytes: int = 8, credentials: Credentials | None = None) -> Measured:
    """Ping once through ``port``, with a payload of so many bytes. Takes about ``deadline_s`` at most, twice with a handshake; never raises."""
    writer: asyncio.StreamWriter | None = None
    first_ns = time.monotonic_ns()

    def no_echo(outcome: Outcome, *, reset: bool = False) -> Measured:
        return Measured(outcome, reset=reset, waited_ns=time.monotonic_ns() - first_ns)

    try:
        async with asyncio.timeout(deadline_s):
            reader, writer = await asyncio.open_connection(LOOPBACK, port, ssl=credentials.client() if credentials else None)
        async with asyncio.timeout(deadline_s):
            nonce = os.urandom(load_bytes)
            began_ns = time.monotonic_ns()
            writer.write(frames.pack(Kind.PING, nonce))
            kind, payload = await frames.read(reader)
            trip_ns = time.monotonic_ns() - began_ns
        return Measured(Outcome.ECHOED, trip_ns) if (kind, payload) == (Kind.PONG, nonce) else no_echo(Outcome.CLOSED)
    except TimeoutError:
        return no_echo(Outcome.SILENT)
    except ConnectionRefusedError:
        return no_echo(Outcome.REFUSED)
    except (OSError, EOFError, BrokenFrame) as error:  # asyncio raises a ConnectionResetError of its own, for any end within a handshake
        return no_echo(Outcome.CLOSED, reset=isinstance(error, OSError) and error.errno == errno.ECONNRESET)
    finally:
        if writer is not None:
            writer.transport.abort()


async def time_to_end(port: int, deadline_s: float) -> int | None:
    """How long after a first word that no server lets pass the connection through ``port`` ends, in ns; None if not within ``deadline_s``."""
    writer: asyncio.StreamWriter | None = None
    began_ns = time.monotonic_ns()
    try:
        async with asyncio.timeout(deadline_s):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            began_ns = time.monotonic_ns()
            writer.write(NONSENSE)
            while await reader.read(1 << 16):
                pass
    except TimeoutError:
        return None
    except OSError:
        pass  # an end, too
    finally:
        if writer is not None:
            writer.transport.abort()
    return time.monotonic_ns() - began_ns
