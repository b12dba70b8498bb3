"""Whose a folder of results is while somebody writes there, and what nobody may take away from it.

Owns the lock, what becomes of earlier results, and the reasons for which a command leaves a folder alone: it holds something else, somebody is at
it, or a live run was cut short there whose undo ledger is all that knows what it did to this host. Must not know what the results say.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from harness import digests, results_store
from harness.exits import Exit, Refused

ASIDE: Final = ".earlier"  # where what an earlier campaign left waits until it is known whether the next one is played at all
LOCK_FILE: Final = ".haltproof.lock"  # names the process that holds it; it stays, and by it a folder is known to be ours
PID_BYTES: Final = 32


@contextmanager
def claimed(out: Path, *, one_run: bool = False) -> Iterator[None]:
    """Keep ``out`` for oneself until the end. ``one_run``: of many is not to be overwritten. Raises `Refused`, and has touched nothing then."""
    _refuse_foreign(out)
    _refuse_loss(out, one_run=one_run)
    out.mkdir(parents=True, exist_ok=True)
    handle = os.open(out / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, PID_BYTES, 0).decode(errors="replace").strip() or "another one"
            raise Refused(f"--out: process {holder} is writing its results into {out}; wait for it, or name another directory") from None
        _refuse_loss(out, one_run=one_run)  # again: whoever held the lock may have ended in between
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


@contextmanager
def replaced(out: Path) -> Iterator[None]:
    """Put away what an earlier campaign left, the answer first: what stands in ``out`` is then never of two campaigns. It comes back if this one is
    refused, and is gone for good if not."""
    aside = out / ASIDE
    shutil.rmtree(aside, ignore_errors=True)
    _move(out, aside)
    try:
        yield
    except Refused:
        for name in results_store.WHOLE:
            _take_away(out / name)
        _move(aside, out)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _move(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for name in results_store.WHOLE:
        if (source / name).exists():
            (source / name).rename(target / name)


def _take_away(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)


def _refuse_loss(out: Path, *, one_run: bool) -> None:
    """Nothing is written over that nobody has elsewhere."""
    if one_run:
        _refuse_campaign(out)
    _refuse_unfinished(out)


def is_one(directory: Path) -> bool:
    """Whether results, or what a live run left, lie there. Told by what nobody else writes: a ``runs/`` or a ``live/`` of others proves nothing."""
    return (directory / LOCK_FILE).is_file() or digests.is_ours(directory) or bool(_ledgers(directory))


def _refuse_foreign(out: Path) -> None:
    """Results go where results are, or where nothing is."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not is_one(out))):
        raise Refused(f"--out: {out} holds something that is not a result; name an empty or a new directory")


def _refuse_campaign(out: Path) -> None:
    """One run does not take the place of the answer of many."""
    place = out / results_store.CAMPAIGN_FILE
    try:
        several = place.exists() and bool(results_store.load(out).campaign.scenarios)
    except ValueError:  # broken, and perhaps all that somebody has
        several = True
    if several:
        raise Refused(f"--out: {place} is the answer of a whole campaign; name an empty or a new directory")


def _refuse_unfinished(out: Path) -> None:
    """What a live run changed on this host is undone by its ledger, and by nothing else. One whose first line is torn has changed nothing."""
    places = _ledgers(out)
    if not places:
        return
    from harness.live import ledger
    from killswitch.live import process

    for place in places:
        try:
            story = ledger.read(place)
        except ValueError:
            continue
        owner = story.opened.owner
        if story.closed:
            continue
        if process.identify(owner.pid) == owner:
            raise Refused(f"--out: {place.parent}: a live run of process {owner.pid} goes on there; wait for it, or name another directory")
        raise Refused(
            f"--out: {place.parent}: a live run was cut short there, and {len(story.open)} of what it changed on this host are not undone; "
            f"`haltproof recover {out}` undoes it. Or name another directory",
            Exit.RESIDUE,
        )


def _ledgers(out: Path) -> list[Path]:
    """Those of the live runs in a folder."""
    if not (out / "live").is_dir():
        return []
    from harness.live import ledger  # the live driver, which most folders have never seen

    return sorted((out / "live").glob(f"*/{ledger.FILE}"))
