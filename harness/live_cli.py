"""The words of ``haltproof`` that have to do with real processes: playing live, halting, recovering.

Owns what is said before and after a live campaign, and the commands that need no campaign: they must work when nothing else does, so
they import little and none of them needs a scenario.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import App, Parameter

from harness.exits import Exit, Refused

if TYPE_CHECKING:
    from harness.live_campaign import PlayedAll
    from scenarios.model import Scenario

Flag = Annotated[bool, Parameter(negative=())]


def add_to(app: App) -> None:
    """Give ``app`` the commands of this module."""
    for command in (halt, recover):
        app.command(command)


def play(
    loaded: list[tuple[Path, Scenario]], seeds: Callable[[Scenario], Iterable[int]], implementation: str, out: Path,
) -> PlayedAll:  # fmt: skip
    """Play ``loaded`` live. Raises `Refused` if nothing could be played at all."""
    from harness import live_campaign, terminal
    from harness.live.injections import CapabilityMissing
    from harness.live.server import ServerMissing
    from scenarios.derive import drivers, simulated_only

    for path, scenario in loaded:
        if "live" not in drivers(scenario):
            raise Refused(
                f"{path}: only the simulator has {', '.join(simulated_only(scenario))}; `haltproof list` shows what plays what", Exit.CAPABILITY
            )
    try:
        with terminal.progress("live runs") as progress:
            played = live_campaign.play_all(loaded, seeds, implementation, out, progress)
    except (ServerMissing, CapabilityMissing) as missing:
        raise Refused(str(missing), Exit.CAPABILITY) from missing
    if played.halted and not played.outcome.runs:
        raise Refused(f"{played.halted}; `haltproof halt --release` lets runs start again", Exit.STOPPED)
    return played


def code_of(played: PlayedAll, earned: Exit) -> Exit:
    """The code of a live campaign whose results earn ``earned``; says what was left and why it was halted."""
    from harness import terminal

    if played.halted:
        terminal.complain(f"{played.halted}; `haltproof halt --release` lets runs start again")
    for line in played.left:
        terminal.complain(f"left behind: {line}; `haltproof recover` tries again")
    if played.left:
        return Exit.RESIDUE
    return Exit.STOPPED if played.halted and earned in (Exit.VALID, Exit.INVALID, Exit.UNKNOWN) else earned


def halt(reason: str = "pulled by hand", *, release: Flag = False) -> Exit:
    """End every live run of this user within a second, and let none start until released.

    Parameters
    ----------
    reason
        What to say to whoever was halted.
    release
        Let runs start again.
    """
    from harness.live import lever

    if release:
        print("released" if lever.release() else "it was not pulled")
    else:
        place = lever.pull(f"{reason} ({time.strftime('%Y-%m-%d %H:%M:%S')})")
        print(f"{place}: pulled; `haltproof halt --release` lets runs start again")
    return Exit.VALID


def recover(directory: Path | None = None, *, json: Flag = False) -> Exit:
    """Undo what live runs left whose harness was killed, and search for what is still there. Exit code 4 if anything is.

    Parameters
    ----------
    directory
        Look for ledgers below here; all that this user's runs registered if left out.
    json
        Print one JSON document.
    """
    from harness.live import recovery

    found = recovery.recover(directory)
    if json:
        _print_json({"schema": "haltproof/recover/1", "runs": found})
    for each in found if not json else ():
        if each.running:
            print(f"{each.ledger}: its harness still runs; `haltproof halt` ends it")
        else:
            print(f"{each.ledger}: {each.undone} entries undone" + (", nothing left" if not each.left else ""))
    for line in (line for each in found for line in each.left):
        print(f"left behind: {line}", file=sys.stderr)
    if not found and not json:
        print("nothing to recover")
    return Exit.RESIDUE if any(each.left for each in found) else Exit.VALID


def _print_json(document: Any) -> None:
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(document, order="deterministic"), indent=1) + b"\n")
