"""Who was let in and who was not: the access log of one process, hash-chained like every log (protocol 5).

Owns a log of its own beside the node's, because the node's is written by its state machine alone (D8). Must not know why somebody is
refused. What strangers cause is limited in rate, and what was left out is counted: whoever can knock must not be able to fill the disk.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from killswitch.core import audit
from killswitch.core.events import Append
from killswitch.live.clock import Clock, boot_id
from killswitch.live.log import LogFailed, SqliteLog

BURST = 20
REFILL_S = 1.0


class AccessLog:
    """The log in ``file``, made with its first record. ``clock``: the node's own, which stamps as it does in the node's log."""

    def __init__(self, file: Path, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._log: SqliteLog | None = None
        self._chain = audit.Chain("")
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="access")
        self._writing: set[asyncio.Task[None]] = set()
        self._allowance = float(BURST)
        self._counted_s = time.monotonic()
        self._suppressed = 0

    async def record(self, kind: str, body: dict[str, object]) -> int:
        """Append, and return its number once it is durable. Raises `LogFailed`: what cannot be recorded is not to be done."""
        return await asyncio.get_running_loop().run_in_executor(self._disk, self._append, kind, body)

    def refused(self, why: str, who: str) -> None:
        """Somebody was turned away. Never waits, never raises."""
        now_s = time.monotonic()
        self._allowance = min(BURST, self._allowance + (now_s - self._counted_s) / REFILL_S)
        self._counted_s = now_s
        if self._allowance < 1:
            self._suppressed += 1
            return
        self._allowance -= 1
        left_out, self._suppressed = self._suppressed, 0
        self.note("REFUSED", {"why": why[:500], "who": who[:200], "suppressed": left_out}, counts=1 + left_out)

    def note(self, kind: str, body: dict[str, object], counts: int = 0) -> None:
        """Append when there is time. For what may not wait for a disk, and has its own record elsewhere. ``counts``: refusals that it tells of."""
        task = asyncio.get_running_loop().create_task(self._try(kind, body, counts))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    def close(self) -> None:
        """After what is under way; blocks for as long as a commit takes."""
        self._disk.shutdown(wait=True)
        if self._log is not None:
            self._log.close()

    async def _try(self, kind: str, body: dict[str, object], counts: int) -> None:
        try:
            await self.record(kind, body)
        except (LogFailed, RuntimeError):  # a full disk must not keep anybody from being turned away
            self._suppressed += counts

    def _append(self, kind: str, body: dict[str, object]) -> int:
        if self._log is None:
            self._open()
        assert self._log is not None
        effect: Append = self._chain.append(kind, body, self._clock.read_ns())
        self._log.append([effect.record])
        return effect.record.seq

    def _open(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._log = SqliteLog(self._file)
        self._file.chmod(0o600)
        records, cut_bytes = self._log.load()
        self._chain = audit.recover(records, boot_id()).chain
        if cut_bytes:
            self._log.append([self._chain.append("RECOVERED", {"truncated": cut_bytes}, self._clock.read_ns()).record])
