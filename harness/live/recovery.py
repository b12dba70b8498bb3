"""Cleans up after live runs whose harness can no longer do so itself: it was killed, or its host's power went.

Owns the finding of ledgers and the order: undo what each says, then search for what is left. A run whose harness lives is let alone.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from harness.live import ledger, lever, residue
from killswitch.live import process


class Recovered(Struct, kw_only=True):
    """One run. ``running``: its harness lives, nothing was touched. ``undone``: how many entries; ``left``: what is still there."""

    ledger: str
    run: str = ""
    running: bool = False
    undone: int = 0
    left: tuple[str, ...] = ()


def recover(directory: Path | None) -> list[Recovered]:
    """Undo whatever runs left: those below ``directory``, or all that this user's harnesses registered."""
    paths = lever.registered() if directory is None else ledgers(directory)
    return [each for path in paths if (each := _recover(path)) is not None]


def ledgers(directory: Path) -> list[Path]:
    """The ledgers of runs below ``directory``."""
    return sorted(directory.rglob(ledger.FILE))


def _recover(path: Path) -> Recovered | None:
    try:
        story = ledger.read(path)
    except (ValueError, OSError) as broken:
        return Recovered(ledger=str(path), left=(str(broken),))
    run = story.opened.run
    if story.closed:
        return None
    if process.identify(story.opened.owner.pid) == story.opened.owner:
        return Recovered(ledger=str(path), run=run, running=True)
    left = (*ledger.undo(story), *residue.search(story))
    if not left:
        ledger.mark_closed(path)
        lever.unregister(run)
    return Recovered(ledger=str(path), run=run, undone=len(story.open), left=left)
