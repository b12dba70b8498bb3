"""The stamps of one process: a hybrid logical clock beside its log, so that the records of several writers can be put in one order (protocol 5).

Owns the last stamp. Must not know what is stamped: the host ticks it for each record, the transport sends it along with each message and tells it
what came with those received. The only reader of the wall clock near a log: a stamp sorts records, and no state depends on one (D10).
"""

from __future__ import annotations

import time

from killswitch.core import hlc


class Stamps:
    """``last``: of the latest record, or heard of since."""

    def __init__(self) -> None:
        self.last = 0

    def tick(self) -> int:
        """The stamp of the next record."""
        self.last = hlc.tick(self.last, _wall_ms())
        return self.last

    def resume(self, stamp: int) -> None:
        """The log that is there ends with this one; whatever the wall clock has done since, the next is greater."""
        self.last = max(self.last, stamp)

    def hear(self, stamp: int) -> None:
        """A message brought its sender's; one too far ahead is not believed."""
        self.last = hlc.merge(self.last, stamp, _wall_ms())


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
