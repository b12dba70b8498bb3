"""The words of ``haltproof`` that have to do with real processes: what this host can do, playing live, halting, recovering.

Owns what is said before and after a live campaign, and the commands that need no campaign: they must work when nothing else does, so
they import little and none of them needs a scenario.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from harness.exits import Exit, Refused

if TYPE_CHECKING:
    from harness.live_campaign import PlayedAll
    from scenarios.model import Scenario

Flag = Annotated[bool, Parameter(negative=())]


def add_to(app: App) -> None:
    """Give ``app`` the commands of this module."""
    for command in (doctor, halt, recover):
        app.command(command)


def play(
    loaded: list[tuple[Path, Scenario]], seeds: Callable[[Scenario], Iterable[int]], implementation: str, out: Path, *, require: bool,
    retries: int = 0,
) -> PlayedAll:  # fmt: skip
    """Play ``loaded`` live, but for what this host or the driver cannot play, which is said; ``require``: then nothing is played at all.
    ``retries``: how often a run of which nothing can be said is played again.

    Raises `Refused` if nothing could be played.
    """
    from harness import live_campaign, terminal
    from harness.live import lever
    from harness.live.injections import CapabilityMissing
    from harness.live.server import ServerMissing

    if halted := lever.why_halted():  # before what this host has is looked at: that somebody said halt is the answer on every host
        raise Refused(_until_released(halted), Exit.STOPPED)
    missing = {scenario.scenario: lacks for _, scenario in loaded if (lacks := _lacks(scenario))}
    said = [f"{name}: not played: {'; '.join(lacks)}" for name, lacks in missing.items()]
    if missing and (require or len(missing) == len(loaded)):
        raise Refused("\n".join([*said, "`haltproof list` shows what plays what, `haltproof doctor` what this host has"]), Exit.CAPABILITY)
    for line in said:
        terminal.complain(line)
    try:
        with terminal.progress("live runs") as progress:
            played = live_campaign.play_all(loaded, seeds, implementation, out, progress, missing, retries)
    except (ServerMissing, CapabilityMissing) as absent:
        raise Refused(str(absent), Exit.CAPABILITY) from absent
    if played.halted and not played.outcome.runs:
        raise Refused(_until_released(played.halted), Exit.STOPPED)
    return played


def _until_released(halted: str) -> str:
    return f"{halted}; `haltproof halt --release` lets runs start again"


def _lacks(scenario: Scenario) -> tuple[str, ...]:
    """Why ``scenario`` cannot be played live here; empty: it can."""
    from harness.live import capabilities
    from scenarios import derive

    if "live" not in derive.drivers(scenario):
        return (f"only the simulator has {', '.join(derive.simulated_only(scenario))}",)
    return tuple(f"{each.mechanism}: {each.why_not}" for each in capabilities.examine(derive.mechanisms(scenario)) if not each.available)


def code_of(played: PlayedAll, earned: Exit) -> Exit:
    """The code of a live campaign whose results earn ``earned``; says what was left and why it was halted."""
    from harness import terminal

    if played.halted:
        terminal.complain(_until_released(played.halted))
    for line in played.left:
        terminal.complain(f"left behind: {line}; `haltproof recover` tries again")
    if played.left:
        return Exit.RESIDUE
    return Exit.STOPPED if played.halted and earned in (Exit.VALID, Exit.INVALID, Exit.UNKNOWN) else earned


def doctor(*, json: Flag = False) -> Exit:
    """Try what live runs make faults with on this host, and say of each mechanism whether it is there, or why not.

    Parameters
    ----------
    json
        Print one JSON document.
    """
    from rich.table import Table

    from harness import terminal
    from harness.live import capabilities

    found = capabilities.examine()
    if json:
        terminal.print_json({"schema": "haltproof/doctor/1", "mechanisms": found})
        return Exit.VALID
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("mechanism", "here", "faults", "what it is, or why it is not there"):
        table.add_column(name, overflow="fold")
    for each in found:
        faults = ", ".join(f"{fault} ({fidelity})" for fault, fidelity in each.faults.items())
        table.add_row(each.mechanism, "yes" if each.available else "no", faults, each.why_not or each.what)
    terminal.console().print(table)
    return Exit.VALID


def halt(reason: str = "pulled by hand", *, release: Flag = False) -> Exit:
    """Have every live run of this user begin to end within a second, and let none start until released.

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
    from harness import results_folder, terminal
    from harness.live import recovery

    if directory is not None and not directory.is_dir():
        raise Refused(f"{directory}: no such directory; name one that holds live runs, such as that of --out, or none for all that were registered")
    if directory is not None and not results_folder.is_one(directory) and not recovery.ledgers(directory):
        raise Refused(f"{directory}: neither results nor a ledger of a live run; name what `haltproof run --live --out` wrote, or none for all runs")
    found = recovery.recover(directory)
    if json:
        terminal.print_json({"schema": "haltproof/recover/1", "runs": found})
    for each in found if not json else ():
        if each.running:
            print(f"{each.ledger}: its harness still runs, and cleans up itself; nothing has to be done")
        else:
            print(f"{each.ledger}: {each.undone} entries undone" + (", nothing left" if not each.left else ""))
    for line in (line for each in found for line in each.left):
        print(f"left behind: {line}", file=sys.stderr)
    if not found and not json:
        print("nothing to recover")
    return Exit.RESIDUE if any(each.left for each in found) else Exit.VALID
