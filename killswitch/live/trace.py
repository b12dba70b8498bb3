"""What a live node leaves behind for the harness: every input with the effects that came of it, as it happened.

Owns the form of the trace file. Must not know the history's vocabulary: what a step means is for the reader to say.

A file is a row of frames, a four-byte big-endian length and a MessagePack `Entry`, each written by one unbuffered append, so that a
SIGKILL at any moment costs at most the entry being written. ``at_ns`` is the host's ``CLOCK_MONOTONIC``, which all processes of
a host share. A step is written before its effects are carried out: what the trace lacks did not happen.
"""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from killswitch.core.events import Effect, Input
from killswitch.live.checkpoint import write_all

LENGTH = struct.Struct(">I")


class Started(Struct, frozen=True, tag=True):
    """A process took up its node. ``containment``: how a sidecar holds its agent's process tree (``cgroup`` or ``session``)."""

    at_ns: int
    node: str
    pid: int
    containment: str = ""


class Step(Struct, frozen=True, tag=True):
    """One step of the machine: the input, and its effects in order. Those with an ``after_lsn`` are not yet carried out."""

    at_ns: int
    clock_ns: int
    event: Input
    effects: list[Effect]


class Released(Struct, frozen=True, tag=True):
    """An effect that had waited for its ``after_lsn`` to be durable is carried out now."""

    at_ns: int
    clock_ns: int
    effect: Effect


class Raised(Struct, frozen=True, tag=True):
    """The machine raised, which it never may; the process ends."""

    at_ns: int
    clock_ns: int
    event: Input
    error: str


Entry = Started | Step | Released | Raised

_DECODER = msgspec.msgpack.Decoder(Entry)


class TraceWriter:
    """Appends entries to a node's trace. A restarted node goes on in the same file."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._encoder = msgspec.msgpack.Encoder()

    def write(self, entry: Entry) -> None:
        body = self._encoder.encode(entry)
        write_all(self._file, LENGTH.pack(len(body)) + body)

    def close(self) -> None:
        os.close(self._file)


class Untraced:
    """Keeps nothing: what a deployed node did is in its log; a trace is for experiments, and grows without bound."""

    def write(self, entry: Entry) -> None:
        pass

    def close(self) -> None:
        pass


class TraceReader:
    """Reads a trace while it grows. A torn entry at the end is left for the next call; a file that does not exist yet is empty."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._rest = b""

    def read(self) -> list[Entry]:
        """The entries that are whole and new. Raises `msgspec.DecodeError` if the file is not a trace."""
        if self._file is None:
            try:
                self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return []
        while piece := os.read(self._file, 1 << 20):
            self._rest += piece
        entries: list[Entry] = []
        start = 0
        while len(self._rest) - start >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._rest, start)
            end = start + LENGTH.size + length
            if len(self._rest) < end:
                break
            entries.append(_DECODER.decode(self._rest[start + LENGTH.size : end]))
            start = end
        self._rest = self._rest[start:]
        return entries

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def monotonic_ns() -> int:
    """The stamp of every entry: ``CLOCK_MONOTONIC``, one and the same for all processes of a host."""
    return time.monotonic_ns()
