"""The safety lever: one act that ends every live run of this user, whoever started it, and keeps new ones from starting.

Owns where the lever is, and where runs that are under way are registered for whoever recovers them. A file, because a file can be made
by a shell, a cron job or a hand in panic, with none of our code at work.
"""

from __future__ import annotations

import os
from pathlib import Path

SETTING = "HALTPROOF_HALT"
PREFIX = "safety lever"


def state() -> Path:
    """The directory in which this user's runs know of each other."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "haltproof"


def lever() -> Path:
    """The file whose existence halts: the one that ``HALTPROOF_HALT`` names, or ``halt`` in the state directory."""
    named = os.environ.get(SETTING)
    return Path(named) if named else state() / "halt"


def why_halted() -> str:
    """What whoever pulled the lever said; empty if nobody did."""
    try:
        said = lever().read_text(errors="replace").strip()
    except FileNotFoundError:
        return ""
    except OSError as error:  # it is there and cannot be read: that is no leave to go on
        return f"{PREFIX}: {error.strerror}"
    return f"{PREFIX}: {said or 'pulled'}"


def pull(reason: str) -> Path:
    """Halt everything. Raises `OSError`."""
    place = lever()
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"{reason}\n")
    return place


def release() -> bool:
    """Let runs start again; whether the lever had been pulled."""
    pulled = lever().exists()
    lever().unlink(missing_ok=True)
    return pulled


# -- Runs under way ------------------------------------------------------------------------------------------------------------------


def register(run: str, ledger: Path) -> None:
    """Tell whoever will recover where the ledger of ``run`` is. Raises `OSError`."""
    runs = state() / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    (runs / run).symlink_to(ledger.resolve())


def unregister(run: str) -> None:
    (state() / "runs" / run).unlink(missing_ok=True)


def registered() -> list[Path]:
    """The ledgers of runs that did not end cleanly, or not yet; those whose directory somebody removed are forgotten."""
    runs = state() / "runs"
    entries = sorted(runs.iterdir()) if runs.is_dir() else []
    for entry in entries:
        if not entry.exists():
            entry.unlink(missing_ok=True)
    return [entry.resolve() for entry in entries if entry.exists()]
