"""What every node took in, in order, and the digest that is taken of it.

Owns the digest of a run. Steps are folded into it piece by piece while they are still at hand, and let go of unless somebody will compare them: a run
that keeps them all walks through megabytes that nobody looks at again, and pays more for the memory than for the digest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from xxhash import xxh3_128

PIECE = 256
Step = tuple[int, str, Any]  # (time, node, input)


class Trace(list[Step]):
    """Steps that are not folded yet: whoever appends one folds when there are `PIECE` of them. ``kept``: those that were, if they are kept."""

    __slots__ = ("_buffer", "_encoder", "_hasher", "kept")

    def __init__(self, *, keep: bool) -> None:
        super().__init__()
        self.kept: list[Step] | None = [] if keep else None
        self._encoder = msgspec.msgpack.Encoder(order="deterministic")
        self._hasher = xxh3_128()
        self._buffer = bytearray()

    def steps(self) -> list[Step]:
        """Every step so far; none if they are not kept."""
        self.fold()
        return self.kept or []

    def fold(self) -> None:
        """Take what is there into the digest."""
        self._take(self)
        if self.kept is not None:
            self.kept += self
        self.clear()

    def digest(self, facts: Sequence[Any]) -> str:
        """Of every step so far, and of ``facts``: to be asked for once, at the end."""
        self.fold()
        for start in range(0, len(facts), PIECE):
            self._take(facts[start : start + PIECE])
        return self._hasher.hexdigest()

    def _take(self, piece: Sequence[Any]) -> None:
        self._encoder.encode_into(piece, self._buffer)
        self._hasher.update(self._buffer)
